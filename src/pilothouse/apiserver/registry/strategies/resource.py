"""Strategies of the kinds in resource.k8s.io (pkg/registry/resource)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.resources import NAMESPACES
from pilothouse.api.types import Obj
from pilothouse.api.validation import resource as validation
from pilothouse.apiserver.registry.strategies import claim_permissions
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "resource.k8s.io"
ADMIN_ACCESS_LABEL = "resource.kubernetes.io/admin-access"
NO_ADMIN_ACCESS = (
    f"admin access to devices requires the `{ADMIN_ACCESS_LABEL}: true` label on the containing namespace"
)


class DeviceClassStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.device_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.device_class(obj, old)


class ResourceClaimStrategy(Strategy):
    status_keeps_metadata: ClassVar[bool] = True
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        obj["status"] = {}

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """What drivers said of devices goes when the devices are given back, also where the writer does not know of
        it (dropDeallocatedStatusDevices)."""
        obj["spec"] = old["spec"]
        status = obj.get("status") or {}
        given_back = _allocated(old) - _allocated(obj)
        if given_back and status.get("devices"):
            left = [device for device in status["devices"] if _shared_id(device) not in given_back]
            if left:
                status["devices"] = left
            else:
                del status["devices"]

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return _admin_access(ctx, obj["spec"]) + validation.resource_claim(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.resource_claim_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return (
            _admin_allocation(ctx, obj, old)
            + claim_permissions.check(ctx, obj, old)
            + validation.resource_claim_status_update(obj, old)
        )


class ResourceClaimTemplateStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return _admin_access(ctx, obj["spec"]["spec"]) + validation.resource_claim_template(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.resource_claim_template_update(obj, old)


def _admin_access(ctx: Context, claim_spec: Obj) -> f.Errors:
    """Looking at devices that others use is for namespaces that an administrator marked."""
    for number, request in enumerate(claim_spec["devices"].get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess") and not _is_for_admins(ctx):
            return [f.forbidden(f"spec.devices.requests[{number}].adminAccess", NO_ADMIN_ACCESS)]
    return []


def _admin_allocation(ctx: Context, obj: Obj, old: Obj) -> f.Errors:
    """The same for what is allocated (AuthorizedForAdminStatus)."""
    if any(result.get("adminAccess") for result in _results(old)):
        return []
    for number, result in enumerate(_results(obj)):
        if result.get("adminAccess") and not _is_for_admins(ctx):
            return [f.forbidden(f"status.allocation.devices.results[{number}].adminAccess", NO_ADMIN_ACCESS)]
    return []


def _is_for_admins(ctx: Context) -> bool:
    namespace = ctx.lister.get(NAMESPACES, ctx.namespace)
    labels = (namespace["metadata"].get("labels") or {}) if namespace is not None else {}
    return bool(labels.get(ADMIN_ACCESS_LABEL) == "true")


def _results(claim: Obj) -> list[Obj]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Obj] = (allocation.get("devices") or {}).get("results") or []
    return found


def _allocated(claim: Obj) -> set[tuple[str, ...]]:
    return {_shared_id(result) for result in _results(claim)}


def _shared_id(device: Obj) -> tuple[str, ...]:
    return tuple(str(device.get(key) or "") for key in ("driver", "pool", "device", "shareID"))


class ResourceSliceStrategy(Strategy):
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True
    field_names: ClassVar[tuple[str, ...]] = ("spec.nodeName", "spec.driver")
    field_error: ClassVar[str] = "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}"

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        _date_taints(ctx, obj)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        _date_taints(ctx, obj)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.resource_slice(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.resource_slice(obj, old)

    def fields(self, obj: Obj) -> dict[str, str]:
        spec = obj["spec"]
        return {"spec.nodeName": spec.get("nodeName", ""), "spec.driver": spec.get("driver", "")}


class DeviceTaintRuleStrategy(Strategy):
    generation: ClassVar[bool] = True

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        obj["spec"]["taint"].setdefault("timeAdded", ctx.world.timestamp())

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.device_taint_rule(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.device_taint_rule(obj)


def _date_taints(ctx: Context, obj: Obj) -> None:
    for device in obj["spec"].get("devices") or ():
        for taint in device.get("taints") or ():
            taint.setdefault("timeAdded", ctx.world.timestamp())


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "DeviceClass"): DeviceClassStrategy(),
    (GROUP, "DeviceTaintRule"): DeviceTaintRuleStrategy(),
    (GROUP, "ResourceClaim"): ResourceClaimStrategy(),
    (GROUP, "ResourceClaimTemplate"): ResourceClaimTemplateStrategy(),
    (GROUP, "ResourceSlice"): ResourceSliceStrategy(),
}
