"""etcd's v3 API over any `Backend`: what etcdctl, an etcd client or kube-apiserver may be pointed at.

Not a member of a cluster: there is no Raft and no peer port. One process answers for one store.

    port       one port for gRPC and plain HTTP, as etcd's
    http2/     gRPC on asyncio                http, gateway   health, metrics, JSON
    rpc        its calls onto services        services        the table of services, one module each: kv watch lease …
    lazy       all of it behind a socket, nothing of it loaded before the first connection
"""
