"""Whether a cluster came to what it was asked for, and whether it went there without harm.

Plain code over the store's history. It knows the API's promises, shares nothing with the controllers, and says in
words what is wrong.

    converged   the end: every object does what its spec says, and its status says so
    quiet       nothing was written any more but leases and heartbeats
    exact       every finished pod of a job was counted once
    kept        nothing was collected that had a living owner; nothing stayed that had none
    steady      no pod was made and taken away by one controller when nothing else had changed
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pilothouse.api import labels
from pilothouse.api.types import Obj
from tests.simulation.controllers_history import Change, History, controller, kind_of, name_of, owner_refs
from tests.simulation.controllers_weather import Deed

TRACKED = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
MIRRORS = {"leases", "masterleases", "events", "minions"}
"""What is written for ever: heartbeats, and what they say."""


class Facts:
    """The end of the history, with the lookups that the rules need."""

    def __init__(self, history: History, now_s: float) -> None:
        self.history = history
        self.now_s = now_s
        self.pods = history.now("pods")
        self.nodes = {n["metadata"]["name"]: n for n in history.now("minions")}
        self.uids = {obj["metadata"]["uid"]: obj for _, obj in history.all_now()}
        self.by_controller: dict[str, list[Obj]] = defaultdict(list)
        for _, obj in history.all_now():
            ref = controller(obj)
            if ref is not None:
                self.by_controller[ref["uid"]].append(obj)

    def pods_of(self, owner: Obj) -> list[Obj]:
        return [p for p in self.by_controller[owner["metadata"]["uid"]] if p["kind"] == "Pod"]


def violations(
    history: History, quiet_from_s: float, deeds: list[Deed], *, steady: bool, late: bool, now_s: float
) -> list[str]:
    """`steady`: nothing happened that excuses a pod made in vain. `late`: watches were late, so that the garbage
    collector may not have heard of a dependent when its owner was orphaned."""
    facts = Facts(history, now_s)
    return [
        *_unquiet(facts, quiet_from_s),
        *_converged(facts),
        *_exact(facts, deeds),
        *_kept(facts, deeds, late=late),
        *(_steady(facts, deeds) if steady else ()),
    ]


# -- small readings -----------------------------------------------------------------------------------------


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def condition(obj: Obj, kind: str) -> Obj:
    found = [c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind]
    return found[0] if found else {}


def is_ready(pod: Obj) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_going(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_active(pod: Obj) -> bool:
    return not is_going(pod) and phase(pod) not in ("Succeeded", "Failed")


def is_sick(pod: Obj) -> bool:
    """It can never run: its image is missing, or no node takes it."""
    images = [c["image"] for c in pod["spec"]["containers"]]
    return any("non-existent" in image for image in images) or not pod["spec"].get("nodeName")


def has_image(template: Obj) -> bool:
    return not any("non-existent" in c["image"] for c in template["spec"]["containers"])


def status_differs(obj: Obj, what: str, wanted: dict[str, Any]) -> Iterator[str]:
    status = obj.get("status") or {}
    for name, value in wanted.items():
        if (status.get(name) or 0) != value:
            yield f"{what}: status.{name} is {status.get(name)}, not {value}"


def observed(obj: Obj, what: str) -> Iterator[str]:
    yield from status_differs(obj, what, {"observedGeneration": obj["metadata"].get("generation", 0)})


# -- quiet --------------------------------------------------------------------------------------------------


def _unquiet(facts: Facts, from_s: float) -> Iterator[str]:
    sick = {p["metadata"]["name"] for p in facts.pods if is_sick(p)}
    for time_s, key in facts.history.writes:
        if time_s > from_s and kind_of(key) not in MIRRORS and key.rpartition("/")[2] not in sick:
            yield f"written in the quiet: {key} at {time_s:.2f}"


# -- converged ----------------------------------------------------------------------------------------------


def _converged(facts: Facts) -> Iterator[str]:
    rules: dict[str, Any] = {
        "replicasets": _replica_set,
        "controllers": _replica_set,
        "deployments": _deployment,
        "statefulsets": _stateful_set,
        "daemonsets": _daemon_set,
        "jobs": _job,
        "cronjobs": _cron_job,
        "poddisruptionbudgets": _budget,
        "specs": _service,
    }
    for kind, rule in rules.items():
        for obj in facts.history.now(kind):
            yield from rule(facts, obj, f"{kind} {name_of(obj)}")
    for key, obj in facts.history.all_now():
        if is_going(obj):
            yield f"{key} still goes: {obj['metadata'].get('finalizers')}"
        if key == "namespaces/doomed" or key.split("/")[1:2] == ["doomed"]:
            yield f"{key} outlived its namespace"
    yield from _pods(facts)


def _pods(facts: Facts) -> Iterator[str]:
    taken = {
        "ReplicaSet": "replicasets",
        "ReplicationController": "controllers",
        "DaemonSet": "daemonsets",
        "Job": "jobs",
    }
    for pod in facts.pods:
        if (
            is_active(pod)
            and not is_sick(pod)
            and not is_ready(pod)
            and "job" not in pod["metadata"]["labels"]
        ):
            yield f"pod {name_of(pod)} never got ready"
        if controller(pod) is not None or not is_active(pod):
            continue
        for kind in taken.values():
            for owner in facts.history.now(kind):
                same = owner["metadata"]["namespace"] == pod["metadata"]["namespace"]
                if same and not is_going(owner) and kind != "jobs" and _selects(owner, pod):
                    yield f"pod {name_of(pod)} was not adopted by {kind} {name_of(owner)}"


def _selects(owner: Obj, pod: Obj) -> bool:
    selector = owner["spec"].get("selector") or {}
    found = pod["metadata"].get("labels") or {}
    if owner["kind"] == "ReplicationController":
        return bool(selector) and selector.items() <= found.items()
    return labels.from_label_selector(selector).matches(found)


def _replica_set(facts: Facts, rs: Obj, what: str) -> Iterator[str]:
    pods = [p for p in facts.pods_of(rs) if is_active(p)]
    wanted, ready = rs["spec"]["replicas"], [p for p in pods if is_ready(p)]
    if len(pods) != wanted:
        yield f"{what}: {len(pods)} pods, not {wanted}"
    for pod in pods:
        if not _selects(rs, pod):
            yield f"{what}: pod {name_of(pod)} was not released"
    yield from observed(rs, what)
    numbers = {"replicas": len(pods), "readyReplicas": len(ready), "availableReplicas": len(ready)}
    template = rs["spec"]["template"]["metadata"]["labels"].items()
    numbers["fullyLabeledReplicas"] = sum(template <= p["metadata"]["labels"].items() for p in pods)
    yield from status_differs(rs, what, numbers)
    if condition(rs, "ReplicaFailure"):
        yield f"{what}: {condition(rs, 'ReplicaFailure')}"


def _without_hash(template: Obj) -> Obj:
    found = {k: v for k, v in template["metadata"]["labels"].items() if k != "pod-template-hash"}
    return {**template, "metadata": {**template["metadata"], "labels": found}}


def _deployment(facts: Facts, d: Obj, what: str) -> Iterator[str]:
    sets = [o for o in facts.by_controller[d["metadata"]["uid"]] if o["kind"] == "ReplicaSet"]
    new = [s for s in sets if _without_hash(s["spec"]["template"]) == d["spec"]["template"]]
    pods = [p for s in sets for p in facts.pods_of(s) if is_active(p)]
    ready = sum(is_ready(p) for p in pods)
    size, total = d["spec"]["replicas"], sum(s["spec"]["replicas"] for s in sets)
    updated = [p for s in new for p in facts.pods_of(s) if is_active(p)]
    yield from observed(d, what)
    yield from status_differs(
        d,
        what,
        {
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": len(updated),
            "unavailableReplicas": max(total - ready, 0),
        },
    )
    surge, _ = _bounds(d)
    if total > size + surge:
        yield f"{what}: {total} replicas in all sets, more than {size} + {surge}"
    if d["spec"].get("paused"):
        return
    # Several may have it: a set that an earlier deployment of the name orphaned is adopted. The oldest is the one.
    new.sort(key=lambda s: (s["metadata"]["creationTimestamp"], s["metadata"]["name"]))
    if not new:
        yield f"{what}: no replica set of its template"
        return
    idle = [s for s in sets if s is not new[0]]
    limit = d["spec"].get("revisionHistoryLimit", 10)
    if (
        not any(s["spec"]["replicas"] for s in idle)
        and len(idle) > limit
        and has_image(d["spec"]["template"])
    ):
        yield f"{what}: {len(idle)} old replica sets, more than {limit}"
    if any(is_sick(p) for p in pods) or not has_image(d["spec"]["template"]):
        return
    if new[0]["spec"]["replicas"] != size or total != size:
        yield f"{what}: {new[0]['spec']['replicas']} of {total} replicas are new, not all {size}"
    if condition(d, "Available").get("status") != "True":
        yield f"{what}: not available"
    if condition(d, "Progressing").get("reason") != "NewReplicaSetAvailable":
        yield f"{what}: {condition(d, 'Progressing')}"
    numbers = [int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for s in sets]
    if len(set(numbers)) != len(numbers):
        yield f"{what}: revisions are not distinct: {numbers}"
    own = d["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision")
    if (
        own != str(max(numbers))
        or new[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] != own
    ):
        yield f"{what}: revision {own} of {numbers}"


def _bounds(d: Obj) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers."""
    rolling, size = d["spec"]["strategy"].get("rollingUpdate"), d["spec"]["replicas"]
    if rolling is None:
        return 0, size
    surge, missing = (_number(rolling[name], size, name) for name in ("maxSurge", "maxUnavailable"))
    return surge, missing if surge or missing else 1


