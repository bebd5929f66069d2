"""Defaults of the kinds in authentication.k8s.io (pkg/apis/authentication/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

TOKEN_LIFE_S = 60 * 60


def token_request(obj: Obj) -> None:
    if obj["spec"].get("expirationSeconds") is None:
        obj["spec"]["expirationSeconds"] = TOKEN_LIFE_S


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("authentication.k8s.io", "v1", "TokenRequest"): token_request,
}
