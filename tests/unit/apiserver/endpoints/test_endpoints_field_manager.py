"""Who owns what after each write: the field manager, and the fast walk against an obvious slow one."""

import copy
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pilothouse.api.catalog import Catalog
from pilothouse.api.errors import ApiError
from pilothouse.api.structure import Field, Type
from pilothouse.apiserver.builtin import Builtins
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply import typed
from pilothouse.apiserver.endpoints.apply.compare import Walkers, compare
from pilothouse.apiserver.endpoints.apply.manager import FieldManager, Version
from pilothouse.apiserver.endpoints.apply.reset_fields import reset_fields

T0, T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"
STRING, NUMBER = Type("string", "string"), Type("integer", "int32")
META = Type(
    "struct",
    "v1.ObjectMeta",
    fields={
        "name": Field(STRING),
        "uid": Field(STRING),
        "labels": Field(Type("map", element=STRING)),
        "annotations": Field(Type("map", element=STRING)),
        "finalizers": Field(Type("list", element=STRING, list_type="set")),
    },
)
PORT = Type(
    "struct",
    "v1.Port",
    fields={"port": Field(NUMBER, required=True), "protocol": Field(STRING), "name": Field(STRING)},
)
ANY = Type("any", preserve_unknown=True)
INNER = Type("struct", "v1.Inner", fields={"x": Field(NUMBER), "y": Field(STRING)})
SPEC = Type(
    "struct",
    "v1.Spec",
    fields={
        "ports": Field(
            Type(
                "list",
                element=PORT,
                list_type="map",
                list_keys=("port", "protocol"),
                key_defaults={"protocol": "TCP"},
            )
        ),
        "args": Field(Type("list", element=STRING)),
        "selector": Field(Type("map", element=STRING, map_type="atomic")),
        "inner": Field(INNER, pointer=True),
        "free": Field(ANY),
    },
)
THING = Type(
    "struct",
    "v1.Thing",
    fields={
        "apiVersion": Field(STRING),
        "kind": Field(STRING),
        "metadata": Field(META, required=True),
        "spec": Field(SPEC, required=True),
        "data": Field(Type("map", element=STRING)),
        "status": Field(Type("map", element=STRING)),
    },
)


def manager(**options: Any) -> FieldManager:
    reset = fs.of_paths("status")
    return FieldManager(THING, "v1", reset, lambda: {"metadata": {}, "spec": {}}, kind="Thing", **options)


def thing(**parts: Any) -> dict[str, Any]:
    meta = {"name": "t", **parts.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Thing", "metadata": meta, "spec": parts.pop("spec", {}), **parts}


def applied(live: Any, who: str, now: str = T1, *, force: bool = False, **parts: Any) -> dict[str, Any]:
    before = copy.deepcopy(live)
    config = thing(**parts)
    if not config["spec"]:
        del config["spec"]
    made = manager().apply(live, config, who, "", now, force=force)
    assert live == before
    return made


def owned(obj: Any) -> dict[str, list[str]]:
    entries = obj["metadata"].get("managedFields", [])
    return {f"{e['manager']}/{e['operation']}": list(fs.members(e["fieldsV1"])) for e in entries}


# -- updates --------------------------------------------------------------------------------------------


def test_a_create_owns_what_it_sets_and_no_identity() -> None:
    made = manager().update(None, thing(data={"a": "1"}, status={"s": "1"}), "me", "", T0)
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "me",
            "operation": "Update",
            "apiVersion": "v1",
            "time": T0,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
        }
    ]


def test_an_update_takes_what_it_changes_and_a_noop_leaves_the_time() -> None:
    live = manager().update(None, thing(data={"a": "1", "b": "1"}), "one", "", T0)
    same = manager().update(live, copy.deepcopy(live), "two", "", T1)
    assert same == live
    taken = manager().update(live, thing(data={"a": "2", "b": "1"}), "two", "", T1)
    assert owned(taken) == {"one/Update": [".data", ".data.b"], "two/Update": [".data.a"]}
    gone = manager().update(taken, thing(data={"a": "2"}), "three", "", T2)
    assert owned(gone) == {"one/Update": [".data"], "two/Update": [".data.a"]}


