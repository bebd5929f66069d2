"""Extenders: programs beside the scheduler that have a say in its decisions, over HTTP
(design-proposals-archive, scheduling/scheduler_extender.md; k8s.io/kube-scheduler/extender/v1).

They are no plugins: they take time, so that a pod that one of them is interested in is decided upon beside the event
loop's other work, one such pod after the other.

    wire        what is sent and what comes back, as dicts
    http        the sending
    extender    one extender: whom it is interested in, its four verbs
    asking      a decision with extenders in it, and what follows when there is no node
"""
