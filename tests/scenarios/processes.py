"""Starting `pilothouse` commands as processes of their own, and looking at what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PILOTHOUSE = (sys.executable, "-m", "pilothouse")


def call(*arguments: str, home: Path, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    environment = {**os.environ, "XDG_DATA_HOME": str(home)}
    return subprocess.run(
        [*PILOTHOUSE, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
        check=False,
    )


@contextmanager
def running(*arguments: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that serves; its stderr goes to `log`. It is ended at the block's end, if it has not."""
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*PILOTHOUSE, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def ready_line(process: subprocess.Popen[str], log: Path) -> str:
    """The line that says that a server is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Ready in "), line + log.read_text()
    return line


def eventually(what: Callable[[], bool], limit_s: float = 20) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
