"""Upstream's feature gates that change something in the scheduler. All of them are alpha, and off, in 1.36."""

from __future__ import annotations

GENERIC_WORKLOAD = "GenericWorkload"
GANG_SCHEDULING = "GangScheduling"
"""Both must be on for PodGroups to count."""
STORAGE_CAPACITY_SCORING = "StorageCapacityScoring"
"""Nodes are scored by how full storage becomes (KEP-4049)."""
VOLUME_LIMIT_SCALING = "VolumeLimitScaling"
"""Nodes without a CSI driver that says so get no pods with its volumes (KEP-5030)."""

KNOWN = (GENERIC_WORKLOAD, GANG_SCHEDULING, STORAGE_CAPACITY_SCORING, VOLUME_LIMIT_SCALING)
