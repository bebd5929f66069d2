"""etcd's v3 API as it goes over the wire: messages, the paths of methods, errors, and the way to and from `contract`.

Used by both ends: `server` answers it, `cluster` speaks it. Imports grpc and protobuf, so nothing that starts
without them may import this package at its top.
"""
