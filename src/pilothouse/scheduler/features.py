"""Upstream's feature gates that change something in the scheduler. All of them are off in 1.36."""

from __future__ import annotations

from pilothouse.api.device_taints import RULES_GATE

GENERIC_WORKLOAD = "GenericWorkload"
GANG_SCHEDULING = "GangScheduling"
"""Both must be on for PodGroups to count."""
STORAGE_CAPACITY_SCORING = "StorageCapacityScoring"
"""Nodes are scored by how full storage becomes (KEP-4049)."""
VOLUME_LIMIT_SCALING = "VolumeLimitScaling"
"""Nodes without a CSI driver that says so get no pods with its volumes (KEP-5030)."""
DEVICE_TAINT_RULES = RULES_GATE
"""DeviceTaintRules put taints on devices (KEP-5055)."""

KNOWN = (
    GENERIC_WORKLOAD,
    GANG_SCHEDULING,
    STORAGE_CAPACITY_SCORING,
    VOLUME_LIMIT_SCALING,
    DEVICE_TAINT_RULES,
)
