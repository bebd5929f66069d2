"""Shuffle sharding: a flow may use a hand of few queues among many, so that a busy one spoils few others' hands
(k8s.io/apiserver/pkg/util/shufflesharding; KEP-1040)."""

from __future__ import annotations

import hashlib


def flow_hash(schema: str, distinguisher: str) -> int:
    """64 bits of a flow."""
    text = f"{len(schema)}:{schema}{len(distinguisher)}:{distinguisher}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def hand(entropy: int, deck: int, size: int) -> list[int]:
    """`size` different numbers below `deck`, from 64 bits of chance.

    Worked example: a deck of 5 and a hand of 2. The first card is entropy % 5 among 0-4, the second is
    (entropy // 5) % 4 among the four that are left: what is not smaller than the first card moves up by one."""
    cards: list[int] = []
    for drawn in range(min(size, deck)):
        entropy, card = divmod(entropy, deck - drawn)
        for taken in sorted(cards):
            if card >= taken:
                card += 1
        cards.append(card)
    return cards
