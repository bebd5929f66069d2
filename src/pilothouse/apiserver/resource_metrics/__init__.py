"""metrics.k8s.io/v1beta1: what pods and nodes use, as metrics-server answers it, computed when somebody asks.

    answers   PodMetrics, NodeMetrics and their tables; pure
    serving   when the group is served, and its requests

Nothing is stored, sampled or averaged, and there are no custom metrics.
"""
