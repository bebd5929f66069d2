"""Field ownership and server-side apply: who set which field, on every write.

`field_set` is the algebra of sets of fields, `typed` relates sets to objects through their types, `manager`
applies the rules of https://kubernetes.io/docs/reference/using-api/server-side-apply/. The reference for all
three is sigs.k8s.io/structured-merge-diff.
"""