def _number(value: int | str, size: int, name: str) -> int:
    if isinstance(value, int):
        return value
    percent = int(value.rstrip("%")) * size
    return -(-percent // 100) if name == "maxSurge" else percent // 100


def _stateful_set(facts: Facts, st: Obj, what: str) -> Iterator[str]:
    pods = {p["metadata"]["name"]: p for p in facts.pods_of(st)}
    first = (st["spec"].get("ordinals") or {}).get("start", 0)
    wanted = [f"{st['metadata']['name']}-{n}" for n in range(first, first + st["spec"]["replicas"])]
    yield from observed(st, what)
    space = st["metadata"]["namespace"]
    taken = any(
        p["metadata"]["namespace"] == space
        and p["metadata"]["name"] in wanted
        and p["metadata"]["name"] not in pods
        for p in facts.pods
    )
    # A pod that was released keeps the name, and the set waits for it.
    stuck = taken or any(is_sick(p) for p in pods.values())
    ready = sum(is_ready(p) for p in pods.values())
    update = st["status"]["updateRevision"]
    revisions = {n: p["metadata"]["labels"].get("controller-revision-hash") for n, p in pods.items()}
    numbers = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
    numbers["updatedReplicas"] = sum(r == update for r in revisions.values())
    yield from status_differs(st, what, numbers)
    template = _revision_template(facts, st, update)
    if template != st["spec"]["template"]:
        yield f"{what}: revision {update} is not its template"
    if stuck:
        return
    if not has_image(st["spec"]["template"]):
        return
    if sorted(pods) != sorted(wanted):
        # An old revision that cannot run blocks an ordered set for good.
        yield f"{what}: pods {sorted(pods)}, not {sorted(wanted)}"
    rolling = st["spec"]["updateStrategy"]
    if rolling["type"] == "RollingUpdate":
        kept = (rolling.get("rollingUpdate") or {}).get("partition", 0)
        for index, name in enumerate(wanted):
            if index >= kept and revisions.get(name) != update:
                yield f"{what}: pod {name} has revision {revisions.get(name)}, not {update}"
        if kept == 0 and st["status"]["currentRevision"] != update:
            yield f"{what}: current revision {st['status']['currentRevision']}, not {update}"
    for template in st["spec"].get("volumeClaimTemplates") or ():
        have = {c["metadata"]["name"] for c in facts.history.now("persistentvolumeclaims")}
        for name in wanted:
            if f"{template['metadata']['name']}-{name}" not in have:
                yield f"{what}: no claim {template['metadata']['name']}-{name}"


def _revision_template(facts: Facts, owner: Obj, name: str) -> Obj | None:
    for revision in facts.by_controller[owner["metadata"]["uid"]]:
        if revision["kind"] == "ControllerRevision" and revision["metadata"]["name"] == name:
            found: Obj = revision["data"]["spec"]["template"]
            return {k: v for k, v in found.items() if k != "$patch"}
    return None


_TOLERATED = {
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
}


def _daemon_set(facts: Facts, ds: Obj, what: str) -> Iterator[str]:
    pods = [p for p in facts.pods_of(ds)]
    by_node: dict[str, list[Obj]] = defaultdict(list)
    for pod in pods:
        by_node[_target(pod)].append(pod)
    wanted, allowed = set(), set()
    for name, node in facts.nodes.items():
        if _node_matches(ds, node):
            marks = {(t["key"], t["effect"]) for t in node["spec"].get("taints") or ()} - _TOLERATED
            if not marks:
                wanted.add(name)
            if not any(effect == "NoExecute" for _, effect in marks):
                allowed.add(name)
    yield from observed(ds, what)
    for name in facts.nodes:
        count = len([p for p in by_node.get(name, ()) if is_active(p)])
        surging = not has_image(ds["spec"]["template"])
        if (name in wanted and count != 1 and not surging) or (name not in allowed and count):
            yield f"{what}: {count} pods on {name}"
    digests = {
        r["metadata"]["labels"]["controller-revision-hash"]: r
        for r in facts.by_controller[ds["metadata"]["uid"]]
        if r["kind"] == "ControllerRevision"
    }
    current = [
        h
        for h, r in digests.items()
        if {**r["data"]["spec"]["template"], "$patch": ""} == {**ds["spec"]["template"], "$patch": ""}
    ]
    if len(current) != 1:
        yield f"{what}: {len(current)} revisions of its template"
        return
    if not has_image(ds["spec"]["template"]) or any(is_sick(p) for p in pods):
        return
    ready = [n for n in wanted if any(is_ready(p) for p in by_node.get(n, ()))]
    yield from status_differs(
        ds,
        what,
        {
            "desiredNumberScheduled": len(wanted),
            "currentNumberScheduled": len(wanted),
            "numberReady": len(ready),
            "numberAvailable": len(ready),
            "numberUnavailable": len(wanted) - len(ready),
            "numberMisscheduled": len([n for n in by_node if n not in wanted]),
        },
    )
    if ds["spec"]["updateStrategy"]["type"] == "RollingUpdate":
        for pod in pods:
            if (
                _target(pod) in wanted
                and pod["metadata"]["labels"].get("controller-revision-hash") != current[0]
            ):
                yield f"{what}: {name_of(pod)} is old"


def _target(pod: Obj) -> str:
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])


