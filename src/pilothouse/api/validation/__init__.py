"""Validation per kind, with upstream's texts. One file per API group; `meta` and `names` hold what kinds share.

A validator takes an object (and for an update the old one) and returns field errors in upstream's order.
"""
