"""Where a cluster keeps its things, and how another process finds it.

DATA_DIR/pilothouse.pid   the running process, which holds a lock on the file: a number that a kill -9 left
                          behind, or that another program has by now, is never taken for a cluster
DATA_DIR/pilothouse.log   of one that runs in the background; .log.1 is the run before
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from pathlib import Path

PID_FILE = "pilothouse.pid"
LOG_FILE = "pilothouse.log"
_STOP_TIMEOUT_S = 30.0


def default_data_dir() -> Path:
    """$XDG_DATA_HOME/pilothouse."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "pilothouse"


class Claim:
    """A data directory that this process runs on, until `release` or its end, however it ends."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self._path = path

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def claim(directory: Path) -> Claim | None:
    """Take a directory, which is made if it is missing (0700); None when another process has it. OSError when it
    cannot be made or used. On a full disk the number is missing, the lock holds all the same."""
    make_directory(directory)
    path = directory / PID_FILE
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if not _lock(handle):
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    try:
        os.write(handle, f"{os.getpid()}\n".encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    return Claim(handle, path)


def make_directory(directory: Path) -> None:
    """Make a data directory that is missing, for its owner alone."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_pid(directory: Path) -> int | None:
    """The process that runs on a data directory; None when there is none."""
    try:
        handle = os.open(directory / PID_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if _lock(handle):
            return None
        text = os.read(handle, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else _lock_holder(os.fstat(handle).st_ino)
    finally:
        os.close(handle)


def _lock_holder(inode: int) -> int | None:
    """Who holds a lock on a file, as Linux tells: for a number that a full disk did not take."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for fields in map(str.split, lines):
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None


def stop(pid: int) -> bool:
    """Ask the process to end and wait for it; False when it has not after half a minute."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, IndexError):
        return not Path("/proc/self").exists()
