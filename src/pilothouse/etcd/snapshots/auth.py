"""Users and roles in a snapshot: the store's record of them as etcd's auth buckets, and back."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.snapshots.database import AuthRows


def auth_rows(records: Mapping[str, bytes]) -> AuthRows:
    return {}


def auth_records(rows: AuthRows) -> dict[str, bytes]:
    return {}
