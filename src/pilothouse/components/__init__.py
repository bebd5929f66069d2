"""The components as wholes: what each is made of, whichever way it reaches the API server.

`cluster` puts them into one process, over the in-process transport; the commands `kube-apiserver`,
`kube-controller-manager`, `kube-scheduler` and `nodes` run one each, over HTTPS. Same code, different transport.
"""
