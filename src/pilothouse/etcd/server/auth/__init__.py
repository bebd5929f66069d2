"""Who may do what with a served store: etcd's users, roles and permissions, its tokens, and the guard at the door.

    ranges      does a set of permitted ranges cover the one that is asked for
    accounts    users and roles as a value, and every change of it (pure)
    passwords   bcrypt, away from the event loop
    tokens      what a client shows instead of its password: `simple` or `jwt`
    needs       what each request needs, read from the request (pure)
    store       the accounts of one server: durable, with its tokens; who a caller is
    guard       refuses a request before a service sees it
    service     the Auth service

It is not the API server's authentication: that is in `apiserver.authn`, and knows nothing of this.
"""
