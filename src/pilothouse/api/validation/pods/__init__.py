"""Validation of pods and of the pod templates in other kinds (pkg/apis/core/validation). One file per part of
a pod; `spec` puts them together, `update` says what may change.

A function here appends what it finds to `out`, in upstream's order, and builds a path only where it must name
one: a good pod costs no string.
"""
