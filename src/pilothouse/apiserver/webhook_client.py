"""Asking a webhook: HTTPS to the URL or the service that a configuration names
(k8s.io/apiserver/pkg/util/webhook client.go, serviceresolver.go)."""

from __future__ import annotations

import base64
import ssl
from typing import NamedTuple

import aiohttp

from pilothouse.api.resources import ENDPOINTS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister

_PORT = 443
_ANSWER_BYTES_MAX = 10 << 20


class WebhookError(Exception):
    """The webhook could not be asked, or did not answer with 200."""


class _Target(NamedTuple):
    """Where to connect, and by which name the certificate must know the server."""

    url: str
    server_name: str | None


class WebhookClient:
    """One per server; `lister` finds what is behind a service."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister
        self._session: aiohttp.ClientSession | None = None

    async def post(self, config: Obj, body: bytes, timeout_s: float) -> bytes:
        """The answer of the webhook that a clientConfig names. Raises WebhookError."""
        target = self._target(config)
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                target.url,
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json, */*"},
                ssl=_tls(config.get("caBundle") or ""),
                server_hostname=target.server_name,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                answer = await response.content.read(_ANSWER_BYTES_MAX)
        except TimeoutError:
            raise WebhookError(f'Post "{target.url}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError) as error:
            raise WebhookError(f'Post "{target.url}": {error}') from None
        if response.status != 200:
            raise WebhookError(f"the server responded with the status code {response.status}")
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _target(self, config: Obj) -> _Target:
        if config.get("url"):
            return _Target(config["url"], None)
        service = config["service"]
        namespace, name, port = service["namespace"], service["name"], service.get("port") or _PORT
        server_name = f"{name}.{namespace}.svc"
        host, target_port = self._address(namespace, name, port)
        path = (service.get("path") or "").removeprefix("/")
        return _Target(f"https://{host}:{target_port}/{path}", server_name)

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


def _tls(ca_bundle: str) -> ssl.SSLContext:
    """The system's authorities, or the bundle's alone."""
    if not ca_bundle:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=base64.b64decode(ca_bundle).decode())
