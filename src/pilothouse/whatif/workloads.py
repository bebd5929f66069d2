"""From a workload to its pods, by the templates of our own controllers, as if all of them were made at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pilothouse.api.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import controller_ref
from pilothouse.controllers import (
    cronjob_rules,
    daemonset_rules,
    deployment_rules,
    job_rules,
    statefulset_rules,
)
from pilothouse.controllers.pods import template_pod
from pilothouse.kit.world import World
from pilothouse.whatif.kinds import kinds
from pilothouse.whatif.snapshot import Snapshot

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"


@dataclass(slots=True)
class Expansion:
    """What a workload brings: its pods, most of them still without a name, and what they need before (a ReplicaSet,
    claims)."""

    pods: list[Obj] = field(default_factory=list)
    claims: list[Obj] = field(default_factory=list)
    owners: list[Obj] = field(default_factory=list)


def expand(obj: Obj, snapshot: Snapshot, world: World) -> Expansion | None:
    """`obj` is complete and has a UID; None for what is no workload."""
    resource = kinds().resource(obj)
    expander = _EXPANDERS.get((resource.group, resource.plural)) if resource is not None else None
    return expander(obj, snapshot, world) if expander is not None else None


def _deployment(d: Obj, snapshot: Snapshot, world: World) -> Expansion:
    template = d["spec"]["template"]
    digest = deployment_rules.template_hash(template, 0)
    meta = template.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), deployment_rules.HASH_LABEL: digest}
    wanted = d["spec"].get("selector") or {}
    selector = {
        **wanted,
        "matchLabels": {**(wanted.get("matchLabels") or {}), deployment_rules.HASH_LABEL: digest},
    }
    owned = _owned(d, DEPLOYMENTS, f"{d['metadata']['name']}-{digest}", world)
    spec = {
        "replicas": deployment_rules.replicas(d),
        "selector": selector,
        "template": {**template, "metadata": {**meta, "labels": labels}},
    }
    made: Obj = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {**owned, "labels": labels},
        "spec": spec,
    }
    found = _replicas(made, REPLICA_SETS)
    found.owners.append(made)
    return found


def _owned(owner: Obj, resource: Resource, name: str, world: World) -> Obj:
    namespace = owner["metadata"]["namespace"]
    refs = [controller_ref(owner, resource)]
    return {"name": name, "namespace": namespace, "uid": world.uid(), "ownerReferences": refs}


def _replicas(owner: Obj, resource: Resource) -> Expansion:
    count = owner["spec"].get("replicas")
    count = 1 if count is None else count
    return Expansion([_pod(owner["spec"]["template"], owner, resource) for _ in range(count)])


def _pod(template: Obj, owner: Obj, resource: Resource, prefix: str = "") -> Obj:
    name = owner["metadata"]["name"]
    pod = template_pod(template, controller_ref(owner, resource), name, owner)
    if prefix:
        pod["metadata"]["generateName"] = prefix
    return pod


def _replica_set(rs: Obj, snapshot: Snapshot, world: World) -> Expansion:
    return _replicas(rs, REPLICA_SETS)


def _replication_controller(rc: Obj, snapshot: Snapshot, world: World) -> Expansion:
    return _replicas(rc, REPLICATION_CONTROLLERS)


def _stateful_set(st: Obj, snapshot: Snapshot, world: World) -> Expansion:
    revision = {
        "metadata": {
            "name": f"{st['metadata']['name']}-{deployment_rules.template_hash(st['spec']['template'], 0)}"
        },
        "data": {"spec": {"template": st["spec"]["template"]}},
    }
    found = Expansion()
    first = statefulset_rules.start(st)
    for ordinal in range(first, first + statefulset_rules.replicas(st)):
        pod = statefulset_rules.new_pod(st, revision, revision, ordinal)
        pod["metadata"].pop("generateName", None)
        found.pods.append(pod)
        found.claims += statefulset_rules.claims(st, ordinal)
    return found


def _job(job: Obj, snapshot: Snapshot, world: World) -> Expansion:
    """As many pods as run beside each other."""
    if job_rules.is_suspended(job):
        return Expansion()
    spec, name = job["spec"], job["metadata"]["name"]
    completions = spec.get("completions")
    count = spec.get("parallelism", 1)
    count = count if completions is None else min(count, completions)
    template = job_rules.pod_template(job)
    labels = {**(template["metadata"].get("labels") or {}), JOB_NAME_LABEL: name}
    template = {**template, "metadata": {**template["metadata"], "labels": labels}}
    if not job_rules.is_indexed(job):
        return Expansion([_pod(template, job, JOBS) for _ in range(count)])
    return Expansion([_indexed(template, job, index) for index in range(count)])


def _indexed(template: Obj, job: Obj, index: int) -> Obj:
    own = job_rules.indexed_template(job, template, index, None)
    return _pod(own, job, JOBS, job_rules.indexed_prefix(job["metadata"]["name"], index))


def _cron_job(cj: Obj, snapshot: Snapshot, world: World) -> Expansion:
    """The job that it would start now."""
    job = kinds().complete(cronjob_rules.new_job(cj, world.now()))
    job["metadata"]["uid"] = world.uid()
    found = _job(job, snapshot, world)
    found.owners.append(job)
    return found


def _daemon_set(ds: Obj, snapshot: Snapshot, world: World) -> Expansion:
    """One for each node that it is for."""
    return Expansion(
        [daemon(ds, node) for node in snapshot.list(NODES) if daemonset_rules.fit(ds, node).runs]
    )


def daemon(ds: Obj, node: Obj) -> Obj:
    """The pod of a DaemonSet for one node."""
    digest = deployment_rules.template_hash(ds["spec"]["template"], 0)
    template = daemonset_rules.template_for(ds, digest, node["metadata"]["name"])
    return _pod(template, ds, DAEMON_SETS)


Expander = Callable[[Obj, Snapshot, World], Expansion]

_EXPANDERS: Mapping[tuple[str, str], Expander] = {
    (resource.group, resource.plural): expander
    for resource, expander in (
        (DEPLOYMENTS, _deployment),
        (REPLICA_SETS, _replica_set),
        (REPLICATION_CONTROLLERS, _replication_controller),
        (STATEFUL_SETS, _stateful_set),
        (DAEMON_SETS, _daemon_set),
        (JOBS, _job),
        (CRON_JOBS, _cron_job),
    )
}