def _node_matches(ds: Obj, node: Obj) -> bool:
    wanted = ds["spec"]["template"]["spec"].get("nodeSelector") or {}
    return bool(wanted.items() <= (node["metadata"].get("labels") or {}).items())


def _is_over(job: Obj) -> bool:
    return any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def _job(facts: Facts, job: Obj, what: str) -> Iterator[str]:
    spec, status = job["spec"], job.get("status") or {}
    pods = facts.pods_of(job)
    active = [p for p in pods if is_active(p)]
    if status.get("uncountedTerminatedPods"):
        yield f"{what}: uncounted {status['uncountedTerminatedPods']}"
    yield from status_differs(
        job, what, {"active": len(active), "ready": sum(map(is_ready, active)), "terminating": 0}
    )
    for pod in pods:
        if phase(pod) in ("Succeeded", "Failed") and TRACKED in (pod["metadata"].get("finalizers") or ()):
            held = "backoffLimitPerIndex" in spec and not _is_over(job) and phase(pod) == "Failed"
            if not held:
                yield f"{what}: {name_of(pod)} ({phase(pod)}) is not counted; {status}"
    if _is_over(job):
        if active:
            yield f"{what} is over, and {len(active)} pods run"
        return
    if spec.get("suspend"):
        if active:
            yield f"{what} is suspended, and {len(active)} pods run"
        return
    if spec["parallelism"] == 0:
        return
    yield f"{what} never ends: {status}"


