"""Read a bbolt database, trusting nothing in it: every position, size and page number is checked before it is used.

A damaged or hostile file ends in `BadDatabase`: no page is visited twice in a walk, no more is read than the file
has, and keys must be in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from pilothouse.etcd.snapshots.bbolt import format as f
from pilothouse.etcd.snapshots.errors import BadDatabase


class _Node(NamedTuple):
    flags: int
    elements: int
    data: bytes


class _Row(NamedTuple):
    flags: int
    key: bytes
    value: bytes


class Reader:
    """`handle` is an open file's descriptor, which stays the caller's; `size` is where the database ends in it
    (None: at the file's end). BadDatabase."""

    def __init__(self, handle: int, size: int | None = None) -> None:
        self._handle = handle
        self._bytes = os.fstat(handle).st_size if size is None else size
        self._page_size = f.PAGE_SIZE
        self._pages = 0
        self._root = 0
        self._read_meta()

    @property
    def size(self) -> int:
        """The database's size in bytes, as bbolt's `Tx.Size` gives it."""
        return self._pages * self._page_size

    def buckets(self) -> list[bytes]:
        """The buckets' names, in order."""
        return [name for name, _ in self._buckets()]

    def rows(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order; none if there is no such bucket."""
        for name, value in self._buckets():
            if name == bucket:
                yield from self._bucket_rows(value)

    def all_rows(self) -> Iterator[tuple[bytes, Iterator[tuple[bytes, bytes]]]]:
        """Every bucket with its rows, in order."""
        for name, value in self._buckets():
            yield name, self._bucket_rows(value)

    # -- meta pages -------------------------------------------------------------------------------------

    def _read_meta(self) -> None:
        """Of two valid meta pages the newer; the second one's place is the first one's page size."""
        found = self._meta(0)
        for page_size in f.PAGE_SIZES if found is None else (found[1],):
            second = self._meta(page_size)
            if second is not None and second[1] == page_size and (found is None or second > found):
                found = second
        if found is None:
            raise BadDatabase("it is no bbolt database, or both of its meta pages are damaged")
        _, self._page_size, self._root, self._pages = found
        if self._pages * self._page_size > self._bytes:
            raise BadDatabase(
                f"it is cut off: {self._bytes} bytes of {self._pages * self._page_size} are there"
            )

    def _meta(self, position: int) -> tuple[int, int, int, int] | None:
        """Transaction, page size, root page and number of pages."""
        data = self._read(position + f.HEADER.size, f.META_FIELDS.size + f.CHECKSUM.size)
        if len(data) < f.META_FIELDS.size + f.CHECKSUM.size:
            return None
        fields, checksum = data[: f.META_FIELDS.size], data[f.META_FIELDS.size :]
        magic, version, page_size, _, root, _, _, pages, transaction = f.META_FIELDS.unpack(fields)
        if (magic, version) != (f.MAGIC, f.VERSION) or page_size not in f.PAGE_SIZES:
            return None
        if f.CHECKSUM.unpack(checksum)[0] != f.fnv64a(fields):
            return None
        return transaction, page_size, root, pages

    def _read(self, position: int, size: int) -> bytes:
        data = b""
        size = min(size, self._bytes - position)
        while len(data) < size:
            more = os.pread(self._handle, size - len(data), position + len(data))
            if not more:
                break
            data += more
        return data

    # -- trees ------------------------------------------------------------------------------------------

    def _buckets(self) -> Iterator[tuple[bytes, bytes]]:
        for row in self._walk(self._root):
            if not row.flags & f.BUCKET_FLAG:
                raise BadDatabase(f"its root holds {row.key[:40]!r}, which is no bucket")
            yield row.key, row.value

    def _bucket_rows(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        if len(bucket) < f.BUCKET.size:
            raise BadDatabase("a bucket's header is cut off")
        page, _ = f.BUCKET.unpack_from(bucket)
        rows = self._walk(page) if page else _ordered(self._inline(bucket[f.BUCKET.size :]))
        for row in rows:
            if row.flags & f.BUCKET_FLAG:
                raise BadDatabase("it has a bucket within a bucket, which etcd never makes")
            yield row.key, row.value

    def _inline(self, data: bytes) -> Iterator[_Row]:
        if len(data) < f.HEADER.size:
            raise BadDatabase("a bucket's page is cut off")
        _, flags, count, overflow = f.HEADER.unpack_from(data)
        if flags != f.LEAF or overflow:
            raise BadDatabase("a bucket's page within its parent is no leaf")
        yield from _leaf_rows(_Node(flags, count, data), 0)

    def _walk(self, root: int) -> Iterator[_Row]:
        return _ordered(self._tree(root))

    def _tree(self, root: int) -> Iterator[_Row]:
        """Depth first, with the pages to come on a stack."""
        visited = bytearray(self._pages)
        waiting = [root]
        while waiting:
            page = waiting.pop()
            node = self._node(page, visited)
            if node.flags == f.LEAF:
                yield from _leaf_rows(node, page)
            else:
                waiting += reversed(_children(node, page))

    def _node(self, page: int, visited: bytearray) -> _Node:
        if not 2 <= page < self._pages:
            raise BadDatabase(f"it refers to page {page} of {self._pages}")
        header = self._read(page * self._page_size, f.HEADER.size)
        if len(header) < f.HEADER.size:
            raise BadDatabase(f"page {page} is cut off")
        number, flags, count, overflow = f.HEADER.unpack(header)
        if number != page or flags not in (f.LEAF, f.BRANCH):
            raise BadDatabase(f"page {page} is damaged: its header names page {number} and type {flags:#x}")
        end = page + 1 + overflow
        if end > self._pages:
            raise BadDatabase(f"page {page} claims {overflow} pages behind it, past the end")
        if visited.find(1, page, end) >= 0:
            raise BadDatabase(f"page {page} is used twice")
        visited[page:end] = b"\1" * (end - page)
        size = (end - page) * self._page_size
        data = self._read(page * self._page_size, size)
        if len(data) < size:
            raise BadDatabase(f"page {page} is cut off")
        return _Node(flags, count, data)


def _ordered(rows: Iterator[_Row]) -> Iterator[_Row]:
    last = b""
    for row in rows:
        if row.key <= last:
            raise BadDatabase(f"its keys are out of order: {row.key[:40]!r} after {last[:40]!r}")
        last = row.key
        yield row


def _leaf_rows(node: _Node, page: int) -> Iterator[_Row]:
    at = f.HEADER.size
    _check_elements(node, page, f.LEAF_ELEMENT.size)
    left = len(node.data)
    for flags, position, key_size, value_size in f.LEAF_ELEMENT.iter_unpack(
        memoryview(node.data)[at : at + node.elements * f.LEAF_ELEMENT.size]
    ):
        begin = at + position
        middle = begin + key_size
        end = middle + value_size
        # Rows do not overlap: a few bytes must not stand for any amount of data.
        left -= key_size + value_size
        if end > len(node.data) or left < 0:
            raise BadDatabase(f"a row of page {page} reaches past the page's end")
        yield _Row(flags, node.data[begin:middle], node.data[middle:end])
        at += f.LEAF_ELEMENT.size


def _children(node: _Node, page: int) -> list[int]:
    _check_elements(node, page, f.BRANCH_ELEMENT.size)
    if not node.elements:
        raise BadDatabase(f"page {page} is a branch without children")
    begin = f.HEADER.size
    elements = memoryview(node.data)[begin : begin + node.elements * f.BRANCH_ELEMENT.size]
    return [child for _, _, child in f.BRANCH_ELEMENT.iter_unpack(elements)]


def _check_elements(node: _Node, page: int, element_size: int) -> None:
    if f.HEADER.size + node.elements * element_size > len(node.data):
        raise BadDatabase(f"page {page} claims {node.elements} elements, more than it has room for")
