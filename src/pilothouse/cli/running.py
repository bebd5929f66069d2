"""What every command that serves has in common: the loop, signals, and errors in one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from pilothouse.cli.flags import Failure, UsageError, Values

_IMPORTED = time.monotonic()
_INTERRUPTED = 130


class Stop:
    """Set by SIGINT, SIGTERM or SIGHUP; the second signal ends the process at once. What was acknowledged is on the
    disk either way."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if self._event.is_set():
            os._exit(_INTERRUPTED if number == signal.SIGINT else 128 + number)
        self._event.set()

    async def wait(self) -> None:
        """Until a signal comes."""
        await self._event.wait()

    async def or_crash(self, work: Coroutine[Any, Any, None]) -> None:
        """Until a signal comes, or `work` ends: raises what it raised."""
        tasks = [asyncio.ensure_future(self._event.wait()), asyncio.ensure_future(work)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def serve(values: Values, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on a loop of its own, with logs on stderr. Failure and UsageError for what people can mend."""
    import uvloop

    from pilothouse.api.errors import ApiError
    from pilothouse.etcd.contract import StoreError
    from pilothouse.kit.logging import configure

    configure(values["v"])
    _allow_many_files()
    try:
        uvloop.run(work)
    except (StoreError, ApiError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(os_error(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None


_FILES_MAX = 1 << 20


def _allow_many_files() -> None:
    """A connection is a file, and the default limit of 1,024 is soon used up by watches. Go programs raise theirs to
    what they may, too (package os, init)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def os_error(error: OSError) -> str:
    """One line for a failure of the system: what it was about, and why."""
    if error.errno is None or error.strerror is None:
        return str(error)
    about = f" {error.filename}" if error.filename else ""
    return f"cannot use{about}: {error.strerror}"


def started() -> float:
    """When this process began, on the monotonic clock: importing counts too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return _IMPORTED
    return time.monotonic() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))


def say(line: str) -> None:
    """A line on stdout, now."""
    print(line)
    sys.stdout.flush()


def warn(lines: list[str]) -> None:
    for line in lines:
        print(f"Warning: {line}", file=sys.stderr)
