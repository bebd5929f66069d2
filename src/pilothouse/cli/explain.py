"""`pilothouse explain pod NAME`: why a pod goes where it goes, or nowhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pilothouse.cli import cluster_objects, tables
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import COUNT, STRING

if TYPE_CHECKING:
    from pilothouse.scheduler.explain import Explanation, NodeReport, Preemption, Refusal

_OUTPUTS = ("", "json")


def _run(values: Values) -> None:
    name = _name(values.arguments)
    if values["output"] not in _OUTPUTS:
        raise UsageError(f'--output: "{values["output"]}": json, or nothing for tables')
    config = cluster_objects.configuration(values)
    snapshot = cluster_objects.load(values, config)
    from pilothouse.api.errors import ApiError
    from pilothouse.scheduler.config.profiles import ProfileError
    from pilothouse.whatif.explaining import explain

    try:
        found = explain(snapshot, values["namespace"], name, config=config)
    except (ApiError, ProfileError) as error:
        raise Failure(f"{error}") from None
    if values["output"] == "json":
        _json(found)
    else:
        _show(found, values["nodes"])


def _name(arguments: tuple[str, ...]) -> str:
    """Of `pod NAME` or `pod/NAME`."""
    words = [word for argument in arguments for word in argument.split("/")]
    if len(words) != 2 or words[0] not in ("pod", "pods", "po") or not words[1]:
        raise UsageError("say which pod: pilothouse explain pod NAME")
    return words[1]


def _json(found: Explanation) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


# -- for people -----------------------------------------------------------------------------------------------


def _show(found: Explanation, most: int) -> None:
    for line in _head(found):
        print(line)
    fitting = [report for report in found.nodes if report.fits]
    refused = [report for report in found.nodes if not report.fits]
    if fitting:
        print()
        _show_scores(found, fitting[: most or None])
        _more(len(fitting), most)
    if refused:
        print()
        _show_refusals(refused[: most or None])
        _more(len(refused), most)
    if found.preemption is not None and found.preemption.node:
        print()
        _show_preemption(found.preemption)


def _more(there: int, most: int) -> None:
    if most and there > most:
        print(f"… and {there - most} more (--nodes 0 shows all)")


def _head(found: Explanation) -> list[str]:
    lines = [f"Pod {found.namespace}/{found.name}, scheduler {found.scheduler}"]
    if found.node:
        lines.append(f"It is on {found.node}. What follows looks at it as if it were not.")
    lines += _queue(found)
    if found.best:
        which = f"one of {', '.join(found.best)}, by chance" if len(found.best) > 1 else found.best[0]
        lines.append(f"It {'would go' if not found.node else 'would now go'} to {which}.")
    elif found.message:
        lines.append(f"It fits nowhere: {found.message}")
    if found.percentage < 100:
        lines.append(
            f"percentageOfNodesToScore is {found.percentage}: of the nodes that fit some are looked at only."
        )
    if found.extenders:
        lines.append(f"Extenders have a say and were not asked: {', '.join(found.extenders)}")
    return lines


def _queue(found: Explanation) -> list[str]:
    queue = found.queue
    lines = []
    if not found.node:
        since = f" since {queue.since}" if queue.since else ""
        gate = f" by {queue.gate}" if queue.gate else ""
        lines.append(f"It is {queue.place}{gate}{since}.")
    if found.nominated:
        lines.append(f"Room is being made for it on {found.nominated}.")
    if queue.message and not queue.gate and queue.message != found.message:
        lines.append(f"Its last attempt said: {queue.message}")
    return lines


def _show_scores(found: Explanation, reports: list[NodeReport]) -> None:
    """One column for each plugin, unless none of them differs; each as raw, normalized and weighted."""
    plugins = [score.plugin for score in reports[0].scores]
    weights = {score.plugin: score.weight for score in reports[0].scores}
    table = tables.plain("NODE", "TOTAL", *(f"{name} ×{weights[name]}" for name in plugins), right=("TOTAL",))
    for report in reports:
        cells = [_cell(score.raw, score.normalized, score.weighted) for score in report.scores]
        style = "green" if report.node in found.best else None
        table.add_row(report.node, str(report.total), *cells, style=style)
    tables.show(table)
    print("Each score: what was counted → from 0 to 100 → times the weight.")
    if found.skipped:
        print(f"These would not tell the nodes apart: {', '.join(found.skipped)}")


def _cell(raw: int, normalized: int, weighted: int) -> str:
    counted = f"{raw} → " if raw != normalized else ""
    return f"{counted}{normalized} → {weighted}"


def _show_refusals(reports: list[NodeReport]) -> None:
    table = tables.plain("NODE", "REFUSED BY", "REASON", "EVICTION HELPS", "ALSO")
    for report in reports:
        table.add_row(
            report.node,
            "\n".join(dict.fromkeys(refusal.plugin for refusal in report.refusals)),
            "\n".join(refusal.reason for refusal in report.refusals),
            "maybe" if any(refusal.resolvable for refusal in report.refusals) else "no",
            "\n".join(_also(refusal) for refusal in report.also),
        )
    tables.show(table)


def _also(refusal: Refusal) -> str:
    return f"{refusal.plugin}: {refusal.reason}"


def _show_preemption(found: Preemption) -> None:
    print(f"Preemption would make room on {found.node}.")
    table = tables.plain("NODE", "BUDGETS BROKEN", "VICTIMS", right=("BUDGETS BROKEN",))
    for candidate in found.candidates:
        victims = (f"{v.namespace}/{v.name} (priority {v.priority})" for v in candidate.victims)
        table.add_row(candidate.node, str(candidate.violations), "\n".join(victims))
    tables.show(table)


COMMAND = Command(
    name="explain",
    summary="Why a pod goes where it goes, or nowhere: every node, every rule.",
    run=_run,
    argument="pod NAME",
    description=(
        "Say for every node which plugin refuses a pod and why, or what each score is; where the pod would go, and "
        "what preemption would do. The scheduler's own rules are asked, here, about objects that are read with the "
        "rights of the kubeconfig's user. A pod that has a node is looked at as if it had none. A scheduler that runs "
        "alone says the same, and what its queue knows, at /explain/namespaces/NAMESPACE/pods/NAME."
    ),
    examples="""
        pilothouse explain pod web-1
        pilothouse explain pod web-1 -n shop -o json
        pilothouse explain pod/web-1 --snapshot cluster.yaml --nodes 0
    """,
    groups=(
        cluster_objects.GROUP,
        Group(
            "Output",
            (
                Flag("namespace", STRING, "default", "The pod's namespace.", short="n"),
                Flag("output", STRING, "", "json, or nothing for tables.", short="o"),
                Flag("nodes", COUNT, 20, "How many nodes a table shows; 0: all."),
            ),
        ),
    ),
)
