"""Why a pod of a snapshot goes where it goes, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.scheduler.build import Factory
from pilothouse.scheduler.explain import Explanation, QueueState, queue_state
from pilothouse.whatif.admission import Admission
from pilothouse.whatif.snapshot import Snapshot
from pilothouse.whatif.stage import Setting, Stage


def explain(
    snapshot: Snapshot,
    namespace: str,
    name: str,
    *,
    config: Obj | None = None,
    plugins: Mapping[str, Factory] | None = None,
) -> Explanation:
    """As the scheduler's own endpoint says it, of a snapshot; what only the queue of a running scheduler knows is
    missing (attempts, back-off). It runs an event loop of its own: from a coroutine call it in a thread. ApiError 404
    for a pod that is not there, 400 for one of another scheduler; ProfileError for a wrong configuration."""
    found = run_virtual(_explained(Stage(snapshot, Setting(config, plugins=plugins)), namespace, name))
    extenders = [each["urlPrefix"] for each in (config or {}).get("extenders") or ()]
    return msgspec.structs.replace(found, extenders=tuple(extenders))


async def _explained(stage: Stage, namespace: str, name: str) -> Explanation:
    await Admission(stage.snapshot, stage.world).complete(stage.snapshot)
    made = stage.scheduler()
    made.informers.start()
    try:
        await made.informers.synced()
        found = made.explain(namespace, name)
    finally:
        await made.informers.stop()
    pod = stage.snapshot.get(PODS, name, namespace)
    assert pod is not None
    return msgspec.structs.replace(found, queue=_as_told(found.queue, queue_state(pod, None, stage.world)))


def _as_told(queue: QueueState, status: QueueState) -> QueueState:
    """No attempt has been made here: what is known of any is in the pod's status."""
    if queue.place == "active":
        place = "unschedulable" if status.message else "active"
        return msgspec.structs.replace(status, place=place)
    return msgspec.structs.replace(queue, since=status.since, attempts=None)
