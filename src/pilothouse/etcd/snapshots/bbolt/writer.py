"""Write a bbolt database by bulk load: sorted rows become leaves, leaves become branches, up to one root.

    rows ──▶ leaf │ leaf │ leaf │ …      a full node goes to the file at once,
               └──────┴──▶ branch │ …    its first key and page to the level above
                              └──▶ root

In memory are one unfinished node of each level: a million rows need no more than a thousand. Pages come in the order
in which they fill up; the two meta pages at the front are written last, for they name the root.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from pilothouse.etcd.snapshots.bbolt import format as f

_FREELIST_PAGE = 2
_FIRST_PAGE = 3


class Writer:
    """Fill the buckets, in any order, one or several at a time; then `finish`. `file` can seek and is empty."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._next_page = _FIRST_PAGE
        self._roots: list[tuple[bytes, int]] = []
        file.write(bytes(_FIRST_PAGE * f.PAGE_SIZE))

    def bucket(self, name: bytes) -> BucketWriter:
        """A new bucket. Close it before `finish`."""
        return BucketWriter(self, name)

    def add_bucket(self, name: bytes, rows: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """A whole bucket; `rows` are sorted by key."""
        bucket = self.bucket(name)
        for key, value in rows:
            bucket.put(key, value)
        bucket.close()

    def finish(self) -> int:
        """Everything is in the file when it returns; its size."""
        root = _Leaves(self)
        for name, page in sorted(self._roots):
            root.add(f.BUCKET_FLAG, name, f.BUCKET.pack(page, 0))
        root_page = root.close()
        size = self._next_page * f.PAGE_SIZE
        self._file.seek(0)
        for transaction in (2, 3):
            self._file.write(self._meta(transaction, root_page))
        self._file.write(_page(_FREELIST_PAGE, f.FREELIST, 0, b""))
        self._file.seek(size)
        self._file.flush()
        return size

    def _meta(self, transaction: int, root_page: int) -> bytes:
        fields = f.META_FIELDS.pack(
            f.MAGIC, f.VERSION, f.PAGE_SIZE, 0, root_page, 0, _FREELIST_PAGE, self._next_page, transaction
        )
        return _page(transaction % 2, f.META, 0, fields + f.CHECKSUM.pack(f.fnv64a(fields)))

    def append(self, flags: int, count: int, body: bytes) -> int:
        """Write a node; its page."""
        page = self._next_page
        data = _page(page, flags, count, body)
        self._file.write(data)
        self._next_page += len(data) // f.PAGE_SIZE
        return page

    def closed(self, name: bytes, root_page: int) -> None:
        self._roots.append((name, root_page))


class BucketWriter:
    """One bucket that is being filled in the order of its keys."""

    def __init__(self, writer: Writer, name: bytes) -> None:
        self._writer = writer
        self._name = name
        self._leaves = _Leaves(writer)
        self._last = b""

    def put(self, key: bytes, value: bytes) -> None:
        """ValueError unless `key` is above all before it."""
        if key <= self._last:
            raise ValueError(f"rows must be sorted: {key!r} came after {self._last!r}")
        self._last = key
        self._leaves.add(0, key, value)

    def close(self) -> None:
        self._writer.closed(self._name, self._leaves.close())


class _Leaves:
    """The lowest level of a tree."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._rows: list[tuple[int, bytes, bytes]] = []
        self._size = f.HEADER.size
        self._above: _Branches | None = None

    def add(self, flags: int, key: bytes, value: bytes) -> None:
        size = f.LEAF_ELEMENT.size + len(key) + len(value)
        if self._rows and self._size + size > f.PAGE_SIZE:
            self._flush()
        self._rows.append((flags, key, value))
        self._size += size

    def _flush(self) -> None:
        if self._above is None:
            self._above = _Branches(self._writer)
        self._above.add(self._rows[0][1], self._write())

    def _write(self) -> int:
        rows, self._rows, self._size = self._rows, [], f.HEADER.size
        elements: list[bytes] = []
        data: list[bytes] = []
        position = len(rows) * f.LEAF_ELEMENT.size
        for flags, key, value in rows:
            elements.append(f.LEAF_ELEMENT.pack(flags, position, len(key), len(value)))
            data += (key, value)
            position += len(key) + len(value) - f.LEAF_ELEMENT.size
        return self._writer.append(f.LEAF, len(rows), b"".join(elements + data))

    def close(self) -> int:
        """The page of the tree's root; an empty tree is an empty leaf."""
        if self._above is None:
            return self._write()
        self._flush()
        return self._above.close()


class _Branches:
    """A level above. bbolt takes no branch with a single child (node.go, rebalance), so the last child stays behind
    when a node is written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._children: list[tuple[bytes, int]] = []
        self._size = f.HEADER.size
        self._above: _Branches | None = None

    def add(self, key: bytes, page: int) -> None:
        size = f.BRANCH_ELEMENT.size + len(key)
        if len(self._children) > 2 and self._size + size > f.PAGE_SIZE:
            behind = self._children.pop()
            self._flush()
            self._append(*behind)
        self._append(key, page)

    def _append(self, key: bytes, page: int) -> None:
        self._children.append((key, page))
        self._size += f.BRANCH_ELEMENT.size + len(key)

    def _flush(self) -> None:
        if self._above is None:
            self._above = _Branches(self._writer)
        self._above.add(self._children[0][0], self._write())

    def _write(self) -> int:
        children, self._children, self._size = self._children, [], f.HEADER.size
        elements: list[bytes] = []
        data: list[bytes] = []
        position = len(children) * f.BRANCH_ELEMENT.size
        for key, page in children:
            elements.append(f.BRANCH_ELEMENT.pack(position, len(key), page))
            data.append(key)
            position += len(key) - f.BRANCH_ELEMENT.size
        return self._writer.append(f.BRANCH, len(children), b"".join(elements + data))

    def close(self) -> int:
        """The page of the tree's root."""
        if self._above is None:
            return self._children[0][1] if len(self._children) == 1 else self._write()
        self._flush()
        return self._above.close()


def _page(number: int, flags: int, count: int, body: bytes) -> bytes:
    pages = max(1, -(-(f.HEADER.size + len(body)) // f.PAGE_SIZE))
    header = f.HEADER.pack(number, flags, count, pages - 1)
    return (header + body).ljust(pages * f.PAGE_SIZE, b"\0")
