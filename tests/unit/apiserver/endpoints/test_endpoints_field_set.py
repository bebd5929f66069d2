"""The algebra of field sets, held against plain Python sets of paths."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.endpoints.apply import field_set as fs

KEYS = ("f:a", "f:b", 'k:{"port":443}', 'k:{"port":80}', 'v:"x"')


def paths(tree: fs.FieldSet, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    out = set()
    for key, child in tree.items():
        if key != ".":
            if fs.is_member(child):
                out.add((*at, key))
            out |= paths(child, (*at, key))
    return out


def tree_of(found: set[tuple[str, ...]]) -> fs.FieldSet:
    out: fs.FieldSet = {}
    for path in sorted(found):
        tree: fs.FieldSet = {}
        for part in reversed(path):
            tree = {part: tree}
        out = fs.union(out, tree)
    return out


SETS = st.sets(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(tuple), max_size=8)


@given(SETS, SETS)
def test_operations_agree_with_sets_of_paths(a: set[Any], b: set[Any]) -> None:
    left, right = tree_of(a), tree_of(b)
    assert paths(left) == a
    assert paths(fs.union(left, right)) == a | b
    assert paths(fs.intersection(left, right)) == a & b
    assert paths(fs.difference(left, right)) == a - b
    below = {p for p in a if any(p[: len(q)] == q for q in b)}
    assert paths(fs.recursive_difference(left, right)) == a - below


@given(SETS, SETS)
def test_results_are_canonical(a: set[Any], b: set[Any]) -> None:
    for made in (fs.union(tree_of(a), tree_of(b)), fs.difference(tree_of(a), tree_of(b))):
        assert repr(made) == repr(fs.canonical(made))


def test_paths_print_as_upstream_prints_them_a_level_before_what_is_below() -> None:
    tree = fs.canonical(
        {
            "f:containers": {
                'k:{"name":"a"}': {
                    "f:env": {'k:{"name":"E"}': {"f:value": {}}},
                    "f:image": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {}},
                }
            },
            "f:finalizers": {'v:"x/y"': {}},
        }
    )
    assert list(fs.members(tree)) == [
        '.containers[name="a"].image',
        '.containers[name="a"].env[name="E"].value',
        '.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.finalizers[="x/y"]',
    ]


def test_numbers_in_keys_sort_by_size() -> None:
    ports = {f'k:{{"port":{n}}}': {} for n in (443, 80, 8080)}
    assert list(fs.canonical({"f:ports": ports})["f:ports"]) == [
        'k:{"port":80}',
        'k:{"port":443}',
        'k:{"port":8080}',
    ]
