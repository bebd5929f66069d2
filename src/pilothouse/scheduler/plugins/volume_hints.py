"""What the plugins for volumes say and ask alike."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.informer import split_key
from pilothouse.scheduler.hints import Event
from pilothouse.scheduler.pod_info import PodInfo


def not_found(claim_key: str) -> str:
    """As client-go's lister says it."""
    return f'persistentvolumeclaim "{split_key(claim_key)[1]}" not found'


def named_claims(info: PodInfo) -> Iterable[str]:
    """The keys of the claims that a pod names, without those of its ephemeral volumes."""
    if not info.volumes.claims:
        return
    for volume in info.pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield f"{info.namespace}/{volume['persistentVolumeClaim']['claimName']}"


def names_claim(info: PodInfo, event: Event) -> bool:
    """Whether the event is about a claim of the pod's."""
    assert event.new is not None
    meta = event.new["metadata"]
    return f"{meta['namespace']}/{meta['name']}" in info.volumes.claims
