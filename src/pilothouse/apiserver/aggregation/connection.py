"""Connections to extension API servers: TLS with the front proxy's certificate, one context per set of authorities."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation import headers
from pilothouse.apiserver.aggregation.services import Address, Reference, Resolver, Unreachable
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.certificates import KeyPair

DIAL_TIMEOUT_S = 30.0
_PATH_SAFE = "/:@!$&'()*+,;=~"
_CONTEXTS_MAX = 64


class Target(NamedTuple):
    """An extension API server as an APIService names it."""

    service: Reference
    ca_bundle: str = ""
    """Base64 of PEM."""
    insecure: bool = False

    @classmethod
    def of(cls, service: Reference, api_service: Obj) -> Target:
        spec = api_service["spec"]
        return cls(service, spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify")))


class Connections:
    """Of one server; opened by the first use."""

    def __init__(self, resolver: Resolver, certificate: KeyPair | None) -> None:
        self._resolver = resolver
        self._certificate = certificate
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        target: Target,
        method: str,
        path: str,
        user: UserInfo,
        *,
        query: Mapping[str, list[str]] | None = None,
        sent: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
        address: Address | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer's head; the body is the caller's to read, and the answer its to close. Raises Unreachable with
        what net/http would say, TimeoutError past `timeout_s`. `address` is one that was resolved before."""
        address = address or self._resolver.resolve(target.service)
        all_headers = headers.identity(user)
        all_headers.extend(sent or {})
        try:
            return await self._opened().request(
                method,
                url_of(address, path, query or {}),
                data=body,
                headers=all_headers,
                ssl=self._context(target),
                server_hostname=target.service.server_name,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=DIAL_TIMEOUT_S),
            )
        except aiohttp.ServerTimeoutError as error:
            raise Unreachable(f"dial tcp {address}: i/o timeout") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Unreachable(_reason(error, address)) from error

    async def websocket(
        self,
        target: Target,
        path: str,
        user: UserInfo,
        *,
        query: Mapping[str, list[str]],
        sent: Mapping[str, str],
        protocols: tuple[str, ...],
    ) -> aiohttp.ClientWebSocketResponse:
        """Raises Unreachable, also when the server does not change the protocol."""
        address = self._resolver.resolve(target.service)
        all_headers = headers.identity(user)
        all_headers.extend(sent)
        try:
            return await self._opened().ws_connect(
                url_of(address, path, query),
                protocols=protocols,
                headers=all_headers,
                ssl=self._context(target),
                server_hostname=target.service.server_name,
                max_msg_size=0,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error, address)) from error

    def address(self, target: Target) -> Address:
        """Where it would be asked. Raises Unreachable."""
        return self._resolver.resolve(target.service)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=256 * 1024,
                max_line_size=1024 * 1024,
                max_field_size=1024 * 1024,
            )
        return self._session

    def _context(self, target: Target) -> ssl.SSLContext:
        key = (target.ca_bundle, target.insecure)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= _CONTEXTS_MAX:
                self._contexts.clear()
            context = self._contexts[key] = self._make_context(*key)
        return context

    def _make_context(self, ca_bundle: str, insecure: bool) -> ssl.SSLContext:
        """The system's authorities, or the bundle's alone. ValueError for a bundle that is none."""
        try:
            pem = base64.b64decode(ca_bundle).decode() if ca_bundle else None
            context = ssl.create_default_context(cadata=pem)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ValueError(f"unable to load root certificates: {error}") from error
        # Go accepts certificates without an authority key identifier; Python's default since 3.13 does not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._certificate is not None:
            context.load_cert_chain(*self._certificate)
        return context

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def url_of(address: Address, path: str, query: Mapping[str, list[str]]) -> URL:
    text = f"https://{address}{quote(path, safe=_PATH_SAFE)}"
    if query:
        text += "?" + urlencode(query, doseq=True)
    return URL(text, encoded=True)


_CERTIFICATE = re.compile(r"certificate verify failed: (.*?)(?: \(_ssl|$)")


def _reason(error: Exception, address: Address) -> str:
    """As Go's net and crypto/tls would tell it, where they have a word for it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        text = str(error)
        if "Hostname mismatch" in text or "doesn't match" in text:
            return "tls: failed to verify certificate: x509: certificate is not valid for the service's name"
        if found := _CERTIFICATE.search(text):
            why = (
                "certificate signed by unknown authority"
                if "self" in found[1] or "unable to get" in found[1]
                else found[1]
            )
            return f"tls: failed to verify certificate: x509: {why}"
        return f"remote error: tls: {text}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {address.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        os_error = error.os_error
        if isinstance(os_error, ConnectionRefusedError):
            return f"dial tcp {address}: connect: connection refused"
        return f"dial tcp {address}: connect: {(os_error.strerror or str(os_error)).lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "EOF"
    return str(error)
