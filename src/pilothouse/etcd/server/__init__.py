"""etcd's v3 API over any `Backend`: what etcdctl, an etcd client or kube-apiserver may be pointed at.

Not a member of a cluster: there is no Raft and no peer port. One process answers for one store.

    front      one port for gRPC and plain HTTP, as etcd's
    rpc        gRPC methods onto services     http, gateway   health, metrics, JSON
    services   the table of services          kv watch lease cluster …   one service per module
    lazy       all of it behind a socket, nothing of it loaded before the first connection
"""