def test_a_reset_forgets_everybody_until_somebody_applies() -> None:
    live = manager().update(None, thing(data={"a": "1"}), "one", "", T0)
    empty = manager().update(live, thing(metadata={"managedFields": [{}]}, data={"a": "1"}), "one", "", T1)
    assert owned(empty) == {}
    assert owned(manager().update(empty, thing(data={"a": "2"}), "two", "", T1)) == {}
    again = applied(empty, "late", data={"a": "1"})
    assert owned(again) == {"late/Apply": [".data.a"], "before-first-apply/Update": [".data", ".data.a"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": "Frob"},
        {"apiVersion": ""},
        {"fieldsType": ""},
        {"fieldsType": "FieldsV9"},
        {"fieldsV1": {"bad": {}}},
    ],
)
def test_entries_that_make_no_sense_are_as_if_not_sent(wrong: Any) -> None:
    entry = {"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", **wrong}
    live = manager().update(None, thing(data={"a": "1"}), "one", "", T0)
    made = manager().update(live, thing(metadata={"managedFields": [entry]}, data={"a": "1"}), "two", "", T1)
    assert made["metadata"]["managedFields"] == live["metadata"]["managedFields"]


def test_ten_updaters_at_most_the_oldest_become_ancient() -> None:
    live = manager().update(None, thing(data={"k0": "1"}), "m0", "", "2026-01-01T00:00:00Z")
    for n in range(1, 13):
        data = {f"k{i}": "1" for i in range(n + 1)}
        live = manager().update(live, thing(data=data), f"m{n}", "", f"2026-01-01T00:00:{n:02}Z")
    found = owned(live)
    assert len(found) == 10
    assert found["ancient-changes/Update"] == [".data", ".data.k0", ".data.k1", ".data.k2", ".data.k3"]


def test_entries_of_unserved_versions_lose_their_owner_others_are_compared_in_their_own_terms() -> None:
    live = manager().update(None, thing(data={"a": "1"}), "one", "", T0)
    entries = [{**live["metadata"]["managedFields"][0], "apiVersion": v, "manager": v} for v in ("v0", "v2")]
    live = thing(metadata={"managedFields": entries}, data={"a": "1"})
    fields = manager(versions={"v2": Version(THING, lambda obj: {**obj, "data": {}})})
    made = fields.update(live, thing(data={"a": "2"}), "me", "", T1)
    assert owned(made) == {"v2/Update": [".data", ".data.a"], "me/Update": [".data.a"]}


# -- apply ----------------------------------------------------------------------------------------------


def test_apply_owns_what_it_names_and_removes_what_it_names_no_more() -> None:
    live = applied(None, "a", T0, data={"x": "1", "y": "1"}, metadata={"labels": {"l": "1"}})
    assert owned(live) == {"a/Apply": [".data.x", ".data.y", ".metadata.labels.l"]}
    live = applied(live, "b", data={"x": "1"})
    live = applied(live, "a", T2)
    assert (live["data"], live["metadata"].get("labels"), owned(live)) == (
        {"x": "1"},
        None,
        {"b/Apply": [".data.x"]},
    )


def test_apply_that_changes_nothing_changes_nothing() -> None:
    live = applied(None, "a", T0, data={"x": "1"})
    assert applied(live, "a", T1, data={"x": "1"}) == live


def test_gaining_ownership_alone_has_no_time() -> None:
    live = applied(applied(None, "a", T0, data={"x": "1"}), "b", T1, data={"x": "1"})
    assert [e.get("time") for e in live["metadata"]["managedFields"]] == [None, T0]


def test_what_an_updater_owns_stays_when_its_applier_drops_it() -> None:
    live = manager().update(None, thing(data={"x": "1"}), "u", "", T0)
    live = applied(live, "a", T1, data={"x": "1", "y": "1"})
    assert applied(live, "a", T2)["data"] == {"x": "1"}


def test_conflicts_name_managers_and_fields() -> None:
    live = manager().update(None, thing(data={"x": "1", "y": "1"}), "up", "", T0)
    live = applied(live, "a", spec={"ports": [{"port": 80, "name": "n"}]})
    with pytest.raises(ApiError) as caught:
        applied(live, "b", data={"x": "2"}, spec={"ports": [{"port": 80, "name": "m"}]})
    assert caught.value.code == 409
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "a":\n'
        '- .spec.ports[port=80,protocol="TCP"].name\n'
        'conflicts with "up" using v1:\n- .data.x'
    )
    forced = applied(live, "b", force=True, data={"x": "2"})
    assert owned(forced)["up/Update"] == [".data", ".data.y"]


