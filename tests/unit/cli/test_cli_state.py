"""Who runs on a data directory: a lock says it, not a number in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.cli import state

_HOLDER = """
import sys, time
from pathlib import Path
from pilothouse.cli import state
claim = state.claim(Path(sys.argv[1]))
print("claimed" if claim else "taken", flush=True)
time.sleep(60)
"""


def _holder(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    return process


def test_a_running_process_is_found_and_keeps_others_out(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    try:
        assert state.read_pid(tmp_path) == process.pid
        assert state.claim(tmp_path) is None
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_process_left_behind_is_stale_even_if_its_number_lives_on(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.read_pid(tmp_path) is None
    (tmp_path / state.PID_FILE).write_text(f"{os.getpid()}\n")
    assert state.read_pid(tmp_path) is None
    claim = state.claim(tmp_path)
    assert claim is not None
    claim.release()
    assert not (tmp_path / state.PID_FILE).exists()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_a_process_is_found_where_a_full_disk_took_no_number(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    try:
        (tmp_path / state.PID_FILE).write_text("")
        assert state.read_pid(tmp_path) == process.pid
    finally:
        process.kill()
        process.wait()


def test_stop_waits_for_the_end(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    assert state.stop(process.pid)
    assert process.wait(timeout=5) == -signal.SIGTERM


def test_a_directory_is_the_owners_alone(tmp_path: Path) -> None:
    claim = state.claim(tmp_path / "a" / "b")
    assert claim is not None
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    claim.release()
