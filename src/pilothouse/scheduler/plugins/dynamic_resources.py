"""DynamicResources: devices by ResourceClaim (KEP-4381).

Only what every pod meets: after a pod without claims fitted nowhere, the plugin has no claim whose allocation
could be undone, and says so. Pods with claims are not held back.
"""

from __future__ import annotations

from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import (
    Cycle,
    Nomination,
    PostFilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
)

NO_CLAIMS = "no new claims to deallocate"
_NO_STATE = "not found"


class DynamicResources(PreFilterPlugin, PostFilterPlugin):
    name = "DynamicResources"

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        cycle.state[self.name] = True
        return None

    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        """Where an earlier PreFilter has refused the pod, this one has left no state, and upstream's cycle state
        then answers "not found", which ends the round."""
        if self.name not in cycle.state:
            return Nomination(message=_NO_STATE, final=True)
        return Nomination(message=NO_CLAIMS)
