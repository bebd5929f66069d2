from random import Random

import pytest

from pilothouse.kit.backoff import Backoff, KeyedBackoff, jittered


def test_steps_grow_to_the_cap_and_stay() -> None:
    backoff = Backoff(1.0, factor=3.0, steps=10, cap_s=20.0)
    assert [backoff.step(Random(1)) for _ in range(5)] == [1.0, 3.0, 9.0, 20.0, 20.0]


def test_after_the_last_step_nothing_grows() -> None:
    backoff = Backoff(1.0, factor=2.0, steps=2)
    assert [backoff.step(Random(1)) for _ in range(4)] == [1.0, 2.0, 4.0, 4.0]


def test_jitter_only_lengthens() -> None:
    random = Random(3)
    delays = [jittered(10.0, 0.5, random) for _ in range(200)]
    assert min(delays) >= 10.0
    assert 14.0 < max(delays) <= 15.0
    backoff = Backoff(1.0, jitter=0.1, steps=1)
    assert 1.0 <= backoff.step(random) <= 1.1


def test_keys_back_off_on_their_own() -> None:
    backoff = KeyedBackoff(10, 300)
    assert backoff.get("pod") == 0
    for now_s in (0, 10, 30):
        backoff.next("pod", now_s)
    assert backoff.get("pod") == 40
    assert backoff.waits("pod", 30, 69)
    assert not backoff.waits("pod", 30, 70)
    assert backoff.waits_since_update("pod", 31)
    assert not backoff.waits("other", 30, 31)
    for _ in range(9):
        backoff.next("pod", 31)
    assert backoff.get("pod") == 300


def test_quiet_keys_start_anew_and_are_collected() -> None:
    backoff = KeyedBackoff(10, 60)
    backoff.next("pod", 0)
    backoff.next("pod", 1)
    backoff.next("pod", 200)
    assert backoff.get("pod") == pytest.approx(10)
    backoff.collect(400)
    assert len(backoff) == 0
