"""Front proxies: whoever has a certificate of the front proxies' CA says in headers who asks
(k8s.io/apiserver/pkg/authentication/request/headerrequest,
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from cryptography import x509

from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import World


class RequestHeaders(NamedTuple):
    """Who may be a front proxy ((): every client of the CA), and in which headers it says what."""

    allowed_names: tuple[str, ...] = ("front-proxy-client",)
    username: tuple[str, ...] = ("X-Remote-User",)
    uid: tuple[str, ...] = ()
    group: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class RequestHeader:
    """Headers have lower-case names."""

    def __init__(self, world: World, authorities: list[x509.Certificate], names: RequestHeaders) -> None:
        self._certificates = ClientCertificates(world, authorities)
        self._allowed = frozenset(names.allowed_names)
        self._username = _lower(names.username)
        self._uid = _lower(names.uid)
        self._group = _lower(names.group)
        self._extra = _lower(names.extra_prefixes)

    def authenticate(self, der: bytes, headers: Mapping[str, str]) -> UserInfo | None:
        name = self._first(headers, self._username)
        if not name:
            return None
        proxy = self._certificates.authenticate(der)
        if proxy is None or (self._allowed and proxy.name not in self._allowed):
            return None
        groups = tuple(value for key in self._group for value in _values(headers, key) if value)
        return UserInfo(name, self._first(headers, self._uid), groups, self._extras(headers))

    def _first(self, headers: Mapping[str, str], names: tuple[str, ...]) -> str:
        for key in names:
            for value in _values(headers, key):
                if value:
                    return value
        return ""

    def _extras(self, headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for header in headers:
            for prefix in self._extra:
                if header.startswith(prefix):
                    key = unquote(header.removeprefix(prefix)).lower()
                    found[key] = (*found.get(key, ()), *_values(headers, header))
        return found


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


def _values(headers: Mapping[str, str], key: str) -> Iterator[str]:
    """A repeated header's values: the transport joins X-Remote-* by line breaks, others by commas."""
    value = headers.get(key)
    if value is None:
        return
    yield from value.split("\n" if key.startswith("x-remote-") else ", ")
