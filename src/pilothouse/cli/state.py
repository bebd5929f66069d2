"""Where a cluster keeps its things, and how another process finds it."""

from __future__ import annotations

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


def read_pid(directory: Path) -> int | None:
    """The process that runs on a data directory, if it is alive."""
    try:
        pid = int((directory / PID_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_alive(pid) else None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, IndexError):
        return False


def write_pid(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / PID_FILE).write_text(f"{os.getpid()}\n")


def remove_pid(directory: Path) -> None:
    path = directory / PID_FILE
    try:
        if int(path.read_text()) == os.getpid():
            path.unlink()
    except (FileNotFoundError, ValueError):
        return


def stop(pid: int) -> bool:
    """Ask a process to end and wait for it; False when it has not after half a minute."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.05)
    return False
