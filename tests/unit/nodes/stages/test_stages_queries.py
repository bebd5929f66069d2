"""Values out of objects: the short way over fields against jq itself, and what failing means."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.nodes.stages.queries import CelQuery, JqProgram, QueryError, Subject, jq_query

POD = {
    "metadata": {"annotations": {"a.example/x": "1"}, "finalizers": []},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}

KEYS = st.sampled_from(["a", "b", "c d"])
STEPS = st.lists(
    st.one_of(KEYS.map(lambda k: f'["{k}"]'), st.sampled_from(["[]", ".a", ".b", ".[]"])), min_size=1
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text("xy", max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


@given(STEPS, st.dictionaries(KEYS, JSON, max_size=3))
def test_following_fields_gives_what_jq_gives(steps: list[str], obj: Any) -> None:
    source = "." + "".join(steps).removeprefix(".")
    assert jq_query(source).values(Subject(obj)) == JqProgram(source).values(Subject(obj))


@pytest.mark.parametrize(
    ("source", "values"),
    [
        (".status.podIP", [None]),
        ('.metadata.annotations["a.example/x"]', ["1"]),
        (".spec.containers.[].name", ["a", "b"]),
        ('.status.conditions.[] | select( .type == "Ready" ) | .status', ["True"]),
        (".status.initContainerStatuses.[].state", None),
        (".spec.containers.name", None),
    ],
)
def test_a_filter_finds_values_or_nothing(source: str, values: list[Any] | None) -> None:
    assert jq_query(source).values(Subject(POD)) == values


def test_cel_sees_the_object_as_self() -> None:
    assert CelQuery("self.spec.containers.size() == 2").values(Subject(POD)) == [True]
    assert CelQuery("self.spec.absent.size() == 2").values(Subject(POD)) is None


@pytest.mark.parametrize("compile_", [jq_query, CelQuery])
def test_what_does_not_compile_is_told_in_one_line(compile_: Any) -> None:
    with pytest.raises(QueryError) as error:
        compile_(".spec[ |")
    assert "\n" not in str(error.value)
