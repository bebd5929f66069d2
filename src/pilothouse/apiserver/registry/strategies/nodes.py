"""The strategy of nodes (pkg/registry/core/node/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, nodes
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class NodeStrategy(Strategy):
    """A kubelet registers with its status, so a create keeps it."""

    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    creates_with_status: ClassVar[bool] = True
    field_names: ClassVar[tuple[str, ...]] = ("spec.unschedulable",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.unschedulable": str(bool((obj.get("spec") or {}).get("unschedulable"))).lower()}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """Dynamic kubelet configuration is gone."""
        (obj.get("spec") or {}).pop("configSource", None)
        (obj.get("status") or {}).pop("config", None)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        if (old.get("spec") or {}).get("configSource") is None:
            (obj.get("spec") or {}).pop("configSource", None)

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        status = obj.get("status") or {}
        if status.get("config") is not None and (old.get("status") or {}).get("config") is None:
            obj["status"] = {key: value for key, value in status.items() if key != "config"}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return nodes.node(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return nodes.node(obj) + nodes.node_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return nodes.node_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        spec = obj.get("spec") or {}
        found = []
        if spec.get("externalID"):
            found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        for i, value in enumerate(spec.get("podCIDRs") or ()):
            found += addresses.cidr_warnings(value, f"spec.podCIDRs[{i}]")
        return found
