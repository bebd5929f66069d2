"""The guard at the door: is the caller allowed what the request needs. With authentication disabled all are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pilothouse.etcd.contract import Backend
from pilothouse.etcd.server.auth.accounts import Access, Accounts
from pilothouse.etcd.server.auth.needs import (
    Keys,
    LeaseKeys,
    Member,
    Need,
    Oneself,
    Somebody,
    needs_of,
)
from pilothouse.etcd.server.auth.ranges import KeyRange
from pilothouse.etcd.server.auth.store import AuthStore
from pilothouse.etcd.server.auth.tokens import Identity
from pilothouse.etcd.wire.errors import Refused


class _Caller(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def common_name(self) -> str: ...


class AuthGuard:
    """Every method raises Refused, in etcd's words, and else returns."""

    def __init__(self, store: AuthStore, backend: Backend) -> None:
        self._store = store
        self._backend = backend

    async def check(self, call: _Caller, request: Any) -> None:
        """A request, or one message of a stream of requests."""
        if self._store.accounts.enabled:
            await self._check(needs_of(call.method, request), call)

    async def _check(self, needs: Iterable[Need], call: _Caller) -> None:
        identity: Identity | None = None
        asked = False
        for need in needs:
            if not asked:
                identity, asked = self._store.identity(call.metadata, call.common_name), True
            await self._need(need, identity)

    async def _need(self, need: Need, identity: Identity | None) -> None:
        accounts = self._store.accounts
        if isinstance(need, Keys):
            require_keys(accounts, identity, need.access, need.keys)
        elif isinstance(need, LeaseKeys):
            await self._lease_keys(need, identity)
        elif isinstance(need, Somebody):
            _somebody(identity)
        elif not _own(need, identity, accounts):
            require_root(accounts, identity)

    async def _lease_keys(self, need: LeaseKeys, identity: Identity | None) -> None:
        accounts = self._store.accounts
        if identity is not None and accounts.is_root(identity.name):
            return
        for lease in [need.lease] if need.lease else await self._backend.leases():
            for key in (await self._backend.lease_status(lease)).keys:
                require_keys(self._store.accounts, identity, need.access, KeyRange(key))


def require_keys(accounts: Accounts, identity: Identity | None, access: Access, keys: KeyRange) -> None:
    """Refused unless the user may do this with all of these keys."""
    known = _somebody(identity)
    if known.revision < accounts.revision:
        raise Refused("etcdserver: revision of auth store is old")
    if not accounts.may(known.name, access, keys):
        raise Refused("etcdserver: permission denied")


def require_root(accounts: Accounts, identity: Identity | None) -> None:
    """Refused unless the user has the role root."""
    known = _somebody(identity)
    if known.name not in accounts.users:
        raise Refused("etcdserver: user name not found")
    if not accounts.is_root(known.name):
        raise Refused("etcdserver: permission denied")


def _somebody(identity: Identity | None) -> Identity:
    if identity is None or not identity.name:
        raise Refused("etcdserver: user name is empty")
    return identity


def _own(need: Need, identity: Identity | None, accounts: Accounts) -> bool:
    """Whether it is about the caller himself."""
    if identity is None:
        return False
    if isinstance(need, Oneself):
        return need.user == identity.name
    user = accounts.users.get(identity.name)
    return isinstance(need, Member) and user is not None and need.role in user.roles
