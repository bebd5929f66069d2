"""Whole schedulers in virtual time, under churn and faults, judged from the store's complete history.

    shapes    random nodes, pods, claims, budgets          line      the way to the API server, with faults
    churn     what happens to them, one thing at a time    witness   what a scheduler decided, and what it knew then
    hands     kubelets and a provisioner, in short         history   every event of the store, and states of the past
    rules     whether a pod fits a node: the oracle        verdict   what must hold, of decisions and of the end
    run       one seed from beginning to end

Nothing of the scheduler's own code decides what is right: `rules` is written anew, plain and slow.
"""
