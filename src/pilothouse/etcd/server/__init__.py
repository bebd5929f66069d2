"""etcd's v3 gRPC API over any Backend, and the HTTP pages beside it.

What it is not: a cluster. A single node answers as a cluster of one; what it cannot do it says, and names the way.
"""
