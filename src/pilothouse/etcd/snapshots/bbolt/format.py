"""What a bbolt database is made of (go.etcd.io/bbolt, internal/common: page.go, meta.go, bucket.go). Little endian.

    page 0, 1    meta: which tree is the root; of two valid ones the higher transaction counts
    other pages  leaf: keys and values │ branch: first keys and pages of children │ freelist: unused pages

A page that is too small for its contents goes on over the pages behind it (`overflow`). The root tree's values are
buckets: the page of another tree's root, or, when that page is 0, the tree's one leaf itself, in line.

    page header     id u64, flags u16, elements u16, overflow u32
    leaf element    flags u32, position u32, key size u32, value size u32
    branch element  position u32, key size u32, page u64
    bucket          root page u64, sequence u64
    meta            magic u32, version u32, page size u32, flags u32, root bucket, freelist page u64,
                    pages u64, transaction u64, checksum u64

A position counts from the element's own begin to its key; the value follows its key.
"""

from __future__ import annotations

import struct

MAGIC = 0xED0CDAED
VERSION = 2
PAGE_SIZE = 4096
PAGE_SIZES = tuple(1024 << i for i in range(7))
"""What a writer on some machine may have used; bbolt takes the system's."""

BRANCH = 0x01
LEAF = 0x02
META = 0x04
FREELIST = 0x10
BUCKET_FLAG = 0x01

HEADER = struct.Struct("<QHHI")
LEAF_ELEMENT = struct.Struct("<IIII")
BRANCH_ELEMENT = struct.Struct("<IIQ")
BUCKET = struct.Struct("<QQ")
META_FIELDS = struct.Struct("<IIIIQQQQQ")
CHECKSUM = struct.Struct("<Q")


def fnv64a(data: bytes) -> int:
    """The checksum of a meta page (FNV-1a with 64 bits)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value
