"""What pods and nodes declare to the plugins that upstream does not have: names, and what is said of wrong ones.

Annotations and labels all end in the domain `scheduling.pilothouse.dev`. One that cannot be read counts as not given,
and an event on the pod says what it should look like (`teller`).
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api.types import Obj

DOMAIN = "scheduling.pilothouse.dev"


class InvalidAnnotation(ValueError):
    """Says which annotation, and what it should look like."""

    def __init__(self, key: str, text: str, wanted: str) -> None:
        super().__init__(f'annotation {key} must be {wanted}, not "{text}"')


def annotations_of(pod: Obj) -> Mapping[str, str]:
    return pod["metadata"].get("annotations") or {}


def unknown_args(args: Obj, known: tuple[str, ...]) -> None:
    """ValueError for arguments that a plugin of ours does not have."""
    for name in args:
        if name not in (*known, "apiVersion", "kind"):
            raise ValueError(f'unknown argument "{name}": it takes {", ".join(known) or "none"}')
