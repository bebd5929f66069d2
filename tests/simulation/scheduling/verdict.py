"""What must hold. Every function returns what is wrong, in sentences; [] is what we want."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from pilothouse.api.types import Obj
from pilothouse.scheduler.gangs import MINIMUM_LABEL, NAME_LABEL
from tests.simulation.scheduling.history import History, State
from tests.simulation.scheduling.rules import Picture, labels_of, refusal, selects
from tests.simulation.scheduling.witness import Cut, Decision, Preemption, Witness

_REFUSED = re.compile(r"0/(\d+) nodes are available: .+\.")
_OF_A_GANG = ("pod group is unschedulable", "pod group is waiting for preemption to complete")


def key_of(pod: Obj) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _ended(pod: Obj) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _uid(pod: Obj) -> str:
    return str(pod["metadata"]["uid"])


def _priority(pod: Obj) -> int:
    return int(pod["spec"].get("priority") or 0)


def picture_of(pods: State, nodes: State, claims: State, volumes: State, classes: State) -> Picture:
    placed = {_uid(p): (p, p["spec"]["nodeName"]) for p in pods.values() if _has_room(p)}
    return Picture(nodes, placed, claims, volumes, classes)


def _has_room(pod: Obj) -> bool:
    return bool(pod["spec"].get("nodeName")) and not _ended(pod)


def _known(history: History, cut: Cut, assumed: dict[str, str]) -> tuple[Picture, dict[str, Obj]]:
    """The cluster of a cut, and all its pods by UID."""
    kinds = ("pods", "nodes", "persistentvolumeclaims", "persistentvolumes", "storageclasses")
    states = [history.at(kind, cut.get(kind, 0)) for kind in kinds]
    by_uid = {_uid(pod): pod for pod in states[0].values()}
    picture = picture_of(states[0], states[1], states[2], states[3], states[4])
    for uid, node in assumed.items():
        pod = by_uid.get(uid)
        if (
            pod is not None
            and not pod["spec"].get("nodeName")
            and not pod["metadata"].get("deletionTimestamp")
        ):
            picture.pods[uid] = (pod, node)
    return picture, by_uid


# -- decisions --------------------------------------------------------------------------------------------


def decisions(history: History, witnesses: Sequence[Witness]) -> Iterator[str]:
    """No pod is bound to a node that it does not fit, as far as its scheduler could know."""
    for witness in witnesses:
        for at_s, uid, decision, node in witness.binds:
            if decision is None or decision.node != node:
                yield f"{witness.who} at {at_s:.3f} bound {uid} to {node} without having decided so"
                continue
            why = _wrong(history, decision)
            if why:
                yield f"{decision.who} at {decision.at_s:.3f} put {decision.pod} on {node}, but {why}"
            why = _in_part(history, witness, decision)
            if why:
                yield f"{decision.who} at {decision.at_s:.3f} put {decision.pod} on {node}, but {why}"


def _wrong(history: History, decision: Decision) -> str:
    picture, by_uid = _known(history, decision.cut, decision.assumed)
    pod = by_uid.get(decision.uid)
    if pod is None:
        return "it was gone"
    if pod["metadata"].get("deletionTimestamp"):
        return "it was going"
    if pod["spec"].get("nodeName"):
        return f"it was on {pod['spec']['nodeName']}"
    if pod["spec"].get("schedulingGates"):
        return "it had gates"
    picture.pods.pop(decision.uid, None)
    return refusal(pod, decision.node, picture)


def landings(history: History, witnesses: Sequence[Witness]) -> Iterator[str]:
    """No pod is bound twice, and none but by those who decided it."""
    asked = {(uid, node) for witness in witnesses for _, uid, _, node in witness.binds}
    for change in history.of("pods"):
        if change.new is None:
            continue
        node = change.new["spec"].get("nodeName")
        same = change.old is not None and _uid(change.old) == _uid(change.new)
        before = change.old["spec"].get("nodeName") if same and change.old is not None else None
        if before and node != before:
            yield f"pod {change.key} went from {before} to {node} at revision {change.revision}"
        if same and node and not before and (_uid(change.new), node) not in asked:
            yield f"pod {change.key} was bound to {node} at revision {change.revision}, and nobody had asked"


# -- gangs ------------------------------------------------------------------------------------------------


def _group(pod: Obj) -> str:
    """ "" for a pod by itself."""
    reference = pod["spec"].get("schedulingGroup")
    if reference:
        return f"{pod['metadata']['namespace']}/{reference['podGroupName']}"
    name = labels_of(pod).get(NAME_LABEL)
    return f"{pod['metadata']['namespace']}/{name}/label" if name else ""


def _minimum(pod: Obj, groups: State) -> int:
    if NAME_LABEL in labels_of(pod):
        return int(labels_of(pod)[MINIMUM_LABEL])
    group = groups.get(_group(pod))
    return int(group["spec"]["schedulingPolicy"]["gang"]["minCount"]) if group is not None else 1


def _in_part(history: History, witness: Witness, decision: Decision) -> str:
    """A gang is decided on as a whole: those placed before and those placed in the same moment are enough."""
    pods = history.at("pods", decision.cut["pods"])
    pod = next((p for p in pods.values() if _uid(p) == decision.uid), None)
    if pod is None or not _group(pod):
        return ""
    minimum = _minimum(pod, history.at("podgroups", decision.cut.get("podgroups", 0)))
    members = {_uid(p): p for p in pods.values() if _group(p) == _group(pod) and not _ended(p)}
    placed = {uid for uid, p in members.items() if p["spec"].get("nodeName") or uid in decision.assumed}
    for uid in members:
        if any(made.at_s == decision.at_s for made in witness.decisions.get(uid, ())):
            placed.add(uid)
    return f"only {len(placed)} of {minimum} of its gang have a node" if len(placed) < minimum else ""


# -- preemption -------------------------------------------------------------------------------------------


def preemptions(history: History, witnesses: Sequence[Witness]) -> Iterator[str]:
    """Only less important pods go, only when there is no other way, and a budget is broken only when every other choice
    breaks one, too."""
    for witness in witnesses:
        for made in witness.preemptions:
            for why in _wrong_preemption(history, made):
                yield f"{made.who} at {made.at_s:.3f} made room for {made.pod} on {made.node}, but {why}"


def _wrong_preemption(history: History, made: Preemption) -> Iterator[str]:
    picture, by_uid = _known(history, made.cut, made.assumed)
    pod = by_uid.get(made.uid)
    if pod is None:
        yield "it was gone"
        return
    victims = [picture.pods[uid][0] for uid in made.victims if uid in picture.pods]
    for victim in victims:
        if _priority(victim) >= _priority(pod):
            yield f"{key_of(victim)} is as important"
    if not made.alone:
        return
    why = refusal(pod, made.node, picture.without(victims))
    if why:
        yield f"even so {why}"
    taken = _nominated(by_uid.values(), pod) | made.kept
    free = [name for name in picture.nodes if name not in taken]
    fitting = [name for name in free if not refusal(pod, name, picture)]
    if fitting:
        yield f"it would have fitted on {fitting[0]}"
    budgets = history.at("poddisruptionbudgets", made.cut.get("poddisruptionbudgets", 0))
    broken = [victim for victim in victims if victim in _protected(victims, budgets)]
    if broken:
        for name in free:
            if _harmless(pod, name, picture, budgets):
                yield f"that breaks the budget of {key_of(broken[0])}, and on {name} nobody's would be broken"
                return


def _nominated(pods: Iterable[Obj], but: Obj) -> set[str]:
    found = {p["status"].get("nominatedNodeName", "") for p in pods if _uid(p) != _uid(but)}
    return found - {""}


def _protected(pods: Sequence[Obj], budgets: State) -> list[Obj]:
    """Those whose going breaks a budget, when the important ones are counted first."""
    left = {key: budget["status"].get("disruptionsAllowed", 0) for key, budget in budgets.items()}
    found = []
    for pod in sorted(pods, key=lambda p: (-_priority(p), p["status"].get("startTime") or "~")):
        breaks = False
        for key, budget in budgets.items():
            same = budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
            disrupted = pod["metadata"]["name"] in (budget["status"].get("disruptedPods") or {})
            if same and not disrupted and selects(budget["spec"]["selector"], labels_of(pod)):
                left[key] -= 1
                breaks = breaks or left[key] < 0
        if breaks:
            found.append(pod)
    return found


def _harmless(pod: Obj, name: str, picture: Picture, budgets: State) -> bool:
    lower = [p for p in picture.on(name) if _priority(p) < _priority(pod)]
    spared = _protected(lower, budgets)
    going = [p for p in lower if p not in spared]
    return bool(going) and not refusal(pod, name, picture.without(going))


# -- the end ----------------------------------------------------------------------------------------------


def present(history: History) -> Picture:
    kinds = ("pods", "nodes", "persistentvolumeclaims", "persistentvolumes", "storageclasses")
    states = [history.now(kind) for kind in kinds]
    return picture_of(states[0], states[1], states[2], states[3], states[4])


def waiting(history: History) -> list[Obj]:
    return [
        pod
        for _, pod in sorted(history.now("pods").items())
        if not pod["spec"].get("nodeName")
        and not _ended(pod)
        and not pod["metadata"].get("deletionTimestamp")
    ]


def left_behind(history: History) -> Iterator[str]:
    """Nothing waits that could run: by itself, by preemption, or with its gang."""
    picture = present(history)
    gangs: dict[str, list[Obj]] = {}
    for pod in waiting(history):
        if pod["spec"].get("schedulingGates"):
            continue
        if _group(pod):
            gangs.setdefault(_group(pod), []).append(pod)
        else:
            yield from _alone(pod, picture)
    for name, pods in gangs.items():
        yield from _together(name, pods, picture, history)


def _alone(pod: Obj, picture: Picture) -> Iterator[str]:
    for name in picture.nodes:
        if not refusal(pod, name, picture):
            yield f"pod {key_of(pod)} waits, and it fits on {name}"
            return
    if pod["spec"].get("preemptionPolicy") == "Never":
        return
    for name in picture.nodes:
        lower = [p for p in picture.on(name) if _priority(p) < _priority(pod)]
        if lower and not refusal(pod, name, picture.without(lower)):
            yield f"pod {key_of(pod)} waits, and preemption would make room for it on {name}"
            return


def _together(name: str, pods: list[Obj], picture: Picture, history: History) -> Iterator[str]:
    """The pods of a gang are all alike: whoever fits first may go first."""
    minimum = _minimum(pods[0], history.now("podgroups"))
    members = [p for p in history.now("pods").values() if _group(p) == name and not _ended(p)]
    placed = sum(1 for p in members if p["spec"].get("nodeName"))
    if len(members) < minimum or (
        NAME_LABEL not in labels_of(pods[0]) and name not in history.now("podgroups")
    ):
        return
    supposed = picture.without(())
    found = 0
    for pod in pods:
        node = next((n for n in supposed.nodes if not refusal(pod, n, supposed)), None)
        if node is not None:
            supposed.pods[_uid(pod)] = (pod, node)
            found += 1
    if found >= max(minimum - placed, 1):
        yield f"gang {name} waits with {len(pods)} pods, and {found} would fit beside {placed} of {minimum}"


def told(history: History, schedulers: Iterable[str], unknown: Collection[str]) -> Iterator[str]:
    """Whoever waits can see why, in upstream's words; whoever runs is nominated for nothing, unless that was written by
    a request which came late: `unknown` has the paths."""
    nodes = len(history.now("nodes"))
    for key, pod in sorted(history.now("pods").items()):
        path = "/api/v1/namespaces/{}/pods/{}".format(*key.split("/"))
        late = f"{path}/status" in unknown or f"{path}/binding" in unknown
        if pod["spec"].get("nodeName") and pod["status"].get("nominatedNodeName") and not late:
            yield f"pod {key} has a node, and is nominated for {pod['status']['nominatedNodeName']}"
    for pod in waiting(history):
        # A write that fails is not tried again before the pod is; by now every pod has been.
        if pod["status"].get("nominatedNodeName"):
            yield f"pod {key_of(pod)} waits, and {pod['status']['nominatedNodeName']} is still kept for it"
        if pod["spec"]["schedulerName"] in schedulers:
            why = _untold(pod, nodes, history)
            if why:
                yield f"pod {key_of(pod)} {why}"


def _untold(pod: Obj, nodes: int, history: History) -> str:
    conditions = {c["type"]: c for c in pod["status"].get("conditions") or ()}
    said = conditions.get("PodScheduled")
    if _group(pod):
        members = [p for p in history.now("pods").values() if _group(p) == _group(pod) and not _ended(p)]
        if len(members) < _minimum(pod, history.now("podgroups")):
            return ""  # nobody decides on it before there are more
        if said is not None and said.get("message") in _OF_A_GANG:
            return ""
    if said is None or said["status"] != "False":
        return f"waits, and its PodScheduled is {said}"
    reason, message = said.get("reason"), said.get("message", "")
    if pod["spec"].get("schedulingGates"):
        right = reason == "SchedulingGated"
        return "" if right else f"is gated, and says {reason}: {message}"
    if reason != "Unschedulable":
        return f"waits, and says {reason}: {message}"
    if message == "no nodes available to schedule pods":
        return "" if not nodes else "says that there are no nodes"
    match = _REFUSED.match(message)
    if match is None:
        return f"says {message}"
    if int(match[1]) != nodes and not _group(pod):
        return f"says {message}, and there are {nodes} nodes"
    return ""


def caches(history: History, witness: Witness) -> Iterator[str]:
    """What a scheduler keeps is what the API server has."""
    scheduler, who = witness.component.scheduler, witness.who
    table = scheduler.cache.table
    if scheduler.cache._assumed:
        yield f"{who} still assumes {sorted(scheduler.cache._assumed)}"
    nodes = history.now("nodes")
    known = {table.name(row): row for row in range(table.size) if table.valid[row]}
    if known.keys() != nodes.keys():
        yield f"{who} knows nodes {sorted(known)}, and there are {sorted(nodes)}"
        return
    pods = history.now("pods")
    for name, row in known.items():
        here = {key_of(p) for p in pods.values() if p["spec"].get("nodeName") == name and not _ended(p)}
        there = {info.key for info in table.pods_on(row)}
        if here != there:
            yield f"{who} has {sorted(there - here)} on {name} that are not there, and not {sorted(here - there)}"
    for info in scheduler._handle.nominator.pods():
        now = pods.get(info.key)
        if now is None or now["spec"].get("nodeName") or not now["status"].get("nominatedNodeName"):
            yield f"{who} keeps {info.node} for {info.key}, and nobody else knows of it"
    ours = {
        _uid(p)
        for p in pods.values()
        if not p["spec"].get("nodeName")
        and not _ended(p)
        and not p["metadata"].get("deletionTimestamp")
        and p["spec"]["schedulerName"] in scheduler._profiles
    }
    queued = set(scheduler.queue._entries)
    if ours != queued:
        names = {_uid(p): k for k, p in pods.items()}
        lost = sorted(names[uid] for uid in ours - queued)
        extra = sorted(names.get(uid, uid) for uid in queued - ours)
        yield f"{who} has lost {lost} from its queue, and {extra} should not be there"


def volumes(history: History) -> Iterator[str]:
    """No volume has two claims."""
    owner: dict[str, str] = {}
    for key, claim in sorted(history.now("persistentvolumeclaims").items()):
        name = claim["spec"].get("volumeName")
        if name and name in owner:
            yield f"claims {owner[name]} and {key} have the same volume {name}"
        elif name:
            owner[name] = key
