"""Which warnings an answer carries (k8s.io/apiserver/pkg/endpoints/filters/warning.go): each text once, and all
together no more than a client can take in its headers."""

from __future__ import annotations

from collections.abc import Iterable

TOTAL_MAX = 4 * 1024
ITEM_MAX = 256
"""Characters. Past the total every text is cut to the second length, and what still does not fit is left out."""


def recorded(texts: Iterable[str]) -> list[str]:
    unique = list(dict.fromkeys(filter(None, texts)))
    if sum(map(len, unique)) <= TOTAL_MAX:
        return unique
    kept: list[str] = []
    written = 0
    for text in unique:
        if written >= TOTAL_MAX:
            break
        kept.append(text[:ITEM_MAX])
        written += len(kept[-1])
    return kept
