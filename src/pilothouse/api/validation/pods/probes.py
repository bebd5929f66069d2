"""Probes and lifecycle hooks: what a node runs against a container."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.pods.forms import NON_NEGATIVE, checked, need, port

_PROBE_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def probes(container: Obj, path: str, grace_s: int, out: f.Errors) -> None:
    for key in PROBES:
        value = container.get(key)
        if value is not None:
            _probe(value, key, f"{path}.{key}", grace_s, out)


def _probe(value: Obj, which: str, path: str, grace_s: int, out: f.Errors) -> None:
    _handler(value, path, grace_s, out)
    for key in _PROBE_NUMBERS:
        if value.get(key, 0) < 0:
            out.append(f.invalid(f"{path}.{key}", value[key], NON_NEGATIVE))
    grace = value.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        out.append(f.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if which == "readinessProbe":
        if grace is not None:
            why = "must not be set for readinessProbes"
            out.append(f.invalid(f"{path}.terminationGracePeriodSeconds", grace, why))
    elif value.get("successThreshold", 0) != 1:
        out.append(f.invalid(f"{path}.successThreshold", value.get("successThreshold", 0), "must be 1"))


def lifecycle(value: Obj, path: str, grace_s: int, out: f.Errors) -> None:
    for key in ("postStart", "preStop"):
        if value.get(key) is not None:
            _handler(value[key], f"{path}.{key}", grace_s, out)


def _handler(holder: Obj, path: str, grace_s: int, out: f.Errors) -> None:
    count = 0
    for key in _HANDLERS:
        value = holder.get(key)
        if value is None:
            continue
        count += 1
        if count > 1:
            out.append(f.forbidden(f"{path}.{key}", "may not specify more than 1 handler type"))
        elif key == "exec":
            need(value, "command", f"{path}.exec", out)
        elif key == "httpGet":
            _http_get(value, f"{path}.httpGet", out)
        elif key == "sleep":
            _sleep(value, f"{path}.sleep", grace_s, out)
        else:
            port(value.get("port", 0), f"{path}.{key}.port", out)
    if not count:
        out.append(f.required(path, "must specify a handler type"))


def _http_get(value: Obj, path: str, out: f.Errors) -> None:
    need(value, "path", path, out)
    port(value.get("port", 0), f"{path}.port", out)
    scheme = value.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        out.append(f.not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in value.get("httpHeaders") or ():
        checked(header.get("name", ""), f"{path}.httpHeaders", names.is_http_header_name, out)


def _sleep(value: Obj, path: str, grace_s: int, out: f.Errors) -> None:
    seconds = value.get("seconds", 0)
    if not 0 <= seconds <= grace_s:
        why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
        out.append(f.invalid(path, seconds, why))
