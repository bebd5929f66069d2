"""The order in which credentials are looked at: front proxy, client certificate, bearer token, anonymous.

A credential that is presented and wrong is a 401, never anonymous access.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from pilothouse.api import errors
from pilothouse.apiserver.request import ANONYMOUS, Request, UserInfo

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"


class TokenMethod(Protocol):
    """One way to know a bearer token. None: not one of mine."""

    def authenticate(self, token: str) -> UserInfo | None: ...


class CertificateMethod(Protocol):
    """None: a certificate that names nobody here."""

    def authenticate(self, der: bytes) -> UserInfo | None: ...


class ProxyMethod(Protocol):
    """None: no front proxy, or one that names nobody."""

    def authenticate(self, der: bytes, headers: Mapping[str, str]) -> UserInfo | None: ...


class Chain:
    def __init__(
        self,
        certificates: CertificateMethod | None,
        tokens: Sequence[TokenMethod],
        *,
        proxies: ProxyMethod | None = None,
        anonymous: bool = True,
        fresh: Callable[[], Awaitable[None]] | None = None,
        warning: Callable[[str], str] | None = None,
    ) -> None:
        """`fresh` returns once the objects that tokens are checked against are the newest: another server may have
        made the account a moment ago. `warning` says what who sends a good token should be told, or ""."""
        self._warning = warning
        self._certificates = certificates
        self._proxies = proxies
        self._fresh = fresh
        self._tokens = tokens
        self._anonymous = anonymous

    async def authenticate(self, request: Request) -> UserInfo:
        user = self._by_certificate(request) or await self._by_token(request)
        if user is not None:
            return with_group(user)
        if not self._anonymous:
            raise errors.unauthorized()
        return ANONYMOUS

    def _by_certificate(self, request: Request) -> UserInfo | None:
        if request.peer_certificate is None:
            return None
        if self._proxies is not None:
            user = self._proxies.authenticate(request.peer_certificate, request.headers)
            if user is not None:
                return user
        if self._certificates is None:
            return None
        user = self._certificates.authenticate(request.peer_certificate)
        if user is None:
            raise errors.unauthorized()
        return user

    async def _by_token(self, request: Request) -> UserInfo | None:
        token = bearer_token(request)
        if not token:
            return None
        user = self.token_user(token)
        if user is None and self._fresh is not None:
            await self._fresh()
            user = self.token_user(token)
        if user is None:
            raise errors.unauthorized()
        if self._warning is not None and (warning := self._warning(token)):
            request.warnings.append(warning)
        return user

    def token_user(self, token: str) -> UserInfo | None:
        """Whose token it is; None for nobody's."""
        for method in self._tokens:
            user = method.authenticate(token)
            if user is not None:
                return user
        return None


def with_group(user: UserInfo) -> UserInfo:
    """Every known user is in system:authenticated."""
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return UserInfo(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)


_EXTRA_SPACE = (
    "the provided Authorization header contains extra space before the bearer token, and is ignored"
)
_PROTOCOL_PREFIX = "base64url.bearer.authorization.k8s.io."


def bearer_token(request: Request) -> str:
    """From the Authorization header, or from a WebSocket's sub-protocols; "" when there is none. What follows a
    second space is not looked at; a space too many leaves no token, and a warning (bearertoken.Authenticator)."""
    parts = request.headers.get("authorization", "").strip().split(" ", 2)
    if len(parts) > 1 and parts[0].lower() == "bearer":
        if parts[1]:
            return parts[1]
        if len(parts) == 3:
            request.warnings.append(_EXTRA_SPACE)
            return ""
    if request.headers.get("upgrade", "").lower() == "websocket":
        for protocol in request.headers.get("sec-websocket-protocol", "").split(","):
            protocol = protocol.strip()
            if protocol.startswith(_PROTOCOL_PREFIX):
                return _decode(protocol.removeprefix(_PROTOCOL_PREFIX))
    return ""


_RAW_URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def _decode(text: str) -> str:
    """base64.RawURLEncoding; 401 for anything else."""
    try:
        if _RAW_URL.match(text) is None:
            raise binascii.Error
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise errors.unauthorized() from None
