"""Strategies of the kinds in networking.k8s.io (pkg/registry/networking)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import networking
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "networking.k8s.io"


class IngressStrategy(Strategy):
    generation: ClassVar[bool] = True

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"loadBalancer": {}}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return networking.ingress_create(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.ingress(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.ingress_status(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        annotations = obj["metadata"].get("annotations") or {}
        if old is None and networking.CLASS_ANNOTATION in annotations:
            return [
                f'annotation "{networking.CLASS_ANNOTATION}" is deprecated, please use '
                "'spec.ingressClassName' instead"
            ]
        return []


class IngressClassStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return networking.ingress_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.ingress_class_update(obj, old)


class NetworkPolicyStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return networking.network_policy(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.network_policy(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return networking.network_policy_warnings(obj)


class IPAddressStrategy(Strategy):
    has_status: ClassVar[bool] = False
    name_message: ClassVar[str] = "ip"
    generates_names: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return networking.ip_address(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.ip_address_update(obj, old)


class ServiceCIDRStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return networking.service_cidr(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return networking.service_cidr_update(obj, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "Ingress"): IngressStrategy(),
    (GROUP, "IngressClass"): IngressClassStrategy(),
    (GROUP, "IPAddress"): IPAddressStrategy(),
    (GROUP, "NetworkPolicy"): NetworkPolicyStrategy(),
    (GROUP, "ServiceCIDR"): ServiceCIDRStrategy(),
}
