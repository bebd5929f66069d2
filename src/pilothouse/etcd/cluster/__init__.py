"""The store on a real etcd cluster: a client that outlives members, the `Backend` on it, and its watches.

Not a consensus protocol: etcd's members agree among themselves, and this room only speaks to them. Imports grpc;
nothing that starts without etcd may import it at its top.
"""
