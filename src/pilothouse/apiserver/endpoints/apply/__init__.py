"""Field ownership and server-side apply: who set which field, on every write.

`field_set` is the algebra of sets of fields, `typed` relates sets to objects through their types, `compare`
is the fast walk that says what a write changed, `managed` reads and writes managedFields, `manager` applies
the rules of https://kubernetes.io/docs/reference/using-api/server-side-apply/. The reference for all of them
is sigs.k8s.io/structured-merge-diff. Nothing here decodes, defaults or stores.
"""
