"""What Kubernetes objects are: catalog, schemas, defaults, validation, selectors, quantities, errors.

Synchronous, no I/O beyond reading package data, no server, no client. Objects are plain dicts as parsed from
JSON; functions that take `obj` and return None change it in place and may only be given a dict that the
caller owns.
"""
