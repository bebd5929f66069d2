"""Defaults of the kinds in apiregistration.k8s.io (k8s.io/kube-aggregator/pkg/apis/apiregistration/v1)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj


def api_service(obj: Obj) -> None:
    service = obj["spec"].get("service")
    if service is not None:
        service.setdefault("port", 443)


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("apiregistration.k8s.io", "v1", "APIService"): api_service,
}
