"""kube-controller-manager: the loops that make the cluster what its objects ask for.

One controller a file, each on its own identity; `manager` starts and stops them, `reconciler` is what they
share. They see the API server as everyone does: through a client and informers, never the store.
"""
