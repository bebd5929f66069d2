"""Numbers that servers on one store take from one range: a RangeAllocation object, changed by compare-and-swap
(pkg/registry/core/service/allocator/storage). Upstream keeps node ports so, under /registry/ranges/servicenodeports:

    {"kind":"RangeAllocation","apiVersion":"v1","metadata":{},"range":"30000-32767","data":"…"}

`data` is a number in base64, highest byte first; its bit n says that the range's nth number is taken.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from pilothouse.apiserver.storage.store import failure
from pilothouse.etcd.contract import Backend, Compare, Put, Range, StoreError, Target, Txn

log = logging.getLogger(__name__)


class RangeAllocation:
    """`first`…`last` under `key`. All methods raise ApiError when the store fails."""

    def __init__(self, backend: Backend, key: str, first: int, last: int) -> None:
        self._backend = backend
        self._key = key.encode()
        self._first = first
        self._last = last

    async def take(self, numbers: Collection[int]) -> set[int]:
        """Take all of them, or none: then those that somebody has."""
        wanted = self._bits(numbers)
        refused = 0

        def change(bits: int) -> int:
            nonlocal refused
            refused = bits & wanted
            return bits if refused else bits | wanted

        await self._change(change)
        return self._numbers(refused)

    async def give_back(self, numbers: Collection[int]) -> None:
        unwanted = self._bits(numbers)
        await self._change(lambda bits: bits & ~unwanted)

    async def add(self, numbers: Collection[int]) -> int:
        """Take those of them that nobody has; how many these were."""
        wanted = self._bits(numbers)
        added = 0

        def change(bits: int) -> int:
            nonlocal added
            added = (wanted & ~bits).bit_count()
            return bits | wanted

        await self._change(change)
        return added

    async def taken(self) -> set[int]:
        return self._numbers((await self._read())[0])

    async def _change(self, change: Callable[[int], int]) -> None:
        while True:
            bits, revision = await self._read()
            new = change(bits)
            if (new == bits and revision) or await self._swap(revision, new):
                return

    async def _swap(self, revision: int, new: int) -> bool:
        compare = Compare(self._key, Target.MOD, "=", revision)
        try:
            result = await self._backend.txn(Txn((compare,), (Put(self._key, self._value(new)),)))
        except StoreError as error:
            raise failure(error) from error
        return result.succeeded

    async def _read(self) -> tuple[int, int]:
        """The bits and the revision that they stem from (0: there are none yet)."""
        try:
            found = await self._backend.range(Range(self._key))
        except StoreError as error:
            raise failure(error) from error
        if not found.kvs:
            return 0, 0
        kv = found.kvs[0]
        try:
            value: dict[str, Any] = msgspec.json.decode(kv.value)
            same = value.get("range") == self._range
            bits = int.from_bytes(base64.b64decode(value.get("data") or ""), "big") if same else 0
        except (ValueError, AttributeError, TypeError):
            log.warning(
                "%s cannot be read (protobuf of another server?): it is made anew", self._key.decode()
            )
            return 0, kv.mod_revision
        return bits, kv.mod_revision

    @property
    def _range(self) -> str:
        return f"{self._first}-{self._last}"

    def _value(self, bits: int) -> bytes:
        data = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
        return msgspec.json.encode(
            {
                "kind": "RangeAllocation",
                "apiVersion": "v1",
                "metadata": {"creationTimestamp": None},
                "range": self._range,
                "data": base64.b64encode(data).decode(),
            }
        )

    def _bits(self, numbers: Collection[int]) -> int:
        """Numbers outside the range, as after a change of the flag, are nobody's to give."""
        bits = 0
        for number in numbers:
            if self._first <= number <= self._last:
                bits |= 1 << (number - self._first)
        return bits

    def _numbers(self, bits: int) -> set[int]:
        return {self._first + n for n in range(bits.bit_length()) if bits >> n & 1}
