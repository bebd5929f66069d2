"""EventRateLimit: a storm of events does not drown the server (plugin/pkg/admission/eventratelimit).

limits:                       of the configuration, each a token bucket per key of its type
- {type: Server, qps: 50, burst: 100}
- {type: Namespace, qps: 50, burst: 100, cacheSize: 2000}
- {type: User, …}  {type: SourceAndObject, …}
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target

_KEYS_MAX = 4096
_SOURCE = ("component", "host")
_OBJECT = ("kind", "namespace", "name", "uid", "apiVersion")


class EventRateLimit(Plugin):
    name: ClassVar[str] = "EventRateLimit"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset(
        (("", "events", ""), ("events.k8s.io", "events", ""))
    )

    def __init__(self, env: Environment) -> None:
        """ValueError without limits: the plugin means nothing then."""
        limits = (env.configuration.get(self.name) or {}).get("limits")
        if not limits:
            raise ValueError(f"{self.name} needs limits in --admission-control-config-file")
        self._now_s = env.world.clock.monotonic
        self._limits = [_Limit(limit) for limit in limits]

    async def validate(self, a: Attributes) -> None:
        if a.dry_run:
            return
        refused = [text for limit in self._limits if (text := limit.refuse(a, self._now_s()))]
        if refused:
            raise errors.ApiError(429, "TooManyRequests", f"Too many requests: {refused[-1]}")


class _Limit:
    """The buckets of one limit, the least recently used given up first."""

    def __init__(self, limit: Obj) -> None:
        self.kind = limit.get("type", "")
        if self.kind not in _KEYS:
            raise ValueError(f"EventRateLimit: type {self.kind!r} is none of {', '.join(_KEYS)}")
        self._qps, self._burst = float(limit.get("qps", 0)), float(limit.get("burst", 0))
        if self._qps <= 0 or self._burst <= 0:
            raise ValueError(f"EventRateLimit: qps and burst of the limit {self.kind} must be positive")
        self._keys_max = int(limit.get("cacheSize") or _KEYS_MAX)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens and when they were counted, by key."""

    def refuse(self, a: Attributes, now_s: float) -> str:
        """Take a token; the reason where there is none."""
        key = _KEYS[self.kind](a)
        tokens, then_s = self._buckets.pop(key, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - then_s) * self._qps)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return "" if allowed else f"limit reached on type {self.kind} for key {key}"


def _source_and_object(a: Attributes) -> str:
    event = a.obj or {}
    source, target = event.get("source") or {}, event.get("involvedObject") or {}
    parts = [source.get(key, "") for key in _SOURCE] + [target.get(key, "") for key in _OBJECT]
    return "".join(parts)


_KEYS: dict[str, Callable[[Attributes], str]] = {
    "Server": lambda a: "",
    "Namespace": lambda a: a.namespace,
    "User": lambda a: a.user.name,
    "SourceAndObject": _source_and_object,
}
