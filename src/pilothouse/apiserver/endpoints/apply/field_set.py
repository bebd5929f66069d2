"""Sets of fields, kept as they are written: `FieldsV1` (sigs.k8s.io/structured-merge-diff fieldpath).

A set is a tree of dicts. `{"f:a": {}}` holds the field a; `{"f:a": {".": {}, "f:b": {}}}` holds a and a.b;
`{"f:a": {"f:b": {}}}` holds a.b alone. The keys of a list's items are `k:{"name":"x"}`, `v:"x"` or `i:0`.
At the top {} is the empty set; anywhere below, {} is a member. So a set needs no encoding to be stored, and
no decoding to be used.

All functions give new sets, share parts with their arguments and never change them. Every set is canonical:
keys in upstream's order (see `order`), no node that holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from pilothouse.kit.caching import LONGEST, cached_texts

FieldSet: TypeAlias = dict[str, Any]

MEMBER = "."
LEAF: FieldSet = {}
"""A member with nothing below it. Shared: never changed."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def is_member(node: FieldSet) -> bool:
    """Whether the field itself is in the set, not only something below it."""
    return not node or MEMBER in node


def _node(children: FieldSet, member: bool) -> FieldSet | None:
    """A canonical node: None when it would hold nothing."""
    if not children:
        return LEAF if member else None
    return {MEMBER: LEAF, **children} if member else children


def _children(node: FieldSet) -> FieldSet:
    """What is below a node, as a set of its own."""
    return {k: v for k, v in node.items() if k != MEMBER} if MEMBER in node else node


# -- algebra --------------------------------------------------------------------------------------------


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of either."""
    if not a or a is b:
        return b
    if not b:
        return a
    out: FieldSet | None = None
    grown = False
    for key, right in b.items():
        left = a.get(key)
        if left is None:
            made, grown = right, True
        else:
            made = _union_node(left, right)
            if made is left:
                continue
        if out is None:
            out = dict(a)
        out[key] = made
    if out is None:
        return a
    return in_order(out) if grown else out


def _union_node(a: FieldSet, b: FieldSet) -> FieldSet:
    if a is b:
        return a
    if not a:
        return b if not b or MEMBER in b else {MEMBER: LEAF, **b}
    if not b:
        return a if MEMBER in a else {MEMBER: LEAF, **a}
    return union(a, b)


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of both."""
    out: FieldSet = {}
    for key, left in a.items():
        right = b.get(key)
        if right is None or key == MEMBER:
            continue
        below = intersection(left, right) if left and right else LEAF
        both = _node(below, is_member(left) and is_member(right))
        if both is not None:
            out[key] = both
    return out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are no members of `b`."""
    if not b or not a:
        return a
    out: FieldSet | None = None
    for key, right in b.items():
        left = a.get(key)
        if left is None or key == MEMBER:
            continue
        kept = _difference_node(left, right)
        if kept is left:
            continue
        if out is None:
            out = dict(a)
        if kept is None:
            del out[key]
        else:
            out[key] = kept
    return a if out is None else out


def _difference_node(a: FieldSet, b: FieldSet) -> FieldSet | None:
    member = is_member(a) and not is_member(b)
    if not a:
        return a if member else None
    children = _children(a)
    kept = difference(children, b)
    if kept is children and member is (MEMBER in a):
        return a
    return _node(kept, member)


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are neither members of `b` nor below one."""
    if not b or not a:
        return a
    out: FieldSet | None = None
    for key, right in b.items():
        left = a.get(key)
        if left is None or key == MEMBER:
            continue
        if is_member(right):
            kept = None
        else:
            below = _children(left)
            kept = _node(recursive_difference(below, right), is_member(left))
        if out is None:
            out = dict(a)
        if kept is None:
            del out[key]
        else:
            out[key] = kept
    return a if out is None else out


# -- order and text -------------------------------------------------------------------------------------

_RANK = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}


@cached_texts(8192)
def order(key: str) -> tuple[Any, ...]:
    """Upstream's order of path elements: fields by name, then keys and values (numbers by size), indexes."""
    kind, rest = key[:1], key[2:]
    if kind == "k":
        return (2, *(part for name, value in sorted(_decode(rest).items()) for part in (name, *_rank(value))))
    if kind == "v":
        return (3, *_rank(_decode(rest)))
    return (4, int(rest)) if kind == "i" else (_RANK.get(kind, 5), rest)


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, (int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, "")


def in_order(level: FieldSet) -> FieldSet:
    """One level in canonical order."""
    if len(level) < 2:
        return level
    if any(key[0] in "kvi" for key in level):
        return {key: level[key] for key in sorted(level, key=order)}
    return dict(sorted(level.items()))


def canonical(value: Any) -> FieldSet:
    """A set that came from a client, in canonical form; ValueError if it is none (bad path element)."""
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    for key in value:
        if key != MEMBER and (key[1:2] != ":" or key[:1] not in "fkvi"):
            raise ValueError(f"unrecognized path element {key!r}")
    made = {key: LEAF if key == MEMBER else canonical(child) for key, child in value.items()}
    try:
        return LEAF if list(made) == [MEMBER] else in_order(made)
    except (msgspec.DecodeError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None


def members(tree: FieldSet, path: str = "") -> Iterator[str]:
    """The paths of all members as error texts print them, in upstream's order (level by level)."""
    for key, child in tree.items():
        if key != MEMBER and is_member(child):
            yield path + element(key)
    for key, child in tree.items():
        if key != MEMBER and child:
            yield from members(child, path + element(key))


def element(key: str) -> str:
    """`f:a` → `.a`; `k:{"name":"x"}` → `[name="x"]`; `v:"x"` → `[="x"]`; `i:0` → `[0]`."""
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        pairs = ",".join(f"{k}={_encode(v).decode()}" for k, v in sorted(_decode(rest).items()))
        return f"[{pairs}]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


# -- path elements --------------------------------------------------------------------------------------


@cached_texts(16384)
def name_key(name: str) -> str:
    """The element of a field or map entry."""
    return f"f:{name}"


def single_key(field: str, value: Any) -> str:
    """The element of a list item that one scalar field names."""
    if isinstance(value, str) and len(value) > LONGEST:
        return "k:" + _go_json({field: value})
    return _single_key(field, value)


@lru_cache(maxsize=16384, typed=True)
def _single_key(field: str, value: Any) -> str:
    return "k:" + _go_json({field: value})


def item_key(fields: dict[str, Any]) -> str:
    """The element of a list item that several fields name."""
    return "k:" + _go_json(fields)


def value_key(value: Any) -> str:
    """The element of a set's item."""
    return "v:" + _go_json(value)


def _go_json(value: Any) -> str:
    """As Go's encoder writes it: keys sorted, HTML characters escaped."""
    text: str = _encode(value).decode()
    if "<" in text or ">" in text or "&" in text:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def of_paths(*paths: str) -> FieldSet:
    """A set from dotted field names."""
    out: FieldSet = {}
    for path in paths:
        tree: FieldSet = LEAF
        for part in reversed(path.split(".")):
            tree = {name_key(part): tree}
        out = union(out, tree)
    return out
