"""`pilothouse simulate --pods FILE`: where pods would go, and which nodes would have to be added."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli import cluster_objects, running, tables
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import BOOL, INT, STRING, STRINGS

if TYPE_CHECKING:
    from rich.table import Table

    from pilothouse.api.types import Obj
    from pilothouse.whatif.growing import Template
    from pilothouse.whatif.simulation import Placement, Simulation

_OUTPUTS = ("", "wide", "json")
_UNPLACED = 1


def _run(values: Values) -> int:
    if values["output"] not in _OUTPUTS:
        raise UsageError(f'--output: "{values["output"]}": wide, json, or nothing for a summary')
    config = cluster_objects.configuration(values)
    from pilothouse.scheduler.config.profiles import ProfileError
    from pilothouse.whatif.kinds import BadObject
    from pilothouse.whatif.listing import FOR_SIMULATIONS
    from pilothouse.whatif.simulation import simulate

    pods, templates = _objects(values["pods"]), _templates(values["add-nodes"])
    snapshot = cluster_objects.load(values, config, more=FOR_SIMULATIONS)
    try:
        found = simulate(snapshot, pods, config=config, templates=templates, seed=values["seed"])
    except (BadObject, ProfileError) as error:
        raise Failure(str(error)) from None
    if found.foreign:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.foreign.items()))
        running.warn([f"left out, as no built-in kinds: {kinds}"])
    if values["output"] == "json":
        _json(found)
    else:
        _show(found, wide=values["output"] == "wide")
    return _UNPLACED if values["fail-on-unplaced"] and found.unplaced else 0


def _objects(files: tuple[str, ...]) -> list[Obj]:
    """Of files and folders; - is stdin. Failure."""
    from pilothouse.whatif.kinds import BadObject
    from pilothouse.whatif.reading import parse, read

    found: list[Obj] = []
    for name in files:
        try:
            found += parse(sys.stdin.buffer.read(), "stdin") if name == "-" else read(Path(name).expanduser())
        except BadObject as error:
            raise Failure(str(error)) from None
        except OSError as error:
            raise Failure(f"--pods: {name}: {error.strerror or error}") from None
    return found


def _templates(files: tuple[str, ...]) -> list[Template]:
    from pilothouse.whatif.growing import Template
    from pilothouse.whatif.kinds import BadObject

    try:
        return [Template.of(node) for node in _objects(files)]
    except BadObject as error:
        raise Failure(f"--add-nodes: {error}") from None


def _json(found: Simulation) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


# -- for people -----------------------------------------------------------------------------------------------


def _show(found: Simulation, *, wide: bool) -> None:
    placed = len(found.placements) - len(found.unplaced)
    if placed:
        tables.show(_pods(found) if wide else _nodes(found))
        print()
    if found.unplaced:
        tables.show(_unplaced(found))
        print()
    for each in found.preempted:
        print(f"Preempted: {each.namespace}/{each.name} on {each.node}")
    for added in found.added:
        print(f"To add: {added.count} × {added.template}, cost {added.cost:g}")
    print(f"{placed} of {len(found.placements)} pods find a place.")


def _pods(found: Simulation) -> Table:
    table = tables.plain("NAMESPACE", "POD", "OF", "NODE")
    for each in found.placements:
        if each.state == "bound":
            table.add_row(each.namespace, each.name, each.owner, _node(each))
    return table


def _nodes(found: Simulation) -> Table:
    """How many pods of which workload go to which node."""
    counts: dict[tuple[str, str, str], int] = {}
    for each in found.placements:
        if each.state == "bound":
            key = (_node(each), each.namespace, each.owner or f"Pod/{each.name}")
            counts[key] = counts.get(key, 0) + 1
    table = tables.plain("NODE", "NAMESPACE", "OF", "PODS", right=("PODS",))
    for (node, namespace, owner), count in sorted(counts.items()):
        table.add_row(node, namespace, owner, str(count))
    return table


def _node(placement: Placement) -> str:
    return f"{placement.node} (new)" if placement.added else placement.node


def _unplaced(found: Simulation) -> Table:
    """Pods of one workload that stay out for one reason are one line."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for each in found.unplaced:
        key = (each.state, each.namespace, each.owner or f"Pod/{each.name}", each.message)
        counts[key] = counts.get(key, 0) + 1
    table = tables.plain("STATE", "NAMESPACE", "OF", "PODS", "WHY", right=("PODS",))
    for (state, namespace, owner, why), count in counts.items():
        table.add_row(state, namespace, owner, str(count), why)
    return table


COMMAND = Command(
    name="simulate",
    summary="Where pods would go, and which nodes would have to be added.",
    run=_run,
    description=(
        "Take a cluster as it is, add pods (or Deployments, StatefulSets, Jobs, DaemonSets, … with theirs) and say "
        "where the scheduler would put them, which would stay behind and why, and whom they would push out. Nothing "
        "is written to the cluster. With --add-nodes, say how few nodes like a template would have to be added so that "
        "all find a place. The same seed gives the same answer."
    ),
    examples="""
        pilothouse simulate --pods deployment.yaml
        kubectl get nodes,pods,pvc,pv -A -o yaml > cluster.yaml
        pilothouse simulate --snapshot cluster.yaml --pods deployment.yaml --add-nodes small.yaml,large.yaml
    """,
    groups=(
        cluster_objects.GROUP,
        Group(
            "What if",
            (
                Flag(
                    "pods",
                    STRINGS,
                    (),
                    "Files or folders of pods and workloads, and of what they need (claims, classes); - is stdin.",
                    label="PATH,…",
                ),
                Flag(
                    "add-nodes",
                    STRINGS,
                    (),
                    "Files of Nodes that more can be had of. Annotations: pilothouse.dev/cost of one (default 1), "
                    "pilothouse.dev/max-nodes.",
                    label="PATH,…",
                ),
                Flag("seed", INT, 0, "Decides between nodes that are equally good."),
            ),
        ),
        Group(
            "Output",
            (
                Flag("output", STRING, "", "wide (every pod), json, or nothing for a summary.", short="o"),
                Flag("fail-on-unplaced", BOOL, False, "Exit with 1 when a pod finds no place."),
            ),
        ),
    ),
)
