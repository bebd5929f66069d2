"""Dynamic Resource Allocation: which devices a pod's claims get on a node (KEP-4381,
https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/).

    devices     ResourceSlices → pools of devices, and which of them a node can reach
    selectors   whether a device is what a CEL expression asks for
    capacity    shares of devices that several claims may have at once
    requests    what a claim asks for
    allocator   the search: claims × devices → which device for which request
    result      what is found, as status.allocation says it
    ledger      which devices are taken, by claims that are written and by those on their way
    inventory   all pools, by the nodes that can reach them
    extended    extended resources that devices stand in for
    manager     the above together, for the scheduler's plugin

All but the last four know nothing of scheduling, informers or time, and change nothing that they are given.
"""
