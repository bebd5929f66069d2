"""What a PodGroup's status says of its scheduling (schedule_one_podgroup.go, updatePodGroupCondition)."""

from __future__ import annotations

import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import POD_GROUPS
from pilothouse.api.types import Obj
from pilothouse.scheduler.handle import Handle

log = logging.getLogger(__name__)

TYPE = "PodGroupScheduled"


async def report(handle: Handle, group: Obj, *, scheduled: bool, message: str = "") -> None:
    """The condition PodGroupScheduled. Once it is true it stays so, whatever becomes of further pods."""
    conditions = list((group.get("status") or {}).get("conditions") or ())
    present: Obj = next((c for c in conditions if c["type"] == TYPE), {})
    wanted = {
        "type": TYPE,
        "status": "True" if scheduled else "False",
        "reason": "Scheduled" if scheduled else "Unschedulable",
        "message": message,
        "observedGeneration": group["metadata"].get("generation", 0),
    }
    if present.get("status") == "True" or wanted.items() <= present.items():
        return
    same = present.get("status") == wanted["status"]
    wanted["lastTransitionTime"] = present["lastTransitionTime"] if same else handle.world.timestamp()
    others = [c for c in conditions if c["type"] != TYPE]
    meta, patch = group["metadata"], {"status": {"conditions": [*others, wanted]}}
    try:
        await handle.client.patch(
            POD_GROUPS, meta["name"], patch, meta["namespace"], patch_type="merge", subresource="status"
        )
    except (ApiError, ConnectionError) as error:
        if not (isinstance(error, ApiError) and error.code == 404):
            log.info("condition of pod group %s/%s not written: %s", meta["namespace"], meta["name"], error)
