"""Users and roles as one value that is never changed: every change gives the next one, or is refused with etcd's words
(server/auth/store.go of etcd 3.6).

The revision counts the changes. A token may be bound to the revision at which it was given (`jwt`), and a request that
began before a change is not finished after it with the old rights.

    root, the user   must exist, and have the role root, before authentication is enabled; cannot be deleted then
    root, the role   need not exist to be granted; may read and write everything, and manage
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.auth.ranges import OPEN_END, Coverage, KeyRange
from pilothouse.etcd.wire.errors import Refused

ROOT = "root"
_FORMAT = 1


class Access(IntEnum):
    """etcd's numbers (authpb.Permission.Type)."""

    READ = 0
    WRITE = 1
    READWRITE = 2


class Permission(NamedTuple):
    access: Access
    keys: KeyRange


_EVERYTHING = Permission(Access.READWRITE, KeyRange(b"", OPEN_END))


@dataclass(frozen=True)
class User:
    """`password` is a bcrypt hash; b"" where there is none: such a user comes with a certificate only."""

    password: bytes = field(default=b"", repr=False)
    roles: tuple[str, ...] = ()
    no_password: bool = False


@dataclass(frozen=True)
class Accounts:
    """See the module. Every method that changes something returns the next value."""

    enabled: bool = False
    revision: int = 1
    users: Mapping[str, User] = field(default_factory=dict)
    roles: Mapping[str, tuple[Permission, ...]] = field(default_factory=dict)

    # -- the switch -------------------------------------------------------------------------------------

    def enable(self) -> Accounts:
        if self.enabled:
            return self
        if ROOT not in self.users:
            raise _refused("root user does not exist")
        if ROOT not in self.users[ROOT].roles:
            raise _refused("root user does not have root role")
        return replace(self, enabled=True)

    def disable(self) -> Accounts:
        return self._next(enabled=False) if self.enabled else self

    # -- users ------------------------------------------------------------------------------------------

    def user(self, name: str) -> User:
        if name not in self.users:
            raise _refused("user name not found")
        return self.users[name]

    def add_user(self, name: str, user: User) -> Accounts:
        if not name:
            raise _refused("user name is empty")
        if name in self.users:
            raise _refused("user name already exists")
        return self._with_user(name, user)

    def delete_user(self, name: str) -> Accounts:
        if self.enabled and name == ROOT:
            raise _refused("invalid auth management")
        self.user(name)
        return self._next(users={n: u for n, u in self.users.items() if n != name})

    def change_password(self, name: str, password: bytes) -> Accounts:
        user = self.user(name)
        return self._with_user(name, user if user.no_password else replace(user, password=password))

    def grant_role(self, name: str, role: str) -> Accounts:
        user = self.user(name)
        if role != ROOT:
            self.role(role)
        if role in user.roles:
            return self
        return self._with_user(name, replace(user, roles=tuple(sorted((*user.roles, role)))))

    def revoke_role(self, name: str, role: str) -> Accounts:
        if self.enabled and name == role == ROOT:
            raise _refused("invalid auth management")
        user = self.user(name)
        if role not in user.roles:
            raise _refused("role is not granted to the user")
        return self._with_user(name, _without_role(user, role))

    # -- roles ------------------------------------------------------------------------------------------

    def role(self, name: str) -> tuple[Permission, ...]:
        if name not in self.roles:
            raise _refused("role name not found")
        return (_EVERYTHING,) if name == ROOT else self.roles[name]

    def add_role(self, name: str) -> Accounts:
        if not name:
            raise _refused("role name is empty")
        if name in self.roles:
            raise _refused("role name already exists")
        return self._with_role(name, ())

    def delete_role(self, name: str) -> Accounts:
        if self.enabled and name == ROOT:
            raise _refused("invalid auth management")
        self.role(name)
        return self._next(
            roles={n: p for n, p in self.roles.items() if n != name},
            users={n: _without_role(u, name) for n, u in self.users.items()},
        )

    def grant_permission(self, role: str, permission: Permission | None) -> Accounts:
        if permission is None:
            raise _refused("permission not given")
        if not permission.keys.valid():
            raise _refused("invalid auth management")
        self.role(role)
        others = [p for p in self.roles[role] if p.keys != permission.keys]
        return self._with_role(role, tuple(sorted((*others, permission), key=lambda p: p.keys)))

    def revoke_permission(self, role: str, keys: KeyRange) -> Accounts:
        self.role(role)
        kept = tuple(p for p in self.roles[role] if p.keys != keys)
        if len(kept) == len(self.roles[role]):
            raise _refused("permission is not granted to the role")
        return self._with_role(role, kept)

    # -- rights -----------------------------------------------------------------------------------------

    def is_root(self, name: str) -> bool:
        return name in self.users and ROOT in self.users[name].roles

    def may(self, name: str, access: Access, keys: KeyRange) -> bool:
        """Whether a user may read or write (one of the two) all of a range."""
        if name not in self.users:
            return False
        return self.is_root(name) or self._coverage(name, access).covers(keys)

    def _coverage(self, name: str, access: Access) -> Coverage:
        known = self._coverages.get((name, access))
        if known is None:
            granted = [p for role in self.users[name].roles for p in self.roles.get(role, ())]
            known = Coverage(p.keys for p in granted if p.access in (access, Access.READWRITE))
            self._coverages[name, access] = known
        return known

    @cached_property
    def _coverages(self) -> dict[tuple[str, Access], Coverage]:
        """Worked out once per user: a value does not change."""
        return {}

    # -- the next value ---------------------------------------------------------------------------------

    def _next(self, **changes: Any) -> Accounts:
        return replace(self, revision=self.revision + 1, **changes)

    def _with_user(self, name: str, user: User) -> Accounts:
        return self._next(users={**self.users, name: user})

    def _with_role(self, name: str, permissions: tuple[Permission, ...]) -> Accounts:
        return self._next(roles={**self.roles, name: permissions})

    # -- as a record ------------------------------------------------------------------------------------

    def encoded(self) -> bytes:
        users = {
            name: {"password": _text(u.password), "roles": u.roles, "noPassword": u.no_password}
            for name, u in self.users.items()
        }
        roles = {
            name: [[p.access.name, _text(p.keys.key), _text(p.keys.range_end)] for p in permissions]
            for name, permissions in self.roles.items()
        }
        content = {"format": _FORMAT, "enabled": self.enabled, "revision": self.revision}
        return json.dumps({**content, "users": users, "roles": roles}).encode()


def decoded(record: bytes) -> Accounts:
    """The accounts that `encoded` wrote; b"" is a store that never had any. StoreError for anything else."""
    if not record:
        return Accounts()
    try:
        content = json.loads(record)
        if content["format"] != _FORMAT:
            raise StoreError(f"the users are kept in format {content['format']}: upgrade Pilothouse")
        return Accounts(
            content["enabled"],
            content["revision"],
            {
                name: User(_bytes(u["password"]), tuple(u["roles"]), u["noPassword"])
                for name, u in content["users"].items()
            },
            {
                name: tuple(Permission(Access[a], KeyRange(_bytes(k), _bytes(e))) for a, k, e in permissions)
                for name, permissions in content["roles"].items()
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError("the record of users is damaged; bring back a copy of the data directory") from error


def _without_role(user: User, role: str) -> User:
    return replace(user, roles=tuple(r for r in user.roles if r != role))


def _refused(text: str) -> Refused:
    return Refused(f"etcdserver: {text}")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
