"""The store of one machine: MVCC in memory over a log in SQLite (or over none, for ephemeral clusters)."""

from __future__ import annotations

from pathlib import Path

DIRECTORY = "store"
"""Of a data directory: where the log is."""
FILE = "store.db"


def is_in(data_dir: Path) -> bool:
    """Whether a data directory has an embedded store."""
    return (data_dir / DIRECTORY / FILE).exists()
