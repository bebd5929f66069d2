"""Passwords as bcrypt hashes. Hashing takes tens of milliseconds by intent, so it is done in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import bcrypt

P = ParamSpec("P")
T = TypeVar("T")

MIN_COST, DEFAULT_COST, MAX_COST = 4, 10, 31
_BYTES_MAX = 72
"""What bcrypt looks at. etcd refuses longer passwords, as its library does."""


class PasswordTooLong(ValueError):
    def __init__(self) -> None:
        super().__init__("bcrypt: password length exceeds 72 bytes")


class Passwords:
    """`cost` is etcd's --bcrypt-cost; outside of 4 to 31 it is the default."""

    def __init__(self, cost: int = DEFAULT_COST) -> None:
        self._cost = cost if MIN_COST <= cost <= MAX_COST else DEFAULT_COST
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="passwords")
        self._nobody: bytes | None = None

    async def hashed(self, password: str) -> bytes:
        """PasswordTooLong for what bcrypt would cut off."""
        given = password.encode()
        if len(given) > _BYTES_MAX:
            raise PasswordTooLong
        return await self._in_thread(bcrypt.hashpw, given, bcrypt.gensalt(self._cost))

    async def fits(self, password: str, known: bytes | None) -> bool:
        """Whether it is the one that was hashed. Without a hash (None: no such user) the answer is no, after the
        same time: who asks does not learn which users there are."""
        if known is None:
            if self._nobody is None:
                self._nobody = await self._in_thread(bcrypt.hashpw, b"nobody", bcrypt.gensalt(self._cost))
            await self._in_thread(_check, password.encode(), self._nobody)
            return False
        return await self._in_thread(_check, password.encode(), known)

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _check(password: bytes, known: bytes) -> bool:
    """A hash that is none (a user that was added with one that is not bcrypt's) fits no password."""
    if len(password) > _BYTES_MAX:
        return False
    try:
        return bcrypt.checkpw(password, known)
    except ValueError:
        return False
