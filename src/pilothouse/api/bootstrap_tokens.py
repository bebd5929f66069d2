"""Bootstrap tokens: how a machine that is nobody yet proves that it was invited
(https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/, k8s.io/cluster-bootstrap).

A token `abcdef.0123456789abcdef` is the secret `bootstrap-token-abcdef` in kube-system, of a type of its own. What it
is good for stands in the secret: `usage-bootstrap-authentication`, `usage-bootstrap-signing`, an `expiration`, and
`auth-extra-groups`.
"""

from __future__ import annotations

import base64
import binascii
import re

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
PREFIX = "bootstrap-token-"
USER_PREFIX = "system:bootstrap:"
GROUP = "system:bootstrappers"

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})\Z")
_NAME = re.compile(PREFIX + r"([a-z0-9]{6})\Z")
_GROUP_PATTERN = r"\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z"
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\Z")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


def parse(token: str) -> tuple[str, str] | None:
    """(ID, secret) of a bearer token; None for one of another form."""
    found = _TOKEN.match(token)
    return (found[1], found[2]) if found else None


def named_id(name: str) -> str:
    """The ID in a secret's name; "" for a name of another form."""
    found = _NAME.match(name)
    return found[1] if found else ""


def data(secret: Obj, key: str) -> str:
    """A value of the secret's data; "" for none, and for one that is no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def is_token(secret: Obj) -> bool:
    return secret.get("type") == TYPE and secret["metadata"].get("namespace") == NAMESPACE


def time_left_s(secret: Obj, now_s: float) -> float | None:
    """Seconds until it expires; 0 for one that has, and for a time that nobody can read; None for one that stays."""
    text = data(secret, "expiration")
    if not text:
        return None
    if not _RFC_3339.match(text):
        return 0.0
    try:
        return max(parse_timestamp(text) - now_s, 0.0)
    except ValueError:
        return 0.0


def has_expired(secret: Obj, now_s: float) -> bool:
    return time_left_s(secret, now_s) == 0.0


def groups(secret: Obj) -> list[str]:
    """The groups of who uses it, sorted. ValueError for a name that may not be among them."""
    found = {GROUP}
    extra = data(secret, "auth-extra-groups")
    for group in extra.split(",") if extra else ():
        if not _GROUP.match(group):
            raise ValueError(f"bootstrap group {go_quote(group)} is invalid (must match {_GROUP_PATTERN})")
        found.add(group)
    return sorted(found)


def detached_signature(content: str, token_id: str, token_secret: str) -> str:
    """A JWS of `content` without it: HEADER..SIGNATURE (RFC 7515, appendix F)."""
    from jwt.api_jws import PyJWS

    # HMAC fills short keys up with zeros anyway; said in full, no library calls the key short.
    key = token_secret.encode().ljust(32, b"\0")
    full = PyJWS().encode(
        content.encode(), key, "HS256", headers={"kid": token_id, "typ": ""}, sort_headers=True
    )
    header, _, signature = full.split(".")
    return f"{header}..{signature}"
