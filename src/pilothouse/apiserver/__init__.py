"""kube-apiserver: the front door and the only one to the store.

Not a controller: it changes nothing on its own beyond what a request asks for (allocations and bootstrap
objects aside). `pipeline` is a request's way in reading order; start there.
"""
