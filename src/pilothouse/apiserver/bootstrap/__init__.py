"""The objects that exist from the start: what upstream's post-start hooks make.

`objects.json` holds those that are the same everywhere, one a line: RBAC's bootstrap policy
(plugin/pkg/auth/authorizer/rbac/bootstrappolicy), the system priority classes, the default flow schemas and
priority levels, as a Kubernetes 1.36 cluster shows them. `objects` adds what depends on the cluster.
"""
