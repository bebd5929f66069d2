"""The types of built-in kinds, from the published OpenAPI definitions, and the decoder made of them.

`definitions` reads the package data, `go_facts` adds what no schema says, `types` makes `api.structure` trees
of both, `decode` walks values along them, `parse` turns bytes into values. No defaults and no validation.
"""
