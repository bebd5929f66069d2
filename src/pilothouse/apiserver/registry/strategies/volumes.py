"""Strategies of persistent volumes and claims (pkg/registry/core/persistentvolume, …claim)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import persistent_volume_claims as claims
from pilothouse.api.validation import persistent_volumes as volumes
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

SNAPSHOT_GROUP = "snapshot.storage.k8s.io"


class VolumeStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": ctx.world.timestamp()}

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """The server notes when the phase changed, unless the client says it."""
        status, before = obj.get("status") or {}, old.get("status") or {}
        given = status.get("lastPhaseTransitionTime")
        if status.get("phase", "") != before.get("phase", ""):
            if given is None or given == before.get("lastPhaseTransitionTime"):
                obj["status"] = {**status, "lastPhaseTransitionTime": ctx.world.timestamp()}
        elif given is None and before.get("lastPhaseTransitionTime") is not None:
            obj["status"] = {**status, "lastPhaseTransitionTime": before["lastPhaseTransitionTime"]}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return volumes.persistent_volume(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        # Upstream's strategy validates the whole volume twice on an update.
        return volumes.persistent_volume(obj, old) + volumes.persistent_volume_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return volumes.volume_warnings(obj)


class ClaimStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"phase": "Pending"}
        _one_source(obj["spec"], None)
        _mirror_sources(obj["spec"])

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """Claims of long ago have only one of the two source fields: the other is not new."""
        _one_source(obj["spec"], old["spec"])
        _mirror_sources(obj["spec"])

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return claims.persistent_volume_claim(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return claims.persistent_volume_claim(obj) + claims.persistent_volume_claim_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return claims.persistent_volume_claim_status(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return claims.claim_warnings(obj)


def _one_source(spec: Obj, before: Obj | None) -> None:
    """dataSource takes claims and snapshots only; anything else was always dropped, and dataSourceRef is the
    way to say it (KEP-1495). A source in another namespace is not taken: that feature is off by default."""
    reference = spec.get("dataSourceRef")
    if reference and reference.get("namespace") and not (before or {}).get("dataSourceRef"):
        del spec["dataSourceRef"]
    if before is not None and (before.get("dataSource") or before.get("dataSourceRef")):
        return
    if spec.get("dataSourceRef") is None and spec.get("dataSource") is not None:
        source = spec["dataSource"]
        kind, group = source.get("kind", ""), source.get("apiGroup") or ""
        if (kind, group) not in (("PersistentVolumeClaim", ""), ("VolumeSnapshot", SNAPSHOT_GROUP)):
            del spec["dataSource"]


def _mirror_sources(spec: Obj) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}
