"""Simulated nodes: kubelets without containers. They come in by the API like everyone.

`behaviour` says what a container does, `pod_lifecycle` what a kubelet reports of a pod at a moment, `fleet` lets
many nodes share one informer and one loop. Nothing runs here: a container is a plan of when it starts and ends.
`stages` play what stage files say about pods and nodes, in place of all that.
"""
