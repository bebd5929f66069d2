"""Where the members are, and which of them to ask next. Pure: the time is handed in.

A good endpoint is kept. One that failed waits, twice as long after each failure, and is asked before its time only
when all others wait too:

    good ──failed──▶ waiting (0.25 s, 0.5 s, 1 s) ──time over──▶ asked again ──answered──▶ good
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from pilothouse.etcd.contract import StoreError

_FIRST_WAIT_S = 0.25
_WAIT_MAX_S = 1.0


class Target(NamedTuple):
    """`name` in gRPC's naming (https://grpc.github.io/grpc/core/md_doc_naming.html)."""

    name: str
    secure: bool


def target_of(url: str, *, secure: bool = False) -> Target:
    """The target of http, https, unix and unixs URLs; `secure` is for a bare host:port, as etcdctl takes it."""
    if "://" not in url:
        url = f"{'https' if secure else 'http'}://{url}"
    parts = urlsplit(url)
    if parts.scheme in ("unix", "unixs"):
        return Target(f"unix:{parts.netloc}{parts.path}", parts.scheme == "unixs")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise StoreError(
            f"{url} is no URL of an etcd server: write http://HOST:PORT, https://HOST:PORT or unix://PATH"
        )
    return Target(parts.netloc.rpartition("@")[2], parts.scheme == "https")


@dataclass(slots=True)
class _Health:
    failures: int = 0
    waits_until_s: float = 0.0


class Endpoints:
    """`now_s` is monotonic time."""

    def __init__(self, urls: list[str]) -> None:
        if not urls:
            raise StoreError("no etcd server is named: --etcd-servers http://HOST:PORT[,…]")
        self._health = {url: _Health() for url in urls}
        self.current = urls[0]

    @property
    def urls(self) -> list[str]:
        return list(self._health)

    def replace(self, urls: list[str]) -> None:
        """The members changed; what is known of those that stay is kept."""
        if not urls:
            raise StoreError("a cluster without members cannot be asked: name at least one")
        self._health = {url: self._health.get(url, _Health()) for url in urls}
        if self.current not in self._health:
            self.current = urls[0]

    def next(self, now_s: float) -> str:
        """The current one while it is good, else the next that does not wait, else the one that waits least."""
        urls = self.urls
        at = urls.index(self.current)
        for url in urls[at:] + urls[:at]:
            if self._health[url].waits_until_s <= now_s:
                self.current = url
                return url
        return min(urls, key=lambda url: self._health[url].waits_until_s)

    def wait_s(self, now_s: float) -> float:
        """How long until one may be asked; 0 if one may be now."""
        return max(0.0, min(health.waits_until_s for health in self._health.values()) - now_s)

    def doubtful(self, url: str) -> bool:
        """It failed, and has not answered since."""
        health = self._health.get(url)
        return health is not None and health.failures > 0

    def answered(self, url: str) -> None:
        health = self._health.get(url)
        if health is not None and health.failures:
            health.failures, health.waits_until_s = 0, 0.0

    def failed(self, url: str, now_s: float) -> None:
        """It is left; failures that come in together count once."""
        health = self._health.get(url)
        if health is None or health.waits_until_s > now_s:
            return
        health.waits_until_s = now_s + min(_FIRST_WAIT_S * 2.0**health.failures, _WAIT_MAX_S)
        health.failures += 1