def _cron_job(facts: Facts, cron: Obj, what: str) -> Iterator[str]:
    jobs = [j for j in facts.by_controller[cron["metadata"]["uid"]] if j["kind"] == "Job"]
    running = {j["metadata"]["uid"] for j in jobs if not _is_over(j)}
    listed = {ref["uid"] for ref in (cron.get("status") or {}).get("active") or ()}
    if running != listed:
        yield f"{what}: lists {len(listed)} active jobs, {len(running)} run"
    for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        kept = [j for j in jobs if condition(j, kind).get("status") == "True"]
        if len(kept) > cron["spec"][limit]:
            yield f"{what}: keeps {len(kept)} jobs that are {kind}, not {cron['spec'][limit]}"


def _budget(facts: Facts, budget: Obj, what: str) -> Iterator[str]:
    space = budget["metadata"]["namespace"]
    matching = [
        p
        for p in facts.pods
        if p["metadata"]["namespace"] == space
        and _selects(budget, p)
        and phase(p) not in ("Succeeded", "Failed")
    ]
    yield from observed(budget, what)
    healthy = sum(is_ready(p) and not is_going(p) for p in matching)
    yield from status_differs(budget, what, {"currentHealthy": healthy})


def _service(facts: Facts, service: Obj, what: str) -> Iterator[str]:
    meta, selector = service["metadata"], service["spec"].get("selector")
    if not selector:
        return
    wanted = {
        p["status"]["podIP"]
        for p in facts.pods
        if p["metadata"]["namespace"] == meta["namespace"]
        and selector.items() <= (p["metadata"].get("labels") or {}).items()
        and is_ready(p)
        and is_active(p)
    }
    found: list[str] = []
    for part in facts.history.now("endpointslices"):
        of = (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
        if part["metadata"]["namespace"] != meta["namespace"] or of != meta["name"]:
            continue
        for endpoint in part.get("endpoints") or ():
            if endpoint["conditions"].get("ready"):
                found += endpoint["addresses"]
    if sorted(found) != sorted(wanted):
        yield f"{what}: slices tell {sorted(found)}, ready are {sorted(wanted)}"


# -- exact --------------------------------------------------------------------------------------------------


def _exact(facts: Facts, deeds: list[Deed]) -> Iterator[str]:
    """For each job that exists at the end: what its finished pods add up to, pod by pod."""
    last_tracked: dict[str, Obj] = {}
    released: set[str] = set()
    hurried: set[str] = set()
    """Pods that were told to go before they were counted: whoever knew them as running counts them as failed."""
    for change in facts.history.of("pods"):
        if change.obj is not None and TRACKED in (change.obj["metadata"].get("finalizers") or ()):
            last_tracked[change.uid] = change.obj
            if is_going(change.obj):
                hurried.add(change.uid)
        elif change.uid in last_tracked:
            released.add(change.uid)
    surplus = {d.uid for d in deeds if d.who == "job-controller" and d.verb == "DELETE" and d.outcome == "ok"}
    """Pods that were one too many count for nothing, and may have finished before anybody heard of it."""
    by_job: dict[str, list[Obj]] = defaultdict(list)
    for uid in released:
        ref = controller(last_tracked[uid])
        if ref is not None:
            by_job[ref["uid"]].append(last_tracked[uid])
    resized = _resized(facts)
    for job in facts.history.now("jobs"):
        if job["metadata"]["uid"] not in resized:
            yield from _count(job, by_job[job["metadata"]["uid"]], hurried, surplus)


def _resized(facts: Facts) -> set[str]:
    """Jobs whose completions changed."""
    seen: dict[str, set[Any]] = defaultdict(set)
    for change in facts.history.of("jobs"):
        if change.obj is not None:
            seen[change.uid].add(change.obj["spec"].get("completions"))
    return {uid for uid, values in seen.items() if len(values) > 1}


def _count(job: Obj, pods: list[Obj], hurried: set[str], surplus: set[str]) -> Iterator[str]:
    what, status, spec = f"jobs {name_of(job)}", job.get("status") or {}, job["spec"]
    waits = spec.get("podReplacementPolicy") == "Failed"
    ok = [p for p in pods if phase(p) == "Succeeded"]
    bad = [p for p in pods if phase(p) == "Failed" and not _is_ignored(job, p)]
    stopped = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and is_going(p) and not waits]
    unclear = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and p not in stopped]
    maybe = hurried if not waits or condition(job, "Failed") else set()
    either = [p for p in ok if p["metadata"]["uid"] in maybe | surplus]
    sure_bad = [p for p in bad if p["metadata"]["uid"] not in surplus]
    failed, succeeded = status.get("failed", 0), status.get("succeeded", 0)
    if spec.get("completionMode") == "Indexed":
        indexes, sure = {_index(p) for p in ok}, {_index(p) for p in ok if p not in either}
        told = set(_parse(status.get("completedIndexes", "")))
        if not sure <= told <= indexes or succeeded != len(told):
            yield f"{what}: indexes {sorted(indexes)} succeeded, told are {sorted(told)}, {succeeded}"
    elif not len(ok) - len(either) <= succeeded <= len(ok):
        yield f"{what}: {len(ok)} pods succeeded, told are {succeeded}"
    elif succeeded + failed < len([*ok, *bad]) - len(
        [p for p in (*ok, *bad) if p["metadata"]["uid"] in surplus]
    ):
        yield f"{what}: {len(ok) + len(bad)} pods finished, told are {succeeded} and {failed}"
    most = len(bad) + len(stopped) + len(either) + (len(unclear) if condition(job, "Failed") else 0)
    if not len(sure_bad) <= failed <= most:
        yield f"{what}: {len(sure_bad)} to {most} pods failed, told are {failed}"


