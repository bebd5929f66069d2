"""The volume claims of a stateful set's pods: made before the pod, owned as the retention policy says
(pkg/controller/statefulset stateful_pod_control.go)."""

from __future__ import annotations

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer
from pilothouse.controllers import statefulset_rules as rules
from pilothouse.controllers.pods import is_terminating


class ClaimDeleting(ApiError):
    """A pod cannot be made: its claim is on its way out."""

    def __init__(self, name: str) -> None:
        super().__init__(409, "Conflict", f"pvc {name} is being deleted")


class Claims:
    """Claims of any set's pods. `regarding` is the set's reference, for events."""

    def __init__(self, client: Client, informer: Informer, recorder: EventRecorder) -> None:
        self._client = client
        self._informer = informer
        self._recorder = recorder

    def _present(self, wanted: Obj) -> Obj | None:
        meta = wanted["metadata"]
        return self._informer.get(f"{meta['namespace']}/{meta['name']}")

    async def make(self, st: Obj, regarding: Obj, pod: str) -> None:
        """Every claim that is missing. ApiError for the first that cannot be made or is going."""
        failure: ApiError | None = None
        for wanted in rules.claims(st, rules.ordinal_of(st, pod)):
            present = self._present(wanted)
            error: ApiError | None = None
            if present is None:
                error = await self._create(wanted, st, regarding, pod)
            elif is_terminating(present):
                error = ClaimDeleting(wanted["metadata"]["name"])
            failure = failure or error
        if failure is not None:
            raise failure

    async def _create(self, wanted: Obj, st: Obj, regarding: Obj, pod: str) -> ApiError | None:
        name, owner = wanted["metadata"]["name"], st["metadata"]["name"]
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, wanted, wanted["metadata"]["namespace"])
        except ApiError as error:
            if error.reason != "AlreadyExists":
                message = f"Create Claim {name} for Pod {pod} in StatefulSet {owner} failed error: {error}"
                self._recorder.event(regarding, "Warning", "FailedCreate", message)
            return error
        message = f"Create Claim {name} Pod {pod} in StatefulSet {owner} success"
        self._recorder.event(regarding, "Normal", "SuccessfulCreate", message)
        return None

    def are_stale(self, st: Obj, pod: str) -> bool:
        present = (self._present(c) for c in rules.claims(st, rules.ordinal_of(st, pod)))
        return any(c is not None and rules.is_stale(c, pod) for c in present)

    async def own(self, st: Obj, pod: Obj) -> None:
        """Bring the owners of a pod's claims in line with the retention policy."""
        for wanted in rules.claims(st, rules.ordinal_of(st, pod["metadata"]["name"])):
            claim = self._present(wanted)
            if claim is None:
                continue
            refs = rules.claim_owners(st, pod, claim)
            if refs != (claim["metadata"].get("ownerReferences") or []):
                meta = {**claim["metadata"], "ownerReferences": refs}
                typed = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
                await self._client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, **typed, "metadata": meta})
