"""Answers for short texts are kept, those for long ones never."""

from __future__ import annotations

from pilothouse.kit.caching import LONGEST, cached_texts


def test_long_texts_leave_nothing_behind() -> None:
    asked: list[tuple[str, bool]] = []

    @cached_texts(4)
    def size(text: str, *, twice: bool = False) -> int:
        """How long a text is."""
        asked.append((text[:1], twice))
        return len(text) * (2 if twice else 1)

    for _ in range(2):
        assert size("ab") == 2
        assert size("ab", twice=True) == 4
        assert size("x" * LONGEST) == LONGEST
        assert size("y" * (LONGEST + 1)) == LONGEST + 1
    assert asked == [("a", False), ("a", True), ("x", False), ("y", False), ("y", False)]
    assert size.__doc__ == "How long a text is."