def _is_ignored(job: Obj, pod: Obj) -> bool:
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    return any(
        rule["action"] == "Ignore" and condition(pod, pattern["type"]).get("status") == pattern["status"]
        for rule in rules
        for pattern in rule.get("onPodConditions") or ()
    )


def _index(pod: Obj) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


def _parse(text: str) -> Iterator[int]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


# -- kept ---------------------------------------------------------------------------------------------------


def _kept(facts: Facts, deeds: list[Deed], *, late: bool) -> Iterator[str]:
    yield from _left_over(facts)
    collected = [
        d for d in deeds if d.who == "generic-garbage-collector" and d.verb == "DELETE" and d.outcome == "ok"
    ]
    lives = _lives(facts.history)
    states = _states(facts.history)
    for deed in collected:
        if not deed.uid:
            continue
        obj = _as_of(states[deed.uid], deed.revision)
        if obj is None:
            continue
        if not owner_refs(obj):
            yield f"{deed.path} was collected and had no owner"
        for ref in owner_refs(obj):
            born, gone = lives.get(ref["uid"], (None, None))
            if born is None or (gone is not None and gone <= deed.revision):
                if not late and _orphaned_at(states[ref["uid"]]) > states[deed.uid][0].revision:
                    yield f"{deed.path} was collected, and its owner {ref['name']} had orphaned it"
                continue
            owner = _as_of(states[ref["uid"]], deed.revision)
            if owner is None or not _waits(owner):
                yield f"{deed.path} was collected at {deed.time_s:.2f}, and its owner {ref['kind']} {ref['name']} lives"


