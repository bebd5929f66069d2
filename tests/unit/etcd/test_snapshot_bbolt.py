"""bbolt databases: the way there and back, and files that somebody damaged."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.etcd.snapshots.bbolt import format as f
from pilothouse.etcd.snapshots.bbolt.reader import Reader
from pilothouse.etcd.snapshots.bbolt.writer import Writer
from pilothouse.etcd.snapshots.errors import BadDatabase

Rows = dict[bytes, bytes]


def write(path: Path, buckets: dict[bytes, Rows]) -> None:
    with path.open("wb") as file:
        writer = Writer(file)
        for name, rows in buckets.items():
            writer.add_bucket(name, sorted(rows.items()))
        assert writer.finish() == file.tell()
    assert path.stat().st_size % f.PAGE_SIZE == 0


def read(path: Path) -> dict[bytes, Rows]:
    handle = os.open(path, os.O_RDONLY)
    try:
        reader = Reader(handle)
        assert reader.size <= path.stat().st_size
        return {name: dict(rows) for name, rows in reader.all_rows()}
    finally:
        os.close(handle)


KEYS = st.binary(min_size=1, max_size=40)
VALUES = st.one_of(st.binary(max_size=60), st.integers(0, 20_000).map(lambda n: b"v" * n))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=60), max_size=5))
def test_the_way_there_and_back(tmp_path_factory: pytest.TempPathFactory, buckets: dict[bytes, Rows]) -> None:
    path = tmp_path_factory.mktemp("bbolt") / "db"
    write(path, buckets)
    assert read(path) == buckets


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30_000), st.integers(1, 600))
def test_trees_of_any_height_have_no_branch_with_one_child(
    tmp_path_factory: pytest.TempPathFactory, count: int, key_size: int
) -> None:
    """bbolt panics on one when it deletes from it (node.go, rebalance)."""
    path = tmp_path_factory.mktemp("bbolt") / "db"
    count = min(count, 4_000_000 // (key_size + 20))
    rows = {b"%08d" % i + b"k" * key_size: b"" for i in range(count)}
    write(path, {b"key": rows})
    assert read(path) == {b"key": rows}
    data = path.read_bytes()
    for page in range(3, len(data) // f.PAGE_SIZE):
        number, flags, elements, _ = f.HEADER.unpack_from(data, page * f.PAGE_SIZE)
        assert number != page or flags != f.BRANCH or elements >= 2


def test_rows_that_are_not_sorted_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "db").open("wb") as file, pytest.raises(ValueError, match="sorted"):
        Writer(file).add_bucket(b"key", [(b"b", b""), (b"a", b"")])


def test_writing_and_reading_needs_the_memory_of_a_few_pages(tmp_path: Path) -> None:
    path = tmp_path / "db"
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            writer = Writer(file)
            writer.add_bucket(b"key", ((b"%08d" % i, b"v" * 200) for i in range(50_000)))
            writer.finish()
        handle = os.open(path, os.O_RDONLY)
        assert sum(1 for _ in Reader(handle).rows(b"key")) == 50_000
        os.close(handle)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sample") / "db"
    rows = {b"%06d" % i: b"v" * (i % 300) for i in range(500)}
    write(path, {b"key": rows, b"meta": {b"a": b"1" * 10_000}, b"lease": {}})
    return path.read_bytes()


def harmless(path: Path) -> None:
    """Reads to the end, or is refused."""
    try:
        read(path)
    except BadDatabase as error:
        assert str(error)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_bytes_never_crash(
    sample: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "db"
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        page = data.draw(st.integers(0, len(sample) // f.PAGE_SIZE - 1))
        # Headers and elements, where it hurts most.
        damaged[page * f.PAGE_SIZE + data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    harmless(path)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_file_that_is_cut_off_is_refused(
    sample: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "db"
    path.write_bytes(sample[: data.draw(st.integers(0, len(sample) - 1))])
    with pytest.raises(BadDatabase):
        read(path)


@given(st.binary(max_size=10_000))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "db"
    path.write_bytes(data)
    with pytest.raises(BadDatabase):
        read(path)


def test_pages_that_refer_to_each_other_end(sample: bytes, tmp_path: Path) -> None:
    """A branch whose child is itself."""
    damaged = bytearray(sample)
    for page in range(3, len(sample) // f.PAGE_SIZE):
        at = page * f.PAGE_SIZE
        number, flags, _, _ = f.HEADER.unpack_from(damaged, at)
        if number == page and flags == f.BRANCH:
            f.BRANCH_ELEMENT.pack_into(damaged, at + f.HEADER.size, 100, 1, page)
            break
    else:
        pytest.fail("the sample has no branch")
    (tmp_path / "db").write_bytes(damaged)
    with pytest.raises(BadDatabase, match="twice"):
        read(tmp_path / "db")


def test_the_older_meta_page_does_when_the_newer_is_damaged(sample: bytes, tmp_path: Path) -> None:
    for page in (0, 1):
        damaged = bytearray(sample)
        damaged[page * f.PAGE_SIZE + 40] ^= 0xFF
        (tmp_path / "db").write_bytes(damaged)
        assert len(read(tmp_path / "db")[b"key"]) == 500


def test_rows_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A small file must not stand for any amount of data."""
    path = tmp_path / "db"
    write(path, {b"key": {b"%03d" % i: b"" for i in range(100)} | {b"z": b"v" * 200_000}})
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // f.PAGE_SIZE):
        at = page * f.PAGE_SIZE
        number, flags, elements, _ = f.HEADER.unpack_from(data, at)
        if number == page and flags == f.LEAF and elements == 100:
            for i in range(elements):
                element = at + f.HEADER.size + i * f.LEAF_ELEMENT.size
                position = f.LEAF_ELEMENT.unpack_from(data, element)[1]
                f.LEAF_ELEMENT.pack_into(data, element, 0, position, 3, 900)
    path.write_bytes(data)
    with pytest.raises(BadDatabase, match="reaches past"):
        read(path)
