"""Sets of completion indexes as a job's status writes them, `0-2,5` (pkg/controller/job/indexed_job_utils.go).

{0, 1, 2, 5, 6}  ◀──parse── "0-2,5,6"      two in a row stand apart, three or more as a range
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilothouse.api.types import Obj

ANNOTATION = "batch.kubernetes.io/job-completion-index"
UNKNOWN = -1


def parse(text: str, completions: int) -> set[int]:
    """The indexes below `completions`; malformed parts count for nothing."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    return ",".join(_text(first, last) for first, last in _runs(sorted(indexes)))


def _text(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}{',' if last == first + 1 else '-'}{last}"


def _runs(indexes: list[int]) -> Iterator[tuple[int, int]]:
    start = end = UNKNOWN
    for index in indexes:
        if start == UNKNOWN:
            start = index
        elif index != end + 1:
            yield start, end
            start = index
        end = index
    if start != UNKNOWN:
        yield start, end


def of_pod(pod: Obj) -> int:
    """A pod's completion index; UNKNOWN without a good one."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    return int(text) if text.isdigit() else UNKNOWN


def of_pods(pods: Iterable[Obj]) -> set[int]:
    return {of_pod(pod) for pod in pods} - {UNKNOWN}
