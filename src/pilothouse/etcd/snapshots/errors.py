"""
StoreError
└── Damaged              what was read cannot be trusted
    ├── BadDatabase      no bbolt database, or a damaged one
    ├── BadRow           bytes that are no row of etcd's
    └── DamagedSnapshot  a whole file; names it, and says what to do
"""

from __future__ import annotations

from pilothouse.etcd.contract import StoreError


class Damaged(StoreError):
    """What was read cannot be trusted; the message says why."""


class BadDatabase(Damaged):
    """The file is no bbolt database, or a damaged one."""


class BadRow(Damaged):
    """Bytes that are no row of etcd's."""


class DamagedSnapshot(Damaged):
    """What stands in a file cannot be trusted; the message says why, and what to do."""