def _left_over(facts: Facts) -> Iterator[str]:
    for key, obj in facts.history.all_now():
        refs = owner_refs(obj)
        if refs and not any(ref["uid"] in facts.uids for ref in refs):
            yield f"{key} stayed without its owners {[r['name'] for r in refs]}"
        dangling = [r["name"] for r in refs if r["uid"] not in facts.uids]
        if dangling and len(dangling) < len(refs):
            yield f"{key} still names {dangling}"


def _lives(history: History) -> dict[str, tuple[int | None, int | None]]:
    """First and last revision by UID; None: it lives."""
    found: dict[str, tuple[int | None, int | None]] = {}
    for change in history.changes:
        born, _ = found.get(change.uid, (change.revision, None))
        found[change.uid] = born, change.revision if change.obj is None else None
    return found


def _states(history: History) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = defaultdict(list)
    for change in history.changes:
        found[change.uid].append(change)
    return found


def _as_of(changes: Iterable[Change], revision: int) -> Obj | None:
    obj: Obj | None = None
    for change in changes:
        if change.revision > revision:
            break
        obj = change.obj
    return obj


def _waits(owner: Obj) -> bool:
    return is_going(owner) and "foregroundDeletion" in (owner["metadata"].get("finalizers") or ())


def _orphaned_at(owner: list[Change]) -> int:
    """The revision at which an owner was told to go without its dependents; 0 if it never was. Those that were made
    later cannot be known to it."""
    return next(
        (
            c.revision
            for c in owner
            if c.obj is not None
            and is_going(c.obj)
            and "orphan" in (c.obj["metadata"].get("finalizers") or ())
        ),
        0,
    )