def test_a_single_conflict_with_a_subresource() -> None:
    live = manager().update(None, thing(), "s", "", T0)
    live = manager().update(live, thing(data={"x": "1"}), "s", "scale", T0)
    with pytest.raises(ApiError) as caught:
        applied({**live, "metadata": {**live["metadata"]}}, "b", data={"x": "2"})
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.x'
        if not live["metadata"].get("managedFields")
        else 'Apply failed with 1 conflict: conflict with "s" with subresource "scale" using v1: .data.x'
    )


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"bogus": 1}, ".bogus: field not declared in schema"),
        ({"data": {"z": 1}}, ".data.z: expected string, got &value.valueUnstructured{Value:1}"),
        ({"spec": {"inner": {"x": "1"}}}, ".spec.inner.x: expected numeric (int or float), got string"),
        ({"spec": {"ports": {}}}, ".spec.ports: expected list, got &{map[]}"),
        (
            {"spec": {"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}},
            '.spec.ports: duplicate entries for key [port=1,protocol="TCP"]',
        ),
    ],
)
def test_configurations_that_do_not_fit_are_refused_with_500(parts: Any, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        applied(None, "a", **parts)
    assert caught.value.code == 500
    assert caught.value.message == f"failed to create typed patch object (/t; /v1, Kind=Thing): {text}"


def test_other_kinds_and_managed_fields_are_refused() -> None:
    for body, text in (
        ({"apiVersion": "v2", "kind": "Thing"}, "invalid object type: /v2, Kind=Thing"),
        ({}, "invalid object type: /, Kind="),
        (thing(metadata={"managedFields": []}), "metadata.managedFields must be nil"),
    ):
        with pytest.raises(ApiError) as caught:
            manager().apply(None, body, "a", "", T0, force=False)
        assert (caught.value.code, caught.value.message) == (400, text)


def test_kubectl_takes_over_what_it_applied_from_the_client() -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    last = json.dumps(thing(data={"x": "1"}))
    live = manager().update(
        None, thing(data={"x": "1", "y": "1"}, metadata={"annotations": {annotation: last}}), "csa", "", T0
    )
    made = applied(live, "kubectl", data={"x": "2"})
    assert made["data"] == {"x": "2", "y": "1"}
    kept = json.loads(made["metadata"]["annotations"][annotation])
    assert (kept["data"], kept["metadata"]) == ({"x": "2"}, {"name": "t"})
    with pytest.raises(ApiError, match="conflict"):
        applied(live, "kubectl", data={"y": "2"})


# -- laws -----------------------------------------------------------------------------------------------

TEXT = st.sampled_from(["", "1", "2"])
MAPS = st.dictionaries(st.sampled_from("ab"), TEXT, max_size=2)
PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(1, 2)}, optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": TEXT}
    ),
    max_size=3,
    unique_by=lambda p: (p["port"], p.get("protocol", "TCP")),
)
FREE = st.recursive(
    TEXT | st.integers(2, 3),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=4,
)
THINGS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "ports": PORTS,
                "args": st.lists(TEXT, max_size=2),
                "selector": MAPS,
                "inner": st.fixed_dictionaries({}, optional={"x": st.integers(0, 1), "y": TEXT}),
                "free": FREE,
            },
        )
    },
    optional={
        "data": MAPS,
        "metadata": st.fixed_dictionaries(
            {}, optional={"finalizers": st.lists(st.sampled_from("xy"), unique=True), "labels": MAPS}
        ),
    },
).map(lambda parts: thing(**parts))


@given(THINGS)
def test_apply_is_idempotent(config: Any) -> None:
    once = manager().apply(None, config, "a", "", T0, force=False)
    assume(once["metadata"].get("managedFields"))  # else an apply finds an object that nobody tracks
    assert manager().apply(once, config, "a", "", T1, force=False) == once


@given(THINGS, THINGS)
def test_a_forced_apply_makes_its_values_true(first: Any, second: Any) -> None:
    live = manager().apply(None, first, "a", "", T0, force=False)
    made = manager().apply(live, second, "b", "", T1, force=True)
    walker = Walkers().of(THING)
    assert walker is not None
    named = typed.field_set(second, THING)
    assert not fs.intersection(named, compare(walker, second, made).changed)


