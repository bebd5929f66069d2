"""Go templates with the functions that kwok gives its stages (pkg/utils/gotpl): its own and Sprig's.

The language and Sprig come from `gotpl`. What a template prints is read as YAML. Not here: functions that look at
the machine (`env`, `getHostByName`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import gotpl
import yaml
from gotpl.funcs import sprig
from gotpl.runtime.values import INVALID as _INVALID

import pilothouse
from pilothouse.api.schema.parse import YAML, body
from pilothouse.api.types import Obj
from pilothouse.kit.world import World
from pilothouse.nodes import node_status

_OF_THE_MACHINE = ("env", "expandenv", "getHostByName")
_NETWORK_UP = ("NetworkUnavailable", "False", "RouteCreated", "RouteController created a route")


class TemplateError(ValueError):
    """A template that cannot be parsed, or printed for an object; its text is one line."""


class Places(Protocol):
    """Where nodes and pods are, for the functions that name addresses."""

    def node_address(self, node: str) -> str: ...

    def pod_address(self, node: str, uid: str, *, host_network: bool) -> str: ...


class Nowhere:
    """Before there are nodes."""

    def node_address(self, node: str) -> str:
        return ""

    def pod_address(self, node: str, uid: str, *, host_network: bool) -> str:
        return ""


class Template:
    """One compiled template. Rendering gives the YAML value of what it prints."""

    def __init__(self, source: str, functions: Functions) -> None:
        self._functions = functions
        try:
            self._template = gotpl.Template(source.strip(), functions=functions.table)
        except gotpl.TemplateError as error:
            raise TemplateError(_one_line(error)) from None

    def render(self, obj: Obj) -> Any:
        """TemplateError when it cannot be done for this object."""
        self._functions.subject = obj
        try:
            printed = self._template.render(obj)
            return body(printed.encode(), YAML)[0]
        except (gotpl.TemplateError, ValueError) as error:
            raise TemplateError(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).removeprefix("template:").strip()
    return text.removeprefix("error converting YAML to JSON: ")


class Functions:
    """`table` is what templates may call. `subject` is the object that is rendered just now."""

    def __init__(self, world: World, places: Places | None = None) -> None:
        self._world = world
        self.places: Places = places or Nowhere()
        self._started = _rfc3339_nano(world.now())
        self.subject: Obj = {"metadata": {}}
        self.table: Mapping[str, Callable[..., object]] = {**self._sprig(), **self._own()}

    def _sprig(self) -> dict[str, Callable[..., object]]:
        chance = self._world.random
        table = sprig.text_func_map(
            clock=lambda: datetime.fromtimestamp(self._world.now(), UTC),
            entropy=chance.randbytes,
            randbelow=chance.randrange,
        )
        return {name: function for name, function in table.items() if name not in _OF_THE_MACHINE}

    def _own(self) -> dict[str, Callable[..., object]]:
        return {
            "eq": _equal,
            "ne": lambda first, second: not _equal(first, second),
            "Now": lambda: _rfc3339_nano(self._world.now()),
            "StartTime": lambda: self._started,
            "Quote": _quote,
            "YAML": _yaml,
            "Version": lambda: f"v{pilothouse.__version__}",
            "NodeConditions": _node_conditions,
            "NodeName": self._node,
            "NodePort": lambda: node_status.KUBELET_PORT,
            "NodeIP": lambda: self.places.node_address(self._node()),
            "NodeIPWith": lambda node: self.places.node_address(node),
            "PodIP": self._pod_ip,
            "PodIPWith": self._pod_ip_with,
        }

    def _node(self) -> str:
        """The node that is rendered, or the one that a pod is on."""
        spec = self.subject.get("spec") or {}
        return str(spec.get("nodeName") or self.subject["metadata"].get("name", ""))

    def _pod_ip(self) -> str:
        host_network = bool((self.subject.get("spec") or {}).get("hostNetwork"))
        return self._pod_ip_with(self._node(), host_network, self.subject["metadata"].get("uid", ""))

    def _pod_ip_with(
        self, node: str, host_network: bool = False, uid: str = "", name: str = "", namespace: str = ""
    ) -> str:
        present = (self.subject.get("status") or {}).get("podIP")
        if present and uid == self.subject["metadata"].get("uid"):
            return str(present)
        return self.places.pod_address(node, uid, host_network=bool(host_network))


def _equal(first: object, *others: object) -> bool:
    """Go's eq. What is missing equals nothing but what is missing, and is no error beside a string."""
    return any(_same(first, other) for other in others)


def _same(first: object, other: object) -> bool:
    if _is_number(first) and _is_number(other):
        return first == other
    missing, lacking = _is_missing(first), _is_missing(other)
    if missing or lacking:
        return missing and lacking
    if isinstance(first, str) != isinstance(other, str) or isinstance(first, bool) != isinstance(other, bool):
        raise TypeError("incompatible types for comparison")
    return first == other


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_missing(value: object) -> bool:
    """gotpl has a mark of its own for what a path does not lead to."""
    return value is None or type(value) is type(_INVALID)


def _rfc3339_nano(unix_s: float) -> str:
    text = datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text.rstrip('0').rstrip('.')}Z"


def _plain(value: object) -> object:
    return None if _is_missing(value) else value


def _quote(value: object) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    return text if text.startswith('"') else json.dumps(text, ensure_ascii=False)


def _yaml(value: object, indent: int = 0) -> str:
    """`indent` counts in steps of two blanks, and begins on a new line."""
    text = yaml.safe_dump(_plain(value), default_flow_style=False, allow_unicode=True)
    if indent <= 0:
        return text
    return f"\n{text}".replace("\n", f"\n{'  ' * indent}")


def _node_conditions() -> list[dict[str, str]]:
    conditions = (node_status.CONDITIONS[-1], *node_status.CONDITIONS[:-1], _NETWORK_UP)
    return [
        {"type": kind, "status": status, "reason": reason, "message": message}
        for kind, status, reason, message in conditions
    ]
