"""Resource claim controller: makes claims from templates for the pods that ask for them, and takes pods that are done
off the claims that they had (k8s.io/kubernetes/pkg/controller/resourceclaim, KEP-4381).

    pod     a claim is missing ──▶ made from its template, its name noted in the pod's status
            on a node that the scheduler did not choose ──▶ allocated claims are reserved for it
    claim   reserved for pods that are gone or done ──▶ no longer; for nobody ──▶ its devices are free
            made for a pod that is done ──▶ deleted
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api import resource_claims as claims_api
from pilothouse.api.errors import ApiError
from pilothouse.api.resource_claims import FINALIZER, POD_CLAIM, ClaimError, NotCreatedYet
from pilothouse.api.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, TryAgain, controller_ref
from pilothouse.controllers.pods import is_terminal, is_terminating

_POD, _CLAIM = "pod:", "claim:"
_BY_CLAIM, _BY_OWNER = "resource-claim", "pod-owner"
_BASE_LENGTH_MAX = 57
"""Of a generated name of 63 characters, without its suffix."""


class ResourceClaimController(Controller):
    name: ClassVar[str] = "resourceclaim-controller"
    queue_name: ClassVar[str] = "resource_claim"

    def setup(self) -> None:
        self._made: dict[tuple[str, str], Obj] = {}
        """Claims that the informer may not show yet, by the pod's UID and what the pod calls them."""
        self._pods = self.watch(PODS, keys=_keys_of_pod)
        self._pods.add_index(_BY_CLAIM, claim_keys)
        self._claims = self.watch(RESOURCE_CLAIMS, keys=self._keys_of_claim)
        self._claims.add_index(_BY_OWNER, lambda claim: (claims_api.owner_uid(claim),))
        self._templates = self.informer(RESOURCE_CLAIM_TEMPLATES)

    def _keys_of_claim(self, claim: Obj) -> list[str]:
        key = key_of(claim)
        users = self._pods.by_index(_BY_CLAIM, key)
        return [_CLAIM + key, *(_POD + key_of(pod) for pod in users)]

    async def reconcile(self, key: str) -> float | None:
        kind, _, rest = key.partition(":")
        if kind == "pod":
            await self._pod(rest)
        else:
            await self._claim(rest)
        return None

    # -- pods -------------------------------------------------------------------------------------------

    async def _pod(self, key: str) -> None:
        pod = self._pods.get(key)
        if pod is None or is_terminating(pod) or is_terminal(pod):
            if pod is None or is_terminal(pod):
                self._forget(key)
            return
        noted: dict[str, str] = {}
        for entry in pod["spec"].get("resourceClaims") or ():
            try:
                made = await self._ensure(pod, entry)
            except (ApiError, ClaimError) as error:
                regarding = {**pod, "kind": "Pod", "apiVersion": "v1"}
                message = f"PodResourceClaim {entry['name']}: {error}"
                self.recorder.event(regarding, "Warning", "FailedResourceClaimCreation", message)
                raise TryAgain(f"pod {key}, PodResourceClaim {entry['name']}: {error}") from error
            if made:
                noted[entry["name"]] = made
        if noted:
            await self._note(pod, noted)
        if pod["spec"].get("nodeName"):
            await self._reserve_all(pod)

    async def _ensure(self, pod: Obj, entry: Obj) -> str:
        """The name of a claim that the pod's status does not have yet; "" when there is nothing to note."""
        try:
            name, own = claims_api.name_of(pod, entry)
        except NotCreatedYet:
            pass
        else:
            claim = self._claims.get(f"{pod['metadata']['namespace']}/{name}")
            if not own or not name or (claim is not None and _is_owned(pod, claim)):
                self._made.pop((pod["metadata"]["uid"], entry["name"]), None)
                return ""
        found = self._orphan(pod, entry) or await self._make(pod, entry)
        return str(found["metadata"]["name"])

    def _orphan(self, pod: Obj, entry: Obj) -> Obj | None:
        """One that was made, and not noted before something failed."""
        uid = pod["metadata"]["uid"]
        for claim in self._claims.by_index(_BY_OWNER, uid):
            if (claim["metadata"].get("annotations") or {}).get(POD_CLAIM) == entry["name"]:
                return claim
        return self._made.get((uid, entry["name"]))

    async def _make(self, pod: Obj, entry: Obj) -> Obj:
        meta, wanted = pod["metadata"], entry["resourceClaimTemplateName"]
        template = self._templates.get(f"{meta['namespace']}/{wanted}")
        if template is None:
            missing = f'resourceclaimtemplate.resource.k8s.io "{wanted}" not found'
            raise ClaimError(f'resource claim template "{wanted}": {missing}')
        given = template["spec"].get("metadata") or {}
        claim = {
            "apiVersion": RESOURCE_CLAIMS.group_version,
            "kind": RESOURCE_CLAIMS.kind,
            "metadata": {
                "generateName": generate_name(meta["name"], entry["name"]),
                "namespace": meta["namespace"],
                "labels": dict(given.get("labels") or {}),
                "annotations": {**(given.get("annotations") or {}), POD_CLAIM: entry["name"]},
                "ownerReferences": [controller_ref(pod, PODS)],
            },
            "spec": template["spec"]["spec"],
        }
        made = await self.client.create(RESOURCE_CLAIMS, claim, meta["namespace"])
        self._made[meta["uid"], entry["name"]] = made
        return made

    async def _note(self, pod: Obj, names: dict[str, str]) -> None:
        """Together with those that are noted: a field manager that leaves something out gives it up."""
        meta = pod["metadata"]
        present = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        all_names = {each["name"]: each.get("resourceClaimName") for each in present} | names
        statuses = [
            {"name": name, **({"resourceClaimName": made} if made else {})}
            for name, made in all_names.items()
        ]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "status": {"resourceClaimStatuses": statuses},
        }
        await self.client.patch(
            PODS,
            meta["name"],
            body,
            meta["namespace"],
            patch_type="apply",
            subresource="status",
            fieldManager="ResourceClaimController",
            force="true",
        )

    async def _reserve_all(self, pod: Obj) -> None:
        """A scheduler reserves what it binds; somebody who writes spec.nodeName does not."""
        for entry in pod["spec"].get("resourceClaims") or ():
            try:
                name, own = claims_api.name_of(pod, entry)
            except NotCreatedYet:
                continue
            claim = self._claims.get(f"{pod['metadata']['namespace']}/{name}") if name else None
            if claim is None or (own and not _is_owned(pod, claim)):
                continue
            allocated = claims_api.allocation(claim) is not None
            if allocated and not claims_api.is_reserved_for(pod, claim) and claims_api.can_be_reserved(claim):
                reserved = [*claims_api.reserved_for(claim), claims_api.reference(pod)]
                await self._write_status(claim, reservedFor=reserved)

    def _forget(self, key: str) -> None:
        """What was made for pods that are not there any more."""
        uids = {pod["metadata"]["uid"] for pod in [self._pods.get(key)] if pod is not None}
        for uid, name in list(self._made):
            claim = self._made[uid, name]
            owner = claims_api.owner_of(claim) or {}
            if uid in uids or f"{claim['metadata']['namespace']}/{owner.get('name')}" == key:
                del self._made[uid, name]

    # -- claims -----------------------------------------------------------------------------------------

    async def _claim(self, key: str) -> None:
        claim = self._claims.get(key)
        if claim is None:
            return
        reserved = claims_api.reserved_for(claim)
        valid = [ref for ref in reserved if await self._is_valid(claim, ref)]
        if len(valid) < len(reserved):
            claim = await self._release(claim, valid)
        elif is_terminating(claim) and not valid and FINALIZER in (claim["metadata"].get("finalizers") or ()):
            if claims_api.allocation(claim) is not None:
                claim = await self._write_status(claim, allocation=None)
            claim = await self._without_finalizer(claim)
        if not valid:
            await self._delete_if_done(claim)

    async def _is_valid(self, claim: Obj, ref: Obj) -> bool:
        """Whether a consumer may still use it. One that the informer does not show may be a new one: the API server
        knows."""
        if ref.get("apiGroup") or ref["resource"] != "pods":
            raise TryAgain(f"claim {key_of(claim)}: unsupported ReservedFor entry: {ref}")
        namespace = claim["metadata"]["namespace"]
        pod = self._pods.get(f"{namespace}/{ref['name']}")
        if pod is None:
            try:
                pod = await self.client.get(PODS, ref["name"], namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                return False
            return bool(pod["metadata"]["uid"] == ref["uid"])
        return bool(pod["metadata"]["uid"] == ref["uid"]) and not is_done(pod)

    async def _release(self, claim: Obj, valid: list[Obj]) -> Obj:
        """Without its last consumer a claim gives its devices back."""
        fields: Obj = {"reservedFor": valid or None}
        if not valid and FINALIZER in (claim["metadata"].get("finalizers") or ()):
            fields |= {"allocation": None, "devices": None}
        claim = await self._write_status(claim, **fields)
        finalizers = claim["metadata"].get("finalizers") or ()
        if FINALIZER in finalizers and claims_api.allocation(claim) is None:
            claim = await self._without_finalizer(claim)
        return claim

    async def _delete_if_done(self, claim: Obj) -> None:
        """Of a pod that is gone for good the garbage collector deletes it."""
        owner, meta = claims_api.owner_of(claim), claim["metadata"]
        if owner is None or is_terminating(claim):
            return
        pod = self._pods.get(f"{meta['namespace']}/{owner['name']}")
        if pod is None or (pod["metadata"]["uid"] == owner["uid"] and not is_done(pod)):
            return
        try:
            await self.client.delete(RESOURCE_CLAIMS, meta["name"], meta["namespace"])
        except ApiError as error:
            if error.code != 404:
                raise

    async def _write_status(self, claim: Obj, **fields: Any) -> Obj:
        """None takes a field away."""
        status = {**(claim.get("status") or {}), **fields}
        return await self._update(
            claim, "status", status={key: value for key, value in status.items() if value is not None}
        )

    async def _without_finalizer(self, claim: Obj) -> Obj:
        kept = [each for each in claim["metadata"].get("finalizers") or () if each != FINALIZER]
        return await self._update(claim, metadata={**claim["metadata"], "finalizers": kept})

    async def _update(self, claim: Obj, subresource: str = "", **fields: Any) -> Obj:
        typed = {"apiVersion": RESOURCE_CLAIMS.group_version, "kind": RESOURCE_CLAIMS.kind}
        return await self.client.update(
            RESOURCE_CLAIMS, {**claim, **typed, **fields}, subresource=subresource
        )


def generate_name(pod: str, entry: str) -> str:
    """POD-ENTRY-, both shortened in proportion when it would be too long."""
    full = f"{pod}-{entry}-"
    if len(full) <= _BASE_LENGTH_MAX:
        return full
    kept = [part[: len(part) * _BASE_LENGTH_MAX // len(full)] for part in (pod, entry)]
    return "-".join(kept)


def is_done(pod: Obj) -> bool:
    """None of its containers runs, or ever will."""
    return is_terminal(pod) or (is_terminating(pod) and not pod["spec"].get("nodeName"))


def claim_keys(pod: Obj) -> list[str]:
    """The claims that a pod uses, as far as they are known."""
    namespace = pod["metadata"]["namespace"]
    status = pod.get("status") or {}
    names = [entry.get("resourceClaimName") for entry in pod["spec"].get("resourceClaims") or ()]
    names += [each.get("resourceClaimName") for each in status.get("resourceClaimStatuses") or ()]
    names.append((status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName"))
    return [f"{namespace}/{name}" for name in dict.fromkeys(names) if name]


def _keys_of_pod(pod: Obj) -> list[str]:
    own = [_POD + key_of(pod)] if pod["spec"].get("resourceClaims") else []
    return [*own, *(_CLAIM + key for key in claim_keys(pod))]


def _is_owned(pod: Obj, claim: Obj) -> bool:
    return bool(claims_api.owner_uid(claim) == pod["metadata"]["uid"])
