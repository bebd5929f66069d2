"""Stages: what simulated nodes do with pods and nodes, written down in kwok's format (kwok.x-k8s.io/v1alpha1).

    read       files → stages, or one line that says what is wrong where
    usage      what containers use, from the same files
    queries    jq and CEL: a value out of an object
    stage      whom a stage selects, how long it waits, what it does then
    templates  Go templates and kwok's functions
    player     stages over the objects of one kind

A stage has no memory: it looks at an object, waits, and writes. What a kubelet remembers (back-offs, probes,
the order of sidecars) is not for stages; the built-in life of pods has it. Imported only when somebody brings stages.
"""
