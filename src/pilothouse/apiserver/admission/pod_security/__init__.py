"""PodSecurity: the Pod Security Standards, by namespace labels
(https://kubernetes.io/docs/concepts/security/pod-security-admission/, k8s.io/pod-security-admission).

    policy.py     levels, versions, and what a namespace's labels ask for
    checks.py     the checks, each a pure function from a pod to what it does wrong
    standards.py  which checks make up which level in which version
    plugin.py     enforcing, warning, and telling of the pods that a stricter namespace would not have let in
"""
