"""Asking a webhook: HTTPS to the URL or the service that a configuration names
(k8s.io/apiserver/pkg/util/webhook client.go, serviceresolver.go)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from functools import lru_cache
from typing import NamedTuple

import aiohttp

from pilothouse.api.field import go_quote
from pilothouse.api.resources import ENDPOINTS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister

_PORT = 443
_ANSWER_BYTES_MAX = 10 << 20
_TEXT_MAX = 2048
"""Characters of an answer that an error repeats."""
_BUNDLES_KEPT = 64

_STATUS_TEXTS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""What a client of Kubernetes' says of an answer that is no Status (apierrors.NewGenericServerResponse)."""


class WebhookError(Exception):
    """The webhook could not be asked, or did not answer with 200. `code` is the status that it answered, or 503."""

    def __init__(self, text: str, code: int = 503) -> None:
        super().__init__(text)
        self.code = code


class _Target(NamedTuple):
    """Where to connect, and by which name the certificate must know the server. `shown` is how errors name it."""

    url: str
    server_name: str | None
    shown: str


class WebhookClient:
    """One per server; `lister` finds what is behind a service."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister
        self._session: aiohttp.ClientSession | None = None

    async def post(self, config: Obj, body: bytes, timeout_s: float, *, tell_timeout: bool = False) -> bytes:
        """The answer of the webhook that a clientConfig names. Raises WebhookError. `tell_timeout`: the webhook is
        told how long it has, as `?timeout=10s`."""
        target = self._target(config, f"timeout={timeout_s:g}s" if tell_timeout else "")
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._send(target, config, body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # A kept connection that the other side had closed: Go's client opens another one, too.
                    return await self._send(target, config, body)
        except TimeoutError:
            why = "context deadline exceeded"
        except aiohttp.ServerDisconnectedError:
            why = "EOF"
        except (aiohttp.ClientError, OSError) as error:
            why = _reason(error)
        raise WebhookError(f'Post "{target.shown}": {why}')

    async def _send(self, target: _Target, config: Obj, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        async with self._session.post(
            target.url,
            data=body,
            headers={"Content-Type": "application/json", "Accept": "application/json, */*"},
            ssl=_tls(config.get("caBundle") or ""),
            server_hostname=target.server_name,
        ) as response:
            answer = await _read(response)
        if response.status not in (200, 201):
            raise WebhookError(_status_text(response.status, answer), response.status)
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _target(self, config: Obj, query: str) -> _Target:
        if config.get("url"):
            url: str = config["url"]
            if query:
                url = f"{url}{'&' if '?' in url else '?'}{query}"
            return _Target(url, None, url)
        service = config["service"]
        namespace, name, port = service["namespace"], service["name"], service.get("port") or _PORT
        server_name = f"{name}.{namespace}.svc"
        path = (service.get("path") or "").removeprefix("/") + (f"?{query}" if query else "")
        shown = f"https://{server_name}:{port}/{path}"
        try:
            host, target_port = self._address(namespace, name, port)
        except WebhookError as error:
            raise WebhookError(f'Post "{shown}": {error}') from None
        return _Target(f"https://{host}:{target_port}/{path}", server_name, shown)

    def _address(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """An endpoint of the service: nobody routes cluster IPs here."""
        service = self._lister.get(SERVICES, name, namespace)
        if service is None:
            raise WebhookError(f'service "{name}" not found')
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return spec["externalName"], port
        named = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if named is None:
            raise WebhookError(f'no service port {port} found for service "{name}"')
        endpoints = self._lister.get(ENDPOINTS, name, namespace) or {}
        for subset in endpoints.get("subsets") or ():
            for candidate in subset.get("ports") or ():
                if candidate.get("name", "") == named.get("name", "") and subset.get("addresses"):
                    return subset["addresses"][0]["ip"], candidate["port"]
        raise WebhookError(f'no endpoints available for service "{name}"')


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body: `content.read(n)` would give what is there so far."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            raise WebhookError(f"the answer is larger than {_ANSWER_BYTES_MAX} bytes")
    return b"".join(parts)


@lru_cache(_BUNDLES_KEPT)
def _tls(ca_bundle: str) -> ssl.SSLContext:
    """The system's authorities, or the bundle's alone. Kept, so that connections are, too. As Go does, trust whatever
    certificate the bundle holds, be it an authority's or the server's own."""
    if not ca_bundle:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(ca_bundle).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError, ssl.SSLError):
        raise WebhookError("unable to load root certificates: unable to parse bytes as PEM block") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


_UNKNOWN_AUTHORITY = frozenset((7, 18, 19, 20, 21))
_EXPIRED = 10
"""OpenSSL's X509_V_ERR_…"""


def _reason(error: Exception) -> str:
    """What went wrong, in the words that Go has for it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: x509: {_certificate_reason(error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        where = f"dial tcp {error.host}:{error.port}"
        if isinstance(error.os_error, ConnectionRefusedError):
            return f"{where}: connect: connection refused"
        return f"{where}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, ConnectionResetError):
        return "connection reset by peer"
    return str(error) or type(error).__name__


def _certificate_reason(error: aiohttp.ClientConnectorCertificateError) -> str:
    found = error.certificate_error
    code = getattr(found, "verify_code", 0)
    if code in _UNKNOWN_AUTHORITY:
        return "certificate signed by unknown authority"
    if code == _EXPIRED:
        return "certificate has expired or is not yet valid"
    return str(getattr(found, "verify_message", "") or found)


def _status_text(code: int, answer: bytes) -> str:
    said = answer[:_TEXT_MAX].decode(errors="replace").strip()
    if code in _STATUS_TEXTS:
        return _STATUS_TEXTS[code]
    if code == 403:
        return said or "unknown"
    if code >= 500:
        return f"an error on the server ({go_quote(said or 'unknown')}) has prevented the request from succeeding"
    return said or "unknown"
