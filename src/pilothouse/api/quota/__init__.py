"""Resource quotas: what objects cost, which quotas they fall under, and whether they fit. Pure functions.

Not the admission plugin, which charges a quota before an object is stored, nor the controller, which counts again
what is there: both stand on the same evaluators (k8s.io/apiserver/pkg/quota/v1, pkg/quota/v1/evaluator/core,
https://kubernetes.io/docs/concepts/policy/resource-quotas/).

    evaluator.py        what an evaluator is; the one that only counts
    pods.py services.py volume_claims.py device_claims.py   the kinds that cost more than a number
    registry.py         which evaluator is for which resource
    scopes.py           scopes and scope selectors
    check.py            may this object be made: the new usage, or why not
    usage.py            how much is used of a quota
"""
