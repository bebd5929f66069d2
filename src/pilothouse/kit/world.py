"""Time and chance, the two things a component may not take from Python directly.

Every component receives a `World`. A real one reads the machine's clock and entropy; a simulated one runs
on a `VirtualLoop` (see `kit.virtual_loop`), whose time jumps to the next timer as soon as nothing is left
to do, with chance drawn from one seed: the same seed gives the same cluster, event for event.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

T = TypeVar("T")

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Upstream's alphabet for generated names: no vowels, no digits that look like letters
(k8s.io/apimachinery/pkg/util/rand)."""


class Clock(Protocol):
    """Where a component learns the time. All values are seconds."""

    def now(self) -> float:
        """Wall-clock time, seconds since 1970 (UTC)."""

    def monotonic(self) -> float:
        """Time that never goes back; only differences mean something."""

    async def sleep(self, delay_s: float) -> None:
        """Wait; in virtual time this takes no time at all."""


class RealClock:
    """The machine's clock. It is asked forty times for each pod that is scheduled: nothing stands between."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class LoopClock:
    """The running event loop's clock, with the wall clock starting at `epoch_s`; virtual on a VirtualLoop."""

    def __init__(self, epoch_s: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self._epoch_s = epoch_s

    def now(self) -> float:
        return self._epoch_s + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


@dataclass(slots=True)
class World:
    """Time and chance for one cluster. Chance serves names, UIDs and jitter; keys and secrets are made elsewhere."""

    clock: Clock = field(default_factory=RealClock)
    random: random.Random = field(default_factory=random.Random)

    def now(self) -> float:
        return self.clock.now()

    def timestamp(self) -> str:
        """`metav1.Time` of now: RFC 3339, whole seconds, UTC."""
        return timestamp(self.clock.now())

    def micro_timestamp(self) -> str:
        """`metav1.MicroTime` of now: RFC 3339 with six digits."""
        return micro_timestamp(self.clock.now())

    def uid(self) -> str:
        """A random (version 4) UUID as upstream's `metadata.uid`."""
        bits = self.random.getrandbits(128)
        text = f"{bits & _UUID_KEPT | _UUID_VERSION_4:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        """A generated-name suffix in upstream's alphabet."""
        return "".join(self.random.choices(SUFFIX_ALPHABET, k=length))

    async def within(self, limit_s: float, what: Awaitable[T]) -> T:
        """The result of `what`; TimeoutError after `limit_s` seconds of this world's time."""
        # Not asyncio.wait_for: when `what` ends while the task is being cancelled, Python 3.11's loses the
        # cancellation (https://github.com/python/cpython/issues/86296), and a loop around it never stops.
        async with asyncio.timeout(limit_s):
            return await what


_UUID_KEPT = ~(0xF000 << 64 | 0xC000 << 48) & (1 << 128) - 1
_UUID_VERSION_4 = 0x4000 << 64 | 0x8000 << 48
"""RFC 9562: the version in bits 48 to 51, the variant in bits 64 and 65."""


def simulated_world(seed: int) -> World:
    """A world on the loop's clock, with all chance from one seed."""
    return World(LoopClock(), random.Random(seed))


_last: tuple[int, str] = (-1, "")


def timestamp(unix_s: float) -> str:
    """RFC 3339 with whole seconds, the form of `metav1.Time`. The last second is remembered: writes come in
    bursts."""
    global _last
    second = int(unix_s)
    if _last[0] != second:
        _last = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return _last[1]


def micro_timestamp(unix_s: float) -> str:
    """RFC 3339 with microseconds, the form of `metav1.MicroTime`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; ValueError if it is none."""
    return datetime.fromisoformat(text).timestamp()
