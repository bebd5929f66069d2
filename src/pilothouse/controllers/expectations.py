"""What a controller did but has not yet seen in its informers (client-go ControllerExpectations).

Without it a controller that made three pods and is woken before its informer shows them would make three
more. A key is satisfied when all is seen, or after five minutes, when something must have gone wrong.

    expect_creations(key, 3) → 3 ── creation_observed ×3 ──▶ 0: satisfied
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.kit.world import World

TIMEOUT_S = 300.0


@dataclass(slots=True)
class _Expected:
    creations: int
    deletions: set[str] = field(default_factory=set)
    since_s: float = 0.0


class Expectations:
    """By the key of the controlling object. Deletions are expected by UID, so that none is counted twice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._expected: dict[str, _Expected] = {}

    def satisfied(self, key: str) -> bool:
        expected = self._expected.get(key)
        if expected is None or (expected.creations <= 0 and not expected.deletions):
            return True
        return self._world.clock.monotonic() - expected.since_s > TIMEOUT_S

    def expect(self, key: str, creations: int, deletions: set[str]) -> None:
        """Both at once; what was expected before is forgotten."""
        self._expected[key] = _Expected(creations, deletions, self._world.clock.monotonic())

    def expect_creations(self, key: str, count: int) -> None:
        self.expect(key, count, set())

    def expect_deletions(self, key: str, uids: set[str]) -> None:
        self.expect(key, 0, uids)

    def creation_observed(self, key: str) -> None:
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations -= 1

    def deletion_observed(self, key: str, uid: str) -> None:
        expected = self._expected.get(key)
        if expected is not None:
            expected.deletions.discard(uid)

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)
