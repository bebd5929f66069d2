"""Type checks of ValidatingAdmissionPolicies, written into their status
(k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus,
https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking)."""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api.cel.decl_types import JsonSchema
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import VALIDATING_ADMISSION_POLICIES
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.policy_types import Kind, resolved, warnings

MANAGER = "validatingadmissionpolicy-status"


class PolicyStatusController(Controller):
    name: ClassVar[str] = "validatingadmissionpolicy-status-controller"
    queue_name: ClassVar[str] = MANAGER

    def setup(self) -> None:
        self._policies = self.watch(VALIDATING_ADMISSION_POLICIES)

    async def reconcile(self, key: str) -> float | None:
        policy = self._policies.get(key)
        if policy is None:
            return None
        generation = policy["metadata"].get("generation", 0)
        if (policy.get("status") or {}).get("observedGeneration", 0) >= generation:
            return None
        found = await warnings(policy, Served(self.client))
        body: Obj = {
            "apiVersion": VALIDATING_ADMISSION_POLICIES.group_version,
            "kind": VALIDATING_ADMISSION_POLICIES.kind,
            "metadata": {"name": policy["metadata"]["name"]},
            "status": {
                "observedGeneration": generation,
                "typeChecking": {"expressionWarnings": found} if found else {},
            },
        }
        try:
            await self.client.patch(
                VALIDATING_ADMISSION_POLICIES,
                key,
                body,
                patch_type="apply",
                subresource="status",
                fieldManager=MANAGER,
                force="true",
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None


class Served:
    """Kinds and schemas as the API server tells them, for one check."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._documents: dict[str, Any] = {}

    async def kind_of(self, group: str, version: str, resource: str) -> str | None:
        listed = await self._get(f"/{_path(group, version)}")
        for entry in (listed or {}).get("resources") or ():
            if entry["name"] == resource:
                kind: str = entry["kind"]
                return kind
        return None

    async def schema_of(self, kind: Kind) -> JsonSchema | None:
        document = await self._get(f"/openapi/v3/{_path(kind.group, kind.version)}")
        definitions = ((document or {}).get("components") or {}).get("schemas") or {}
        for schema in definitions.values():
            for named in schema.get("x-kubernetes-group-version-kind") or ():
                if (named["group"], named["version"], named["kind"]) == kind:
                    return resolved(schema, definitions)
        return None

    async def _get(self, path: str) -> Any:
        """None when it is not served."""
        if path not in self._documents:
            try:
                self._documents[path] = await self._client.raw("GET", path)
            except ApiError as error:
                if error.code != 404:
                    raise
                self._documents[path] = None
        return self._documents[path]


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"
