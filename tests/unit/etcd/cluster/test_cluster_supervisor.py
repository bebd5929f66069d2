"""A process that is kept running: shell scripts stand for etcd."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pilothouse.etcd.cluster.log_file import LogFile, last_words
from pilothouse.etcd.cluster.supervisor import MemberProcess, birth, end_left_over, left_over
from pilothouse.kit.world import World

FOREVER = ("/bin/sh", "-c", "while :; do sleep 1; done")


def _process(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


async def _eventually(holds: Callable[[], bool], limit_s: float = 15.0) -> None:
    until_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.01)


async def test_a_process_that_is_killed_comes_back(tmp_path: Path) -> None:
    member = MemberProcess(World(), "m1", FOREVER, tmp_path)
    member.start()
    await _eventually(lambda: member.pid is not None)
    first = member.pid
    member.signal(signal.SIGKILL)
    await _eventually(lambda: member.pid not in (None, first))
    assert member.ends == 1
    await member.stop()
    assert member.pid is None
    assert not (tmp_path / "pid").exists()


async def test_a_paused_process_is_stopped_gently(tmp_path: Path) -> None:
    member = MemberProcess(World(), "m1", FOREVER, tmp_path)
    member.start()
    await _eventually(lambda: member.pid is not None and (tmp_path / "pid").exists())
    member.signal(signal.SIGSTOP)
    began_s = time.monotonic()
    await member.stop()
    assert time.monotonic() - began_s < 5, "it did not have to be killed"


async def test_why_a_process_does_not_start_is_told(tmp_path: Path) -> None:
    line = '{"level":"fatal","msg":"listen failed","error":"address already in use"}'
    member = MemberProcess(
        World(), "m1", ("/bin/sh", "-c", f"echo '{line}' >&2; echo bye >&2; exit 1"), tmp_path
    )
    member.start()
    await _eventually(lambda: member.ends >= 2)
    assert member.last_words == "listen failed: address already in use"
    await member.stop()
    assert (tmp_path / "log").read_text().count("bye") >= 2


async def test_a_member_whose_data_is_gone_is_not_started_again(tmp_path: Path) -> None:
    wal = tmp_path / "data" / "member" / "wal"
    wal.mkdir(parents=True)
    member = MemberProcess(World(), "m1", FOREVER, tmp_path)
    member.has_joined = True
    member.start()
    await _eventually(lambda: member.pid is not None)
    wal.rmdir()
    member.signal(signal.SIGKILL)
    await _eventually(lambda: member.pid is None)
    await asyncio.wait_for(asyncio.shield(member._task), 5)  # type: ignore[arg-type]
    assert member.ends == 0
    await member.stop()


async def test_a_process_left_over_by_an_earlier_start_is_ended(tmp_path: Path) -> None:
    old = _process(*FOREVER)
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{old.pid} {birth(old.pid)}\n")
    assert left_over(pid_file) == old.pid
    await end_left_over(pid_file, World())
    assert old.wait(timeout=5) == -signal.SIGTERM


def test_somebody_elses_process_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()} 12345\n")
    assert left_over(tmp_path / "pid") is None, "the number was used anew"
    assert left_over(tmp_path / "none") is None


async def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from pilothouse.etcd.cluster.supervisor import MemberProcess\n"
        "from pilothouse.kit.world import World\n"
        "async def main():\n"
        f"    MemberProcess(World(), 'm1', {FOREVER!r}, Path({str(tmp_path)!r})).start()\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = _process(sys.executable, "-c", program)
    pid_file = tmp_path / "pid"
    await _eventually(lambda: left_over(pid_file) is not None)
    parent.kill()
    parent.wait()
    await _eventually(lambda: left_over(pid_file) is None)


def test_the_log_is_bounded_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        log = LogFile(path, size_max=1000)
        for number in range(40):
            log.write(b"%090d\n" % number)
        log.close()
    assert path.stat().st_size <= 1100
    assert (tmp_path / "log.1").stat().st_size <= 1200
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().endswith("39\n")


def test_the_last_words_are_an_error_if_there_was_one() -> None:
    assert last_words("") == "it said nothing"
    assert last_words("plain\n") == "plain"
    assert last_words('{"level":"error","msg":"a"}\n{"level":"info","msg":"b"}\n') == "a"
    assert last_words('{"level":"info","msg":"b"}\n[1]\n') == "[1]"
