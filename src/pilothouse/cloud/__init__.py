"""cloud-controller-manager: the loops that depend on a cloud, and the protocol behind which the cloud stands.

    provider.py     what a cloud can do, in plain types: instances, load balancers, routes, volumes
    registry.py     providers by name: those here, and others' packages by entry point
    manager.py      which loops there are, and running the chosen ones
    providers/      the clouds themselves

It is not a kubelet and not a network: a volume that is attached here is mounted by whoever plays the node, and a route
that is made here is followed by the cloud's network.
"""
