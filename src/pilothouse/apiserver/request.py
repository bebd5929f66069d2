"""What travels through the pipeline: a request, who sent it, what it asks for, and the answer.

A transport (HTTP or in-process) makes a `Request` and renders a `Response`; nothing in between knows which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.types import Obj


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who a request acts as (authentication.k8s.io UserInfo)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


LOOPBACK = UserInfo("system:apiserver", groups=("system:masters", "system:authenticated"))
"""The server itself, where it is its own client."""
ANONYMOUS = UserInfo("system:anonymous", groups=("system:unauthenticated",))


@dataclass(slots=True)
class RequestInfo:
    """What a path and method ask for (k8s.io/apiserver/pkg/endpoints/request RequestInfo).

    `verb` is a Kubernetes verb (get, list, watch, create, update, patch, delete, deletecollection) for a
    resource and the lower-case method otherwise."""

    is_resource: bool
    path: str
    verb: str
    prefix: str = ""
    """api or apis."""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    field_selector: str = ""
    """Of a list, watch or deletecollection, as it was sent (KEP-4601)."""


_NOTHING = RequestInfo(False, "", "")


@dataclass(slots=True)
class Request:
    """`headers` have lower-case names. `body` is bytes from the wire, a dict from the in-process transport
    (owned by the server from then on), or None. `query` holds every value of a parameter in order."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Obj | list[Any] | None = None
    user: UserInfo | None = None
    """Set by the in-process transport, by authentication otherwise."""
    peer_certificate: bytes | None = None
    """DER of the client certificate, verified against no CA yet."""
    remote: str = ""
    info: RequestInfo = field(default_factory=lambda: _NOTHING)
    """Set by the pipeline."""
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning: 299 - "…"` headers, in order."""
    audit: dict[str, str] = field(default_factory=dict)
    flow: tuple[str, str] | None = None
    """UIDs of the FlowSchema that it matched and of its priority level; None for none."""
    received_s: float = 0.0
    """Wall-clock time of its arrival, seconds since 1970."""
    in_process: bool = False
    """The caller shares our memory: answers may be dicts (`Response.obj`) and watch events WatchEvent tuples."""
    receive: Callable[[], Awaitable[bytes]] | None = None
    """Reads the body from the wire, once the request is authorized; raises ApiError 413. None: nothing to read."""
    upgrade: Any = None
    """The transport's handle for taking over the connection (WebSocket, SPDY); None when it has none."""

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter, as Go's url.Values.Get."""
        values = self.query.get(name)
        return values[0] if values else default


@dataclass(slots=True)
class Response:
    """`body` is the whole answer, or a stream of chunks (a watch). `obj` is the same answer as a shared dict,
    given when the caller is in-process and the answer is one object."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    obj: Obj | None = None
    stream: AsyncIterator[Any] | None = None
    """in-process watch: batches (lists) of (type, object) tuples."""
