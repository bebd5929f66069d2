"""What pods do to their neighbours on a node, and how they suffer from them. Pure rules.

    annotation scheduling.pilothouse.dev/pressure      memory-bandwidth=12G,cache=20Mi
    annotation scheduling.pilothouse.dev/sensitivity   memory-bandwidth=0.6,cache=0.3
    annotation scheduling.pilothouse.dev/class         web     (for slowdowns that are measured: `scheduler.slowdowns`)
    node label capacity.scheduling.pilothouse.dev/KIND 80G

    kind               pressure and capacity       a node's capacity where no label says it
    cpu                cores kept busy             what it has to allot
    memory-bandwidth   bytes a second              100G
    cache              bytes of the last level     32Mi
    disk               bytes a second              500M
    network            bytes a second              1250M

A sensitivity is how much longer, as a share, a pod takes when others take up all of a node's capacity. Without one, a
pod that presses on something is taken to suffer as much (1).

The slowdown of a pod by one neighbour, in thousandths, is the sum over kinds of sensitivity x pressure / capacity.

Two numbers, as one cannot stand for both: how much a program presses and how much it suffers are hardly correlated
(Tang, Mars, Soffa, "Contentiousness vs. Sensitivity", EXADAPT 2011). That the two predict the slowdown of a pair is
Bubble-Up's rule (Mars et al., MICRO 2011); there the sensitivity is a curve, here it is a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import DOMAIN, InvalidAnnotation, annotations_of

PRESSURE = f"{DOMAIN}/pressure"
SENSITIVITY = f"{DOMAIN}/sensitivity"
CLASS = f"{DOMAIN}/class"
CAPACITY = f"capacity.{DOMAIN}/"
CPU = "cpu"
CAPACITIES: Mapping[str, str] = {
    "memory-bandwidth": "100G",
    "cache": "32Mi",
    "disk": "500M",
    "network": "1250M",
}
KINDS = (CPU, *CAPACITIES)
WHOLE = 1000
"""Sensitivities and slowdowns count in thousandths."""
PAIR_MAX = 10 * WHOLE
"""No neighbour is taken to be worse than this, so that sums stay in range."""
_AMOUNT_MAX = 10**14


class Declared(NamedTuple):
    """By kind, in the order of `KINDS`: thousandths of a core, else bytes (a second); and thousandths."""

    pressure: tuple[int, ...] = (0,) * len(KINDS)
    sensitivity: tuple[int, ...] = (0,) * len(KINDS)
    class_name: str = ""


def declared_of(pod: Obj) -> Declared | None:
    """None for a pod that declares nothing, or nothing that can be read."""
    given = annotations_of(pod)
    if not (PRESSURE in given or SENSITIVITY in given or CLASS in given):
        return None
    try:
        return read(given)
    except InvalidAnnotation:
        return None


def read(given: Mapping[str, str]) -> Declared:
    """InvalidAnnotation."""
    return _read(given.get(PRESSURE, ""), given.get(SENSITIVITY, ""), given.get(CLASS, ""))


@lru_cache(maxsize=4096)
def _read(pressure: str, sensitivity: str, class_name: str) -> Declared:
    """Pods of one template share what comes out."""
    presses = {kind: _amount(kind, text, pressure) for kind, text in _parts(PRESSURE, pressure).items()}
    suffers = {kind: _share(text, sensitivity) for kind, text in _parts(SENSITIVITY, sensitivity).items()}
    return Declared(
        tuple(presses.get(kind, 0) for kind in KINDS),
        tuple(suffers.get(kind, WHOLE if presses.get(kind) else 0) for kind in KINDS),
        class_name,
    )


def _parts(key: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        kind, sign, value = part.partition("=")
        if not sign or kind not in KINDS:
            raise InvalidAnnotation(key, text, f"KIND=NUMBER,… with kinds of {', '.join(KINDS)}")
        found[kind] = value
    return found


def amount(kind: str, text: str) -> int:
    """A pressure or capacity in whole units (CPU in thousandths). ValueError."""
    nano = quantity.parse(text).nano
    if nano < 0:
        raise ValueError("it is negative")
    return min(nano // (10**6 if kind == CPU else 10**9), _AMOUNT_MAX)


def _amount(kind: str, value: str, text: str) -> int:
    try:
        return amount(kind, value)
    except ValueError:
        raise InvalidAnnotation(PRESSURE, text, "KIND=QUANTITY,… such as cpu=2,cache=20Mi") from None


def _share(value: str, text: str) -> int:
    try:
        share = Decimal(value)
    except ArithmeticError:
        share = Decimal(-1)
    if not share.is_finite() or not 0 <= share <= 10:
        raise InvalidAnnotation(SENSITIVITY, text, "KIND=SHARE,… with shares from 0 to 10, such as cache=0.3")
    return int(share * WHOLE)


def suffering(one: Declared, other: Declared, capacity: tuple[int, ...]) -> int:
    """The plain rule: how much, in thousandths, one pod is slowed down by another on a node of such capacities."""
    lost = sum(s * p // max(c, 1) for s, p, c in zip(one.sensitivity, other.pressure, capacity, strict=True))
    return min(lost, PAIR_MAX)
