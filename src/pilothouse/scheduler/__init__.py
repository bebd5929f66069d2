"""kube-scheduler: finds a node for every pod that has none.

`scheduler` is the loop, `cycle` one pod's decision, `node_table` the cluster as columns, `plugins` the rules.
Not a controller of pods: it only binds them.
"""
