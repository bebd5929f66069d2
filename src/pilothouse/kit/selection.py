"""Which loops of a component run: `--controllers` as upstream reads it (k8s.io/controller-manager/app
IsControllerEnabled)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping


def selected(
    spec: Iterable[str],
    served: Collection[str],
    *,
    known: Collection[str],
    aliases: Mapping[str, str],
    off: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> list[str]:
    """Those of `served`, in their order, that `spec` selects: `*` all but those `off` by default, `name` one more,
    `-name` one less; the first mention of a name counts. ValueError for a name that is not `known`, or that is asked
    for and not served, unless it runs `elsewhere`."""
    wanted: dict[str, bool] = {}
    everything = False
    for part in spec:
        if part == "*":
            everything = True
            continue
        name = _canonical(part.removeprefix("-"), {*known, *served}, aliases)
        on = not part.startswith("-")
        if on and name not in served and name not in elsewhere:
            raise ValueError(
                f"--controllers: {name} is not served yet; served are {', '.join(sorted(served))}"
            )
        wanted.setdefault(name, on)
    return [name for name in served if wanted.get(name, everything and name not in off)]


def _canonical(name: str, known: Collection[str], aliases: Mapping[str, str]) -> str:
    found = aliases.get(name, name)
    if found in known:
        return found
    near = difflib.get_close_matches(name, [*known, *aliases], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f'--controllers: "{name}" is not in the list of known controllers{hint}')
