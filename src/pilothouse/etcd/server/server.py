"""etcd as a whole: the service, the ports it is reached by, and compaction by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pilothouse.etcd.contract import Backend, Maintenance
from pilothouse.etcd.server.compaction import AutoCompaction
from pilothouse.etcd.server.front import Front, Protocol
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.server.service import EtcdService, tls_context
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World


class Address(NamedTuple):
    """Where to listen: a host and port, or a socket's path."""

    url: str
    tls: bool
    host: str = ""
    port: int = 0
    path: Path | None = None


def parse_url(url: str) -> Address:
    """Of a --listen-…-urls flag: http://HOST:PORT, https://…, unix://PATH, unixs://PATH. ValueError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    if parts.scheme in ("unix", "unixs"):
        return Address(url, parts.scheme == "unixs", path=Path(parts.netloc + parts.path))
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{url}: the scheme must be http, https, unix or unixs")
    if not parts.hostname or port is None or parts.path not in ("", "/"):
        raise ValueError(f"{url}: wants a host and a port and no path, such as http://127.0.0.1:2379")
    return Address(url, parts.scheme == "https", parts.hostname, port)


class EtcdServer:
    """The v3 API over `backend`, on the URLs of `options`. `urls` are those it can be reached by: port 0 is a real
    one there."""

    def __init__(
        self, backend: Backend, maintenance: Maintenance, world: World, options: ServerOptions
    ) -> None:
        self._options = options
        self._service = EtcdService(backend, maintenance, world, options)
        self._front = Front(self._socket)
        self._compaction = AutoCompaction(backend, world, options)
        self._tasks = Tasks("etcd")
        self.urls: list[str] = []

    @property
    def service(self) -> EtcdService:
        return self._service

    async def start(self) -> None:
        """Ready when it returns. OSError when an address is taken, ValueError for URLs and files that are none."""
        addresses = [parse_url(url) for url in self._options.listen_client_urls]
        metrics = [parse_url(url) for url in self._options.listen_metrics_urls]
        for address in (*addresses, *metrics):
            if address.tls and self._options.tls is None:
                raise ValueError(f"{address.url} needs --cert-file and --key-file")
        await self._service.start()
        for address in addresses:
            self.urls.append(await self._listen(address))
        if self._options.socket is not None:
            await self._front.listen_unix(self._options.socket, tls=False)
        if not self._options.advertise_client_urls:
            self._options.advertise_client_urls = tuple(self.urls)
        for address in metrics:
            await self._listen_for_metrics(address)
        if self._options.compaction_retention:
            self._tasks.start("compaction", self._compaction.run())

    async def _listen(self, address: Address) -> str:
        try:
            if address.path is not None:
                await self._front.listen_unix(address.path, tls=address.tls)
                return address.url
            port = await self._front.listen(address.host, address.port, tls=address.tls)
        except OSError as error:
            raise _taken(address, error) from error
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{'https' if address.tls else 'http'}://{host}:{port}"

    async def _listen_for_metrics(self, address: Address) -> None:
        tls = tls_context(self._options.tls) if address.tls and self._options.tls is not None else None
        try:
            await self._service.http.listen_for_metrics(address.host, address.port, tls)
        except OSError as error:
            raise _taken(address, error) from error

    async def _socket(self, protocol: Protocol, tls: bool) -> str:
        return self._service.socket(protocol, tls)

    async def stop(self) -> None:
        """Calls in progress have half a second."""
        await self._tasks.stop()
        self._front.stop_listening()
        await self._service.stop()
        await self._front.stop()


def _taken(address: Address, error: OSError) -> OSError:
    return OSError(f"cannot listen on {address.url}: {error.strerror or error}; choose other URLs")
