"""One etcd process that is kept running.

    stopped ──start──▶ running ──it ends──▶ waiting (0.2 s, 0.4 s, … 15 s) ──▶ running …
       ▲                  │                    │
       └──────stop────────┴────────────────────┘      given up: it was removed from its cluster, or wiped

No etcd outlives the process that started it: the kernel kills the child when its parent ends (Linux,
PR_SET_PDEATHSIG). Where there is no such thing, or in the moment before it is asked for, the next start finds the
process by its pid file and ends it; two processes on the same data would wait for each other's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pilothouse.etcd.cluster.log_file import LogFile
from pilothouse.kit.backoff import Backoff
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.2
_WAIT_MAX_S = 15.0
_HEALTHY_AFTER_S = 10.0
"""A process that ran so long starts the delays anew."""
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
_READ_BYTES = 1 << 16
_REMOVED = "has been permanently removed from the cluster"
"""What etcd says when its own removal reaches it (etcdserver/server.go)."""


class MemberProcess:
    """`start` it in the main thread: the kernel takes the thread that forked for the parent."""

    def __init__(self, world: World, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self.command = list(command)
        self.directory = directory
        self.ends = 0
        """How often the process ended, though nobody asked it to."""
        self.removed = False
        self.has_joined = False
        """It has data of its own, without which it must not start: under its old id it would have forgotten votes that
        it gave."""
        self._world = world
        self._pid_file = directory / "pid"
        self._log = LogFile(directory / "log")
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The running process; None between two."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def last_words(self) -> str:
        return self._log.last_words

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    @property
    def is_wiped(self) -> bool:
        return self.has_joined and not (self.directory / "data" / "member" / "wal").is_dir()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._keep_running(), name=f"etcd member {self.name}"
        )

    async def _keep_running(self) -> None:
        await end_left_over(self._pid_file, self._world)
        delays = self._delays()
        while not self._stopping:
            began_s = self._world.clock.monotonic()
            reason = await self._run_once()
            if self._stopping or self.removed:
                break
            if self.is_wiped:
                log.error("%s", why_wiped(self.name))
                break
            self.ends += 1
            if self._world.clock.monotonic() - began_s > _HEALTHY_AFTER_S:
                delays = self._delays()
            delay_s = delays.step(self._world.random)
            log.warning("etcd member %s ended (%s); starting it again in %.1f s", self.name, reason, delay_s)
            await self._world.clock.sleep(delay_s)

    @staticmethod
    def _delays() -> Backoff:
        return Backoff(_FIRST_WAIT_S, factor=2.0, jitter=0.1, steps=10, cap_s=_WAIT_MAX_S)

    async def _run_once(self) -> str:
        """One process from its start to its end; why it ended."""
        self._log.begin()
        try:
            process = self._spawn()
        except OSError as error:
            self._log.write(f"cannot start {self.command[0]}: {error.strerror}\n".encode())
            return self.last_words
        self._process = process
        self._pid_file.write_text(f"{process.pid} {birth(process.pid)}\n")
        await self._read(process)
        code = await asyncio.to_thread(process.wait)
        self._pid_file.unlink(missing_ok=True)
        self.removed = self._log.says(_REMOVED)
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}: {self.last_words}"

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        """What it says goes to the log, until its end."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stderr
        )
        try:
            while data := await reader.read(_READ_BYTES):
                self._log.write(data)
        finally:
            transport.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        """By subprocess, which needs no fork() of a process with many threads, gRPC's among them."""
        return subprocess.Popen(
            bound_to_us(self.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C is for us: we stop the members in our own time.
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> None:
        """End the process, gently first. A paused one is woken up for it."""
        self._stopping = True
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if self._task is not None:
            if self.pid is None:
                self._task.cancel()
            await self._ended(self._task)
        self._pid_file.unlink(missing_ok=True)
        self._log.close()

    async def _ended(self, task: asyncio.Task[None]) -> None:
        done, _ = await asyncio.wait((task,), timeout=_STOP_TIMEOUT_S)
        if not done:
            log.warning("etcd member %s does not end: killing it", self.name)
            self.signal(signal.SIGKILL)
            await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("etcd member %s was not looked after: %s", self.name, error)


_BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG, SIGKILL; then the parent may have ended before it was asked for."""


def bound_to_us(command: Sequence[str]) -> list[str]:
    """The command, such that it ends when we do. A small Python asks the kernel for it and becomes the command:
    code between fork and exec in our own process could wait for ever for a lock of another thread."""
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command]


def why_wiped(name: str) -> str:
    return (
        f"The data of {name} is gone, and it does not start without: replace it with pilothouse etcd member remove "
        f"{name} and pilothouse etcd member add"
    )


async def end_left_over(pid_file: Path, world: World) -> None:
    """End the process that an earlier start left behind, if it still runs and is still the same."""
    pid = left_over(pid_file)
    if pid is None:
        return
    log.warning("etcd process %d was left over by an earlier start: ending it", pid)
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)
        until_s = world.clock.monotonic() + patience_s
        while world.clock.monotonic() < until_s:
            if left_over(pid_file) is None:
                return
            await world.clock.sleep(_POLL_S)


def left_over(pid_file: Path) -> int | None:
    """The process of a pid file; None when it has ended, and its number is free or another's."""
    try:
        pid, _, born = pid_file.read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    if not pid.isdigit() or not born or birth(int(pid)) != born:
        return None
    return int(pid)


def birth(pid: int) -> str:
    """When a process began, in the kernel's ticks: with its number it is the process's name for good. "" when it has
    ended, or the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
