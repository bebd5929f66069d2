"""Admission plugins, one per file, in upstream's order (see `chain`).

A plugin may change an object before validation or refuse it after. Not authorization (who may) and not
validation (is it well-formed): admission asks whether this cluster wants it.
"""
