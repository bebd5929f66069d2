"""Index lists of an indexed Job: `1,3-5,7` (pkg/apis/batch/validation validateIndexesFormat)."""

from __future__ import annotations

from pilothouse.api.field import go_quote

_INT32 = 2**31


def parse(text: str, completions: int) -> list[tuple[int, int]]:
    """The intervals, both ends included. ValueError in upstream's words."""
    found: list[tuple[int, int]] = []
    if not text:
        return found
    for part in text.split(","):
        low, high = interval(part, completions)
        if found and found[-1][1] >= low:
            raise ValueError(f"non-increasing order, previous: {found[-1][1]}, current: {low}")
        found.append((low, high))
    return found


def total(text: str, completions: int) -> int:
    return sum(high - low + 1 for low, high in parse(text, completions))


def interval(text: str, completions: int) -> tuple[int, int]:
    ends = text.split("-")
    if len(ends) > 2:
        raise ValueError(
            f"the fragment {go_quote(text)} violates the requirement that an index interval can have at most two "
            "parts separated by '-'"
        )
    low = _index(ends[0], completions)
    if len(ends) == 1:
        return low, low
    high = _index(ends[1], completions)
    if low >= high:
        raise ValueError(f"non-increasing order, previous: {low}, current: {high}")
    return low, high


def _index(text: str, completions: int) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or not -_INT32 <= int(text) < _INT32:
        raise ValueError(f"cannot convert string to integer for index: {go_quote(text)}")
    if int(text) >= completions:
        raise ValueError(f"too large index: {go_quote(text)}")
    return int(text)


def overlap(completed: str, failed: str, completions: int) -> str:
    """Why the two lists cannot both be, "" when they can; malformed parts are somebody else's error."""
    mine, others = _good(completed, completions), _good(failed, completions)
    for low, high in mine:
        for other_low, other_high in others:
            if low <= other_high and other_low <= high:
                return f"failedIndexes and completedIndexes overlap at index: {max(low, other_low)}"
    return ""


def _good(text: str, completions: int) -> list[tuple[int, int]]:
    found = []
    for part in text.split(",") if text else ():
        try:
            found.append(interval(part, completions))
        except ValueError:
            continue
    return found
