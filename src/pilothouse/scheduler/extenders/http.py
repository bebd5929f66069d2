"""Requests to an extender: JSON by POST, with the TLS settings of its `tlsConfig` (pkg/scheduler/extender.go
makeTransport)."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from pilothouse.api.types import Obj
from pilothouse.client.kubeconfig import load_pair
from pilothouse.scheduler.extenders.wire import ExtenderError

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class HttpSender:
    """`timeout_s` bounds one request. ValueError for TLS settings that cannot be used."""

    def __init__(self, config: Obj, timeout_s: float) -> None:
        self._url = config["urlPrefix"].rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls = _tls(config)
        self._server_name = (config.get("tlsConfig") or {}).get("serverName") or None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, verb: str, body: Obj) -> Any:
        """The answer's JSON. ExtenderError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls))
        url = f"{self._url}/{verb}"
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url,
                data=_encode(body),
                headers=headers,
                timeout=self._timeout,
                server_hostname=self._server_name,
            ) as answer:
                if answer.status != 200:
                    raise ExtenderError(f"failed {verb} with extender at URL {url}, code {answer.status}")
                payload = await answer.read()
        except TimeoutError:
            raise ExtenderError(f'Post "{url}": context deadline exceeded') from None
        except aiohttp.ClientError as error:
            raise ExtenderError(f'Post "{url}": {error}') from error
        try:
            return _decode(payload)
        except msgspec.DecodeError as error:
            raise ExtenderError(f"{verb} with extender at URL {url}: no JSON: {error}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _tls(config: Obj) -> ssl.SSLContext:
    """Without a CA, `enableHTTPS` checks no certificate, as upstream."""
    given = config.get("tlsConfig") or {}
    authority = _content(given, "ca")
    insecure = bool(given.get("insecure"))
    if insecure and authority:
        raise ValueError("specifying a root certificates file with the insecure flag is not allowed")
    context = ssl.create_default_context(cadata=authority or None)
    if insecure or (config.get("enableHTTPS") and not authority):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _content(given, "cert"), _content(given, "key")
    if bool(certificate) != bool(key):
        raise ValueError("tlsConfig needs both a certificate and a key, or none: give certFile and keyFile")
    if certificate:
        load_pair(context, certificate, key)
    return context


def _content(given: Obj, name: str) -> str:
    """Data goes before files."""
    data = given.get(f"{name}Data")
    if data:
        return base64.b64decode(data).decode()
    path = given.get(f"{name}File")
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ValueError(f"open {path}: {error.strerror}") from None
