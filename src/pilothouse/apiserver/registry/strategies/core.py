"""Strategies of the core kinds that are no workloads (pkg/registry/core/*/strategy.go)."""

from __future__ import annotations

import base64
from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Context, Rollback, Strategy


class ServiceStrategy(Strategy):
    name_message: ClassVar[str] = "label"
    field_names: ClassVar[tuple[str, ...]] = ("spec.clusterIP", "spec.type")

    def fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        _families(ctx, obj["spec"])

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """What was allocated stays when the client leaves it out."""
        spec, before = obj["spec"], old["spec"]
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(name, None)
            return
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(name) and before.get(name):
                spec[name] = before[name]
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            _keep_ports(spec, before)
        else:
            for port in spec.get("ports") or ():
                if before.get("type") in ("NodePort", "LoadBalancer"):
                    port.pop("nodePort", None)
        _families(ctx, spec)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        before, now = old["spec"].get("clusterIP"), obj["spec"].get("clusterIP")
        external = "ExternalName" in (old["spec"].get("type"), obj["spec"].get("type"))
        if before and before != now and not external:
            return [f.invalid("spec.clusterIPs[0]", obj["spec"].get("clusterIPs"), "may not change once set")]
        return []

    async def begin_create(self, ctx: Context, obj: Obj) -> Rollback | None:
        assert ctx.services is not None
        settle = ctx.services.assign_ports(obj, dry_run=ctx.dry_run)
        undo = await ctx.services.assign_address(obj, dry_run=ctx.dry_run)

        async def rollback() -> None:
            for step in (undo, settle):
                if step is not None:
                    await step()

        return rollback

    async def begin_update(self, ctx: Context, obj: Obj, old: Obj) -> Rollback | None:
        assert ctx.services is not None
        if old["spec"].get("type") == "ExternalName" and obj["spec"].get("type") != "ExternalName":
            return await self.begin_create(ctx, obj)
        return ctx.services.assign_ports(obj, dry_run=ctx.dry_run)

    async def after_delete(self, ctx: Context, obj: Obj) -> None:
        assert ctx.services is not None
        await ctx.services.release_address(obj)


def _families(ctx: Context, spec: Obj) -> None:
    if spec.get("type") == "ExternalName" or ctx.services is None:
        return
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = "SingleStack"
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = [ctx.services.family]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def _keep_ports(spec: Obj, before: Obj) -> None:
    known = {
        (p.get("name", ""), p["port"], p.get("protocol")): p.get("nodePort")
        for p in before.get("ports") or ()
    }
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            number = known.get((port.get("name", ""), port["port"], port.get("protocol")))
            if number:
                port["nodePort"] = number
    if before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]


class SecretStrategy(Strategy):
    has_status: ClassVar[bool] = False
    field_names: ClassVar[tuple[str, ...]] = ("type",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"type": obj.get("type", "")}

    def canonicalize(self, obj: Obj) -> None:
        fold_string_data(obj)


def fold_string_data(obj: Obj) -> None:
    """stringData is a way to write data: it never comes back."""
    given = obj.pop("stringData", None)
    if given:
        data = dict(obj.get("data") or {})
        for key, text in given.items():
            data[key] = base64.b64encode(text.encode()).decode()
        obj["data"] = data


class NamespaceStrategy(Strategy):
    name_message: ClassVar[str] = "label"
    field_names: ClassVar[tuple[str, ...]] = ("status.phase", "name")

    def fields(self, obj: Obj) -> dict[str, str]:
        phase = (obj.get("status") or {}).get("phase", "")
        return {"status.phase": phase, "name": obj["metadata"]["name"]}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"phase": "Active"}
        spec = obj.setdefault("spec", {})
        finalizers = spec.get("finalizers") or []
        if "kubernetes" not in finalizers:
            spec["finalizers"] = [*finalizers, "kubernetes"]

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        if ctx.subresource != "finalize":
            obj["spec"] = old.get("spec") or {}


class NodeStrategy(Strategy):
    field_names: ClassVar[tuple[str, ...]] = ("spec.unschedulable",)
    allow_create_on_update: ClassVar[bool] = False

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.unschedulable": str(bool((obj.get("spec") or {}).get("unschedulable"))).lower()}


_EVENT_FIELDS = {
    "involvedObject.kind": "kind",
    "involvedObject.namespace": "namespace",
    "involvedObject.name": "name",
    "involvedObject.uid": "uid",
    "involvedObject.apiVersion": "apiVersion",
    "involvedObject.resourceVersion": "resourceVersion",
    "involvedObject.fieldPath": "fieldPath",
}


class EventStrategy(Strategy):
    has_status: ClassVar[bool] = False
    field_names: ClassVar[tuple[str, ...]] = (
        *_EVENT_FIELDS,
        "reason",
        "reportingComponent",
        "source",
        "type",
    )

    def fields(self, obj: Obj) -> dict[str, str]:
        involved = obj.get("involvedObject") or {}
        out = {field: involved.get(key, "") for field, key in _EVENT_FIELDS.items()}
        out["reason"] = obj.get("reason", "")
        out["reportingComponent"] = obj.get("reportingComponent", "")
        out["source"] = (obj.get("source") or {}).get("component") or obj.get("reportingComponent", "")
        out["type"] = obj.get("type", "")
        return out


class ClaimStrategy(Strategy):
    """PersistentVolumeClaim and PersistentVolume start as Pending."""

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"phase": "Pending"}


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Service"): ServiceStrategy(),
    ("", "Secret"): SecretStrategy(),
    ("", "Namespace"): NamespaceStrategy(),
    ("", "Node"): NodeStrategy(),
    ("", "Event"): EventStrategy(),
    ("", "PersistentVolume"): ClaimStrategy(),
    ("", "PersistentVolumeClaim"): ClaimStrategy(),
}