# -- steady -------------------------------------------------------------------------------------------------

_POD_PATH = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?$")
_MAKERS = {
    "replicaset-controller",
    "replication-controller",
    "statefulset-controller",
    "daemon-set-controller",
    "job-controller",
}


def _steady(facts: Facts, deeds: list[Deed]) -> Iterator[str]:
    """Pods that a controller made and took away again while neither their owner's spec, nor a node, nor a pod of
    that owner had been touched by anybody else."""
    made: dict[str, Deed] = {}
    for deed in deeds:
        match = _POD_PATH.match(deed.path)
        if match is None or deed.outcome != "ok" or deed.who not in _MAKERS:
            continue
        if deed.verb == "POST":
            made[deed.uid] = deed
            continue
        first = made.get(deed.uid)
        if deed.verb != "DELETE" or first is None or first.who != deed.who:
            continue
        if not _excuse(facts, first, deed):
            yield (
                f"{deed.path} was made by {deed.who} at {first.time_s:.2f} and taken away at "
                f"{deed.time_s:.2f}: nothing had changed"
            )


def _excuse(facts: Facts, made: Deed, deleted: Deed) -> bool:
    """Whether anything changed between shortly before the one and the other that may have led to it."""
    pod = next(c.obj for c in facts.history.of("pods") if c.uid == made.uid and c.obj is not None)
    ref = controller(pod)
    assert ref is not None
    owners = {ref["uid"]}
    for change in facts.history.changes:
        if change.uid == ref["uid"] and change.obj is not None:
            owners |= {r["uid"] for r in owner_refs(change.obj)}
    for change in facts.history.changes:
        if change.time_s < made.time_s - _MEMORY_S or change.revision > deleted.revision:
            continue
        if change.uid in owners and _spec_changed(change):
            return True
        if change.kind == "minions" and _spec_changed(change):
            return True
        if change.kind == "pods" and _touched(change, ref["uid"], made.who):
            return True
    return False


_MEMORY_S = 15.0


def _spec_changed(change: Change) -> bool:
    if change.obj is None or change.last is None:
        return True
    return any(
        change.obj["metadata"].get(name) != change.last["metadata"].get(name)
        for name in ("generation", "deletionTimestamp", "labels", "uid")
    ) or change.obj.get("spec") != change.last.get("spec")


def _touched(change: Change, owner: str, who: str) -> bool:
    """A pod of the owner, or one that it took or lost: others' labels, others' deletions, the end of it."""
    now, before = change.obj, change.last
    refs = {(controller(o) or {}).get("uid") for o in (now, before) if o is not None}
    if owner not in refs:
        return False
    if before is None or now is None:
        return now is not None and "generateName" not in now["metadata"]
    return (
        (controller(now) or {}).get("uid") != (controller(before) or {}).get("uid")
        or now["metadata"].get("labels") != before["metadata"].get("labels")
        or (phase(now) != phase(before) and phase(now) in ("Succeeded", "Failed"))
        or (is_going(now) and not is_going(before))
    )
