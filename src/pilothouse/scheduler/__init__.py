"""kube-scheduler: which node a pod goes to.

It comes in by the API server's front door and knows nothing of the store. It decides on columns: the node table
has one row per node, a plugin answers for all rows at once. It is not a simulator of its own: `cycle.decide` is a
pure function of a table, so whoever has a table can ask what would happen.

    framework       what a plugin may be asked, and how it answers: the extension points
    plugins/        one rule a file; registry.py is the table of all
    config/         KubeSchedulerConfiguration: read, completed, checked;  build: profiles and extenders made of it
    extenders/      programs beside the scheduler that have a say, over HTTP
    per_node        plugins of others as plain functions;  timed: one cycle in ten with stopwatches
    profile         which plugins a scheduler name runs, in which order and with which weights
    node_table      nodes and the pods on them as columns; selection: node selectors on columns
    cycle           one pod's decision, synchronous;  diagnosis: why there was none, in upstream's words
    binding         what follows a decision: permit, pre-bind, bind, post-bind
    queue           pods that wait: active, backing off, unschedulable; hints: which events help which pods
    scheduler       the loop, and what the informers tell it
"""
