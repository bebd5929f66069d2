"""What must hold of a history: pure, so that it is tested itself."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.simulation.load import Ledger, Seen


def faults_of(
    ledger: Ledger,
    histories: Mapping[str, Sequence[Seen]],
    lists: Mapping[str, Mapping[str, str]],
    before: Mapping[str, str],
) -> list[str]:
    """What is wrong; [] is what we want. `lists` has name → token, as each way of reading tells at the end; `before`
    the same at the beginning."""
    found = [*ledger.stale]
    for name, history in histories.items():
        found += [f"{name}: {fault}" for fault in _faults_of_one(ledger, history)]
    found += _differences(histories)
    for reader, listed in lists.items():
        for watcher, history in histories.items():
            state = fold(history, before)
            if state != listed:
                wrong = sorted(set(state.items()) ^ set(listed.items()))[:4]
                found.append(f"{watcher} ends with something else than {reader} lists: {wrong}")
    return found


def _faults_of_one(ledger: Ledger, history: Sequence[Seen]) -> Iterable[str]:
    events = [seen for seen in history if seen.type not in ("LIST", "DELETED")]
    counts = Counter(seen.token for seen in events)
    for before, after in itertools.pairwise(history):
        listed = before.revision == after.revision and before.type in ("LIST", "ADDED")
        if after.revision <= before.revision and not listed:
            yield f"revision {after.revision} ({after.type} {after.name}) came after {before.revision}"
    for token, revision in ledger.acknowledged.items():
        if counts[token] != 1:
            yield f"acknowledged write {token} at {revision} was seen {counts[token]} times"
    for token in ledger.refused:
        if counts[token]:
            yield f"refused write {token} was seen: {ledger.refused[token]}"
    for token in ledger.unknown:
        if counts[token] > 1:
            yield f"write {token} of unknown outcome was seen {counts[token]} times"
    issued = ledger.acknowledged.keys() | ledger.unknown.keys()
    for token in counts:
        if token and token not in issued and token not in ledger.refused:
            yield f"nobody wrote {token}"
    gone = Counter(seen.uid for seen in history if seen.type == "DELETED")
    for uid in ledger.deleted:
        if gone[uid] != 1:
            yield f"the acknowledged deletion of {uid} was seen {gone[uid]} times"
    for uid, times in gone.items():
        if times > 1 or uid not in ledger.deleted | ledger.maybe_deleted:
            yield f"{uid} was seen deleted {times} times, and nobody deleted it so often"


def _differences(histories: Mapping[str, Sequence[Seen]]) -> Iterable[str]:
    """All watchers that began with the same list see the same; the others the same after their list."""
    first_name, first = next(iter(histories.items()))
    for name, history in histories.items():
        since = max(_listed_at(first), _listed_at(history))
        one = [seen for seen in first if seen.revision > since]
        other = [seen for seen in history if seen.revision > since]
        if one != other:
            at = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            yield f"{first_name} and {name} differ at {one[at : at + 1]} and {other[at : at + 1]}"


def _listed_at(history: Sequence[Seen]) -> int:
    return max((seen.revision for seen in history if seen.type == "LIST"), default=0)


def fold(history: Iterable[Seen], before: Mapping[str, str]) -> dict[str, str]:
    """The state that the events add up to."""
    state = dict(before)
    for seen in history:
        if seen.type == "LIST":
            state.clear()
        elif seen.type == "DELETED":
            state.pop(seen.name, None)
        else:
            state[seen.name] = seen.token
    return state


def settle(ledger: Ledger, history: Sequence[Seen]) -> None:
    """Forget what was found right, so that what is seen again later is something that nobody wrote. Writes of unknown
    outcome that were not seen stay: they may come yet."""
    seen_tokens = {seen.token for seen in history}
    seen_deleted = {seen.uid for seen in history if seen.type == "DELETED"}
    ledger.acknowledged.clear()
    ledger.refused.clear()
    ledger.deleted.clear()
    ledger.maybe_deleted -= seen_deleted
    for token in seen_tokens & ledger.unknown.keys():
        del ledger.unknown[token]
