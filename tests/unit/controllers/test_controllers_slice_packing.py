"""Few slices change (k8s.io/endpointslice reconcileByPortMapping)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.controllers.slice_packing import Packed, pack


def endpoints(names: str, **more: Any) -> list[Obj]:
    return [{"addresses": [n], "targetRef": {"name": n, "uid": n}, **more} for n in names]


def present(*contents: str) -> list[Obj]:
    return [{"name": f"s{n}", "endpoints": endpoints(names)} for n, names in enumerate(contents)]


def shown(done: Packed) -> dict[str, Any]:
    def names(found: list[Obj]) -> str:
        return "".join(e["addresses"][0] for e in found)

    return {
        "create": [names(c) for c in done.create],
        "update": {found["name"]: names(c) for found, c in done.update},
        "delete": [found["name"] for found in done.delete],
    }


def test_the_worked_example() -> None:
    done = pack(present("abc", "de"), endpoints("abdefg"), 3)
    assert shown(done) == {"create": [], "update": {"s0": "abf", "s1": "deg"}, "delete": []}


def test_nothing_to_do() -> None:
    done = pack(present("abc", "de"), endpoints("edcba"), 3)
    assert shown(done) == {"create": [], "update": {}, "delete": []}
    assert [s["name"] for s in done.keep] == ["s0", "s1"]


def test_one_that_goes_moves_nobody() -> None:
    """Cutting the sorted list anew would rewrite every slice behind it."""
    assert shown(pack(present("abc", "def", "ghi"), endpoints("bcdefghi"), 3)) == {
        "create": [],
        "update": {"s0": "bc"},
        "delete": [],
    }


def test_a_slice_that_loses_all_goes() -> None:
    done = pack(present("abc", "de"), endpoints("abc"), 3)
    assert shown(done) == {"create": [], "update": {}, "delete": ["s1"]}


def test_the_rest_goes_where_it_just_fits_or_into_new_ones() -> None:
    assert shown(pack(present("abc", "d", "ef"), endpoints("abcdefg"), 3))["update"] == {"s2": "efg"}
    assert shown(pack([], endpoints("abcdefg"), 3)) == {
        "create": ["abc", "def", "g"],
        "update": {},
        "delete": [],
    }
    assert shown(pack(present("ab"), endpoints("abcd"), 3)) == {"create": ["cd"], "update": {}, "delete": []}


def test_a_changed_condition_changes_the_endpoint_where_it_is() -> None:
    wanted = [*endpoints("a", conditions={"ready": False}), *endpoints("bcde")]
    done = pack(present("abc", "de"), wanted, 3)
    assert shown(done) == {"create": [], "update": {"s0": "abc"}, "delete": []}
    assert done.update[0][1][0]["conditions"] == {"ready": False}


def test_a_successor_at_the_same_address_is_another_endpoint() -> None:
    wanted = [{"addresses": ["a"], "targetRef": {"name": "a", "uid": "new"}}]
    done = pack(present("a"), wanted, 3)
    assert (len(done.create), len(done.delete)) == (1, 1)
