"""Which warnings an answer carries (k8s.io/apiserver/pkg/endpoints/filters/warning_test.go)."""

from __future__ import annotations

from pilothouse.apiserver.warnings import ITEM_MAX, TOTAL_MAX, recorded


def test_each_once_and_none_that_says_nothing() -> None:
    assert recorded(["a", "", "b", "a"]) == ["a", "b"]


def test_one_long_text_is_whole_as_long_as_all_fit() -> None:
    assert recorded(["x" * 4000, "y"]) == ["x" * 4000, "y"]


def test_too_many_are_cut_and_left_out() -> None:
    kept = recorded(f"{n}" + "x" * 1000 for n in range(1000))
    assert {len(text) for text in kept} == {ITEM_MAX}
    assert len(kept) == TOTAL_MAX // ITEM_MAX
