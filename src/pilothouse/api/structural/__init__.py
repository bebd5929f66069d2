"""Structural schemas: what a CustomResourceDefinition says about its objects, compiled once and then run
(k8s.io/apiextensions-apiserver/pkg/apiserver/schema).

    schema        JSON → `Structural`, the spine of a schema
    pruning       take away what the schema does not name
    defaulting    fill in defaults, drop nulls that nobody may send
    values        what a value must be: types, ranges, patterns, alternatives (kube-openapi's validators)
    lists         sets and maps without duplicates
    embedded      objects inside objects: their apiVersion, kind and metadata
    declared      a schema as CEL sees it
    rules         x-kubernetes-validations at run time, and what they may cost
    objects       all of these for a whole object, in the API server's order
    correlation   which old value a new one replaces
    types         a schema as an `api.structure.Type`, for ownership and patches

Not here: whether a schema is a good one (`api.validation.apiextensions`), and how objects are served.
"""
