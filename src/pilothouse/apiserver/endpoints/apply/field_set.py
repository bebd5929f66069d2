"""Sets of fields, kept as they are written: `FieldsV1`.

A set is a tree of dicts. `{"f:a": {}}` holds the field a; `{"f:a": {".": {}, "f:b": {}}}` holds a and a.b;
`{"f:a": {"f:b": {}}}` holds a.b alone. The keys of a list's items are `k:{"name":"x"}`, `v:"x"` or `i:0`.
All functions give new sets and never change their arguments; parts may be shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

FieldSet: TypeAlias = dict[str, Any]

MEMBER = "."
LEAF: FieldSet = {}
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def is_member(node: FieldSet) -> bool:
    """Whether the field itself is in the set, not only something below it."""
    return not node or MEMBER in node


def node(children: FieldSet, member: bool) -> FieldSet | None:
    """A canonical node: None when it would hold nothing."""
    if not children:
        return {} if member else None
    return {MEMBER: {}, **children} if member else children


def _children(tree: FieldSet) -> Iterator[tuple[str, FieldSet]]:
    return ((k, v) for k, v in tree.items() if k != MEMBER)


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Top-level sets are never members themselves: {} is the empty set there."""
    if not a:
        return b
    if not b:
        return a
    out = dict(a)
    for key, right in b.items():
        left = out.get(key)
        out[key] = right if left is None else _union_node(left, right)
    return out


def _union_node(a: FieldSet, b: FieldSet) -> FieldSet:
    if a is b:
        return a
    member = is_member(a) or is_member(b)
    children = union({k: v for k, v in _children(a)}, {k: v for k, v in _children(b)})
    return node(children, member) or {}


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    out: FieldSet = {}
    for key, left in _children(a):
        right = b.get(key)
        if right is None:
            continue
        both = node(intersection(left, right), is_member(left) and is_member(right))
        if both is not None:
            out[key] = both
    return out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are no members of `b`."""
    if not b:
        return a
    out: FieldSet = {}
    for key, left in _children(a):
        right = b.get(key)
        if right is None:
            out[key] = left
            continue
        kept = node(difference(dict(_children(left)), right), is_member(left) and not is_member(right))
        if kept is not None:
            out[key] = kept
    return out


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are neither members of `b` nor below one."""
    if not b:
        return a
    out: FieldSet = {}
    for key, left in _children(a):
        right = b.get(key)
        if right is None:
            out[key] = left
        elif not is_member(right):
            kept = node(recursive_difference(dict(_children(left)), right), is_member(left))
            if kept is not None:
                out[key] = kept
    return out


def members(tree: FieldSet, path: str = "") -> Iterator[str]:
    """The paths of all members as error texts print them, in upstream's order (fields of a level first)."""
    deeper = []
    for key, child in sorted(_children(tree), key=lambda entry: _order(entry[0])):
        here = path + element(key)
        if is_member(child):
            yield here
        if child:
            deeper.append((child, here))
    for child, here in deeper:
        yield from members(child, here)


_RANK = {"f": 0, "k": 1, "v": 2, "i": 3}


def _order(key: str) -> tuple[int, str]:
    return _RANK.get(key[:1], 4), key


def element(key: str) -> str:
    """`f:a` → `.a`; `k:{"name":"x"}` → `[name="x"]`; `v:"x"` → `[="x"]`; `i:0` → `[0]`."""
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        pairs = ",".join(f"{k}={_encode(v).decode()}" for k, v in sorted(_decode(rest).items()))
        return f"[{pairs}]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


@lru_cache(maxsize=8192)
def name_key(name: str) -> str:
    return f"f:{name}"


@lru_cache(maxsize=8192)
def item_key(pairs: tuple[tuple[str, Any], ...]) -> str:
    """The key of a map list's item, from its (field, value) pairs."""
    return "k:" + _encode(dict(pairs)).decode()


def value_key(value: Any) -> str:
    return "v:" + _encode(value).decode()


def of_paths(*paths: str) -> FieldSet:
    """A set from dotted field names."""
    out: FieldSet = {}
    for path in paths:
        tree: FieldSet = {}
        for part in reversed(path.split(".")):
            tree = {name_key(part): tree}
        out = union(out, tree)
    return out
