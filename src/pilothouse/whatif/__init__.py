"""What would happen: a cluster as objects in memory, and the real scheduler let loose on it in virtual time.

It is no second scheduler and no model of one: `components.scheduler` runs as in a cluster, with its queue, its cache
and its plugins, against objects that answer like an API server. It is not a cluster either: nothing runs pods, nothing
heals them, and time passes only while the scheduler has something to wait for.

    reading     objects from files and folders;  listing: from an API server
    snapshot    a cluster's objects, completed as a server would have them
    workloads   the pods that a Deployment, Job, … would have;  admission: what a server does to a pod that comes in
    memory_api  a client whose server is a snapshot;  volumes, device_claims: what controllers would answer
    simulation  where pods would go;  growing: which nodes would have to be added
    explaining  why one pod goes where it goes, or nowhere
"""

from pilothouse.whatif.explaining import explain
from pilothouse.whatif.growing import Added, Template
from pilothouse.whatif.simulation import Placement, Preempted, Simulation, simulate
from pilothouse.whatif.snapshot import Snapshot

__all__ = ["Added", "Placement", "Preempted", "Simulation", "Snapshot", "Template", "explain", "simulate"]
