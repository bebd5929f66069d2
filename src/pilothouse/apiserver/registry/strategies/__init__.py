"""The strategies: one file per API group, one visible table."""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.apiserver.registry.strategies import (
    admissionregistration,
    apiextensions,
    apiregistration,
    apps,
    authentication,
    authorization,
    autoscaling,
    batch,
    certificates,
    coordination,
    core,
    discovery,
    events,
    flowcontrol,
    networking,
    node,
    pods,
    policy,
    rbac,
    resource,
    scheduling,
    storage,
)
from pilothouse.apiserver.registry.strategy import Strategy

TABLE: dict[tuple[str, str], Strategy] = {
    **admissionregistration.STRATEGIES,
    **apiextensions.STRATEGIES,
    **apiregistration.STRATEGIES,
    **apps.STRATEGIES,
    **authentication.STRATEGIES,
    **authorization.STRATEGIES,
    **autoscaling.STRATEGIES,
    **batch.STRATEGIES,
    **certificates.STRATEGIES,
    **coordination.STRATEGIES,
    **core.STRATEGIES,
    **discovery.STRATEGIES,
    **events.STRATEGIES,
    **flowcontrol.STRATEGIES,
    **networking.STRATEGIES,
    **node.STRATEGIES,
    **pods.STRATEGIES,
    **policy.STRATEGIES,
    **rbac.STRATEGIES,
    **resource.STRATEGIES,
    **scheduling.STRATEGIES,
    **storage.STRATEGIES,
}
"""By group and kind; a kind without an entry gets the plain Strategy."""


def gated(features: Collection[str]) -> dict[tuple[str, str], Strategy]:
    """Those that feature gates put in place of others."""
    return {
        (group, kind): strategy
        for (gate, group, kind), strategy in autoscaling.GATED.items()
        if gate in features
    }
