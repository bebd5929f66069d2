"""Users and roles in a snapshot: the store's record of them as etcd's auth buckets, and back.

auth       authEnabled ▶ 0 or 1; authRevision ▶ 8 bytes big endian
authUsers  name ▶ authpb.User: name = 1, password = 2 (bcrypt), roles = 3, options = 4 {no_password = 1}
authRoles  name ▶ authpb.Role: name = 1, keyPermission = 2 {permType = 1, key = 2, range_end = 3}
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from pilothouse.etcd.server.auth.accounts import Access, Accounts, Permission, User, decoded
from pilothouse.etcd.server.auth.ranges import KeyRange
from pilothouse.etcd.snapshots.database import AuthRows
from pilothouse.etcd.snapshots.errors import Damaged
from pilothouse.etcd.snapshots.fields import bytes_field, fields_of, number_field

RECORD = "auth"
_REVISION = struct.Struct(">Q")


def auth_rows(records: Mapping[str, bytes]) -> AuthRows:
    """Of a store's records; no rows when it never had users."""
    if not records.get(RECORD):
        return {}
    accounts = decoded(records[RECORD])
    return {
        b"auth": [
            (b"authEnabled", b"\1" if accounts.enabled else b"\0"),
            (b"authRevision", _REVISION.pack(accounts.revision)),
        ],
        b"authUsers": [(name.encode(), _user(name, user)) for name, user in accounts.users.items()],
        b"authRoles": [(name.encode(), _role(name, granted)) for name, granted in accounts.roles.items()],
    }


def auth_records(rows: AuthRows) -> dict[str, bytes]:
    """The record for a store that is restored; none when the snapshot has no users."""
    auth = dict(rows.get(b"auth", ()))
    try:
        users = {name.decode(): _read_user(data) for name, data in rows.get(b"authUsers", ())}
        roles = {name.decode(): _read_role(data) for name, data in rows.get(b"authRoles", ())}
    except ValueError as error:
        raise Damaged(f"its users cannot be read: {error}") from error
    enabled = auth.get(b"authEnabled") == b"\1"
    if not (users or roles or enabled):
        return {}
    revision = auth.get(b"authRevision", b"")
    if len(revision) != _REVISION.size:
        raise Damaged("the revision of its users is damaged")
    return {RECORD: Accounts(enabled, _REVISION.unpack(revision)[0], users, roles).encoded()}


def _user(name: str, user: User) -> bytes:
    options = bytes_field(4, number_field(1, 1)) if user.no_password else b""
    roles = b"".join(bytes_field(3, role.encode(), empty=True) for role in user.roles)
    return bytes_field(1, name.encode()) + bytes_field(2, user.password) + roles + options


def _role(name: str, granted: Iterable[Permission]) -> bytes:
    return bytes_field(1, name.encode()) + b"".join(
        bytes_field(
            2,
            number_field(1, p.access) + bytes_field(2, p.keys.key) + bytes_field(3, p.keys.range_end),
            empty=True,
        )
        for p in granted
    )


def _read_user(data: bytes) -> User:
    fields = list(fields_of(data))
    options = dict(fields_of(_one(fields, 4, b"")))
    roles = tuple(bytes(value).decode() for field, value in fields if field == 3 and isinstance(value, bytes))
    return User(_one(fields, 2, b""), roles, options.get(1) == 1)


def _read_role(data: bytes) -> tuple[Permission, ...]:
    granted = []
    for field, value in fields_of(data):
        if field == 2 and isinstance(value, bytes):
            fields = list(fields_of(value))
            keys = KeyRange(_one(fields, 2, b""), _one(fields, 3, b""))
            granted.append(Permission(Access(_one(fields, 1, 0)), keys))
    return tuple(granted)


def _one(fields: list[tuple[int, int | bytes]], wanted: int, default: Any) -> Any:
    for field, value in fields:
        if field == wanted and isinstance(value, type(default)):
            return value
    return default
