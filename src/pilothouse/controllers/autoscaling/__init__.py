"""Horizontal autoscaling, the rules without the controller (k8s.io/kubernetes/pkg/controller/podautoscaler):

    replicas    how many pods a metric asks for
    behaviour   how fast that may come: limits, stabilization, policies
    status      conditions and current metrics of an autoscaler
    proposals   the rule and the words for each type of metric
    metrics     the three metrics APIs, and what they answer
    targets     the object that is scaled
    observed    the controller's own metrics

`replicas`, `behaviour` and `status` are pure and know no clock. The controller is `horizontal_pod_autoscaler`.
"""
