"""The store: what etcd is to Kubernetes.

`contract` is the door: one protocol, several backends. `mvcc` keeps revisions in memory and does no I/O;
`embedded` makes them durable in SQLite; `cluster` speaks to a real etcd; `server` serves etcd's gRPC API
over any of them. Nothing here knows what a Kubernetes object is: keys and values are bytes.
"""