@given(THINGS)
def test_every_leaf_of_a_created_object_has_an_owner(obj: Any) -> None:
    made = manager().update(None, copy.deepcopy(obj), "me", "", T0)
    entries = made["metadata"].get("managedFields", [])
    mine = entries[0]["fieldsV1"] if entries else {}
    leaves = fs.difference(typed.field_set(obj, THING), fs.of_paths("apiVersion", "kind", "metadata.name"))
    missing = {p for p in fs.members(fs.difference(leaves, mine)) if p not in (".metadata", ".spec")}
    assert missing == set()


@given(THINGS, THINGS)
def test_the_fast_walk_agrees_with_the_slow_one(old: Any, new: Any) -> None:
    walker = Walkers().of(THING)
    assert walker is not None
    found = compare(walker, old, new)
    changed, removed = _slow(old, new)
    assert set(fs.members(found.changed)) == changed
    assert set(fs.members(found.removed)) == removed


def _slow(old: Any, new: Any) -> tuple[set[str], set[str]]:
    """Every node of both objects with its value, then plain set arithmetic."""
    before, after = dict(_nodes(old, THING, "")), dict(_nodes(new, THING, ""))
    changed = {p for p in after if p not in before}
    removed = {p for p in before if p not in after}
    for path in before.keys() & after.keys():
        (was, was_leaf), (now, now_leaf) = before[path], after[path]
        empty = not was and not now
        if (was_leaf or now_leaf or empty) and was != now and not _container_emptied(was, now, was_leaf):
            changed.add(path)
    return changed, removed


def _container_emptied(was: Any, now: Any, leaf: bool) -> bool:
    """A map that was filled or emptied shows in its entries alone."""
    return not leaf and isinstance(was, dict) == isinstance(now, dict) and isinstance(was, (dict, list))


def _nodes(value: Any, type_: Type, path: str) -> Iterator[tuple[str, tuple[Any, bool]]]:
    atomic = type_.map_type == "atomic" or (type_.kind == "list" and type_.list_type == "atomic")
    free = type_.kind == "any" and not isinstance(value, dict)
    leaf = atomic or free or type_.kind in ("string", "integer")
    if path:
        yield path, (value, leaf)
    if leaf:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _nodes(child, typed.field_type(type_, key), f"{path}.{key}")
    else:
        assert type_.element is not None
        for at, item in enumerate(value):
            yield from _nodes(item, type_.element, path + fs.element(typed.item_element(type_, item, at)))


# -- what upstream recorded -----------------------------------------------------------------------------

GOLDEN = Path(os.environ.get("PILOTHOUSE_GOLDEN", Path(__file__).parents[5] / "shared" / "golden"))


@cache
def builtins() -> tuple[Catalog, Builtins]:
    catalog = Catalog()
    return catalog, Builtins(catalog)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("file", "group", "resource"),
    [
        ("configmaps", "", "configmaps"),
        ("deployments", "apps", "deployments"),
        ("networkpolicies", "networking.k8s.io", "networkpolicies"),
        ("storageclasses", "storage.k8s.io", "storageclasses"),
        ("roles", "rbac.authorization.k8s.io", "roles"),
        ("podtemplates", "", "podtemplates"),
    ],
)
def test_creates_are_recorded_as_upstream_records_them(file: str, group: str, resource: str) -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"no recordings at {GOLDEN}: set PILOTHOUSE_GOLDEN")
    catalog, built = builtins()
    served = catalog.find(group, "v1", resource)
    assert served is not None
    kind = built.kind(served)
    reset = reset_fields(group, resource, "", has_status="status" in kind.subresources)
    fields = FieldManager(
        kind.type, kind.resource.group_version, reset, lambda: kind.decode({"metadata": {}}).obj
    )
    seen = 0
    for line in (GOLDEN / "kinds" / f"{file}.jsonl").read_text().splitlines():
        exchange = json.loads(line)
        obj = exchange["response"]["body"]
        if exchange["request"]["method"] != "POST" or exchange["response"]["code"] != 201:
            continue
        if "managedFields" not in obj["metadata"]:
            continue
        expected = obj["metadata"].pop("managedFields")
        made = fields.update(None, obj, expected[0]["manager"], "", "<time>")
        assert made["metadata"]["managedFields"] == expected, exchange["id"]
        seen += 1
    assert seen
