"""Who asks, as a front proxy tells a server behind it (k8s.io/client-go/transport SetAuthProxyHeaders), and what of a
request's and an answer's headers goes no further."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDict

from pilothouse.apiserver.request import UserInfo

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NOT_SENT = _HOP_BY_HOP | {"authorization", "content-length", "host"}
_NOT_SENT_PREFIXES = ("impersonate-", "x-remote-", "sec-websocket-")
_NOT_RETURNED = _HOP_BY_HOP | {"content-length", "date", "server", "access-control-allow-origin"}
"""aiohttp frames the answer anew."""
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def identity(user: UserInfo) -> CIMultiDict[str]:
    """X-Remote-User, -Uid, -Group and -Extra-KEY."""
    headers = CIMultiDict({"X-Remote-User": user.name})
    if user.uid:
        headers["X-Remote-Uid"] = user.uid
    for group in user.groups:
        headers.add("X-Remote-Group", group)
    for key, values in user.extra.items():
        for value in values:
            headers.add(f"X-Remote-Extra-{escaped(key)}", value)
    return headers


def escaped(key: str) -> str:
    """A key of extra as part of a header's name: what no name may hold is percent-encoded."""
    if all(char in _TOKEN and char != "%" for char in key.lower()):
        return key
    return "".join(
        chr(byte) if byte < 128 and chr(byte).lower() in _TOKEN and byte != 0x25 else f"%{byte:02X}"
        for byte in key.encode()
    )


def forwarded(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """What of a request's headers (lower-case names) goes on."""
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name not in _NOT_SENT and not name.startswith(_NOT_SENT_PREFIXES)
    )


def returned(headers: Mapping[str, str]) -> dict[str, str]:
    """What of an answer's headers comes back; repeated ones are joined."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower() in _NOT_RETURNED:
            continue
        name = "-".join(part.capitalize() for part in name.split("-")) if name.lower() != "etag" else "ETag"
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
