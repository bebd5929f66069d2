"""A member's log: bounded on the disk, its last lines at hand for an error.

etcd writes JSON, one object a line (zap). A line in a person's error is made of its message and its error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

SIZE_MAX = 4 << 20
_TAIL_BYTES = 16 << 10
_BAD = ("error", "dpanic", "panic", "fatal")


class LogFile:
    """`log`, and `log.1` before it. Bytes go in as they come, whole lines or not."""

    def __init__(self, path: Path, size_max: int = SIZE_MAX) -> None:
        self._path = path
        self._size_max = size_max
        self._tail = b""
        self._handle = self._open()
        self._size = os.fstat(self._handle).st_size

    def _open(self) -> int:
        return os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """A full disk costs the log, not the member: the tail in memory is kept."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        if self._size > self._size_max:
            self._rotate()
        try:
            self._size += os.write(self._handle, data)
        except OSError as error:
            self._tail += f"\n(cannot write {self._path}: {error.strerror})\n".encode()

    def _rotate(self) -> None:
        os.close(self._handle)
        os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        self._handle = self._open()
        self._size = 0

    def begin(self) -> None:
        """A new process writes: what the last one said is no reason any more."""
        self._tail = b""

    @property
    def last_words(self) -> str:
        """Why the member ended, as far as it said."""
        return last_words(self._tail.decode(errors="replace"))

    def says(self, text: str) -> bool:
        return text.encode() in self._tail

    def close(self) -> None:
        os.close(self._handle)


def last_words(text: str) -> str:
    """The last line that is an error; else the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    told = [_told(line) for line in lines]
    errors = [words for bad, words in told if bad]
    chosen = errors or [words for _, words in told]
    return chosen[-1] if chosen else "it said nothing"


def _told(line: str) -> tuple[bool, str]:
    try:
        record = json.loads(line)
    except ValueError:
        return False, line.strip()
    if not isinstance(record, dict):
        return False, line.strip()
    parts = [str(record[key]) for key in ("msg", "error") if record.get(key)]
    return record.get("level") in _BAD, ": ".join(parts) or line.strip()
