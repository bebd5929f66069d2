"""Strategies of the small core kinds (pkg/registry/core/*/strategy.go); services, nodes and volumes have files
of their own, pods and workloads too."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import core, quotas
from pilothouse.apiserver.registry import deletion
from pilothouse.apiserver.registry.strategies.nodes import NodeStrategy
from pilothouse.apiserver.registry.strategies.services import ServiceStrategy
from pilothouse.apiserver.registry.strategies.volumes import ClaimStrategy, VolumeStrategy
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy
from pilothouse.kit.world import timestamp

NAME_LABEL = "kubernetes.io/metadata.name"
KUBERNETES_FINALIZER = "kubernetes"


class ConfigMapStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return core.config_map(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return core.config_map_update(obj, old)


class SecretStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False
    field_names: ClassVar[tuple[str, ...]] = ("type",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"type": obj.get("type", "")}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return core.secret(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return core.secret_update(obj, old)


class ServiceAccountStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False


class EndpointsStrategy(Strategy):
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return core.endpoints(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return core.endpoints(obj, old)


class NamespaceStrategy(Strategy):
    """A namespace ends in steps: deletion makes it Terminating, the namespace controller empties it and takes
    its finalizer out of the spec by the finalize subresource, then it goes."""

    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    name_message: ClassVar[str] = "label"
    field_names: ClassVar[tuple[str, ...]] = ("status.phase",)

    def fields(self, obj: Obj) -> dict[str, str]:
        phase = (obj.get("status") or {}).get("phase", "")
        return {"status.phase": phase}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"phase": "Active"}
        spec = obj.setdefault("spec", {})
        finalizers = spec.get("finalizers") or []
        if KUBERNETES_FINALIZER not in finalizers:
            spec["finalizers"] = [*finalizers, KUBERNETES_FINALIZER]

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        if ctx.subresource != "finalize":
            obj["spec"] = old.get("spec") or {}

    def canonicalize(self, obj: Obj) -> None:
        """A generated name was not known when defaults were set."""
        meta = obj["metadata"]
        labels = meta.get("labels") or {}
        if labels.get(NAME_LABEL) != meta["name"]:
            meta["labels"] = {**labels, NAME_LABEL: meta["name"]}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return core.namespace(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return core.namespace_finalize(obj) if ctx.subresource == "finalize" else []

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return core.namespace_status(obj)

    def terminate(self, ctx: Context, obj: Obj, options: Obj) -> bool | None:
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return False if self.is_held(obj) else None
        meta["deletionTimestamp"] = timestamp(ctx.world.now())
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        wanted = deletion.finalizers(meta, options, self.default_propagation)
        if wanted:
            meta["finalizers"] = wanted
        else:
            meta.pop("finalizers", None)
        return True

    def is_held(self, obj: Obj) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers"))


class LimitRangeStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """A limit range without a name gets a UUID for one."""
        if not obj["metadata"].get("name"):
            obj["metadata"]["name"] = ctx.world.uid()

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return quotas.limit_range(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return quotas.limit_range(obj)


class ResourceQuotaStrategy(Strategy):
    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return quotas.resource_quota(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return quotas.resource_quota_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return quotas.quota_status(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "ConfigMap"): ConfigMapStrategy(),
    ("", "Endpoints"): EndpointsStrategy(),
    ("", "LimitRange"): LimitRangeStrategy(),
    ("", "Namespace"): NamespaceStrategy(),
    ("", "Node"): NodeStrategy(),
    ("", "PersistentVolume"): VolumeStrategy(),
    ("", "PersistentVolumeClaim"): ClaimStrategy(),
    ("", "ResourceQuota"): ResourceQuotaStrategy(),
    ("", "Secret"): SecretStrategy(),
    ("", "Service"): ServiceStrategy(),
    ("", "ServiceAccount"): ServiceAccountStrategy(),
}
