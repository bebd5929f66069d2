"""Columns that `kubectl get` shows, per kind, as upstream's pkg/printers/internalversion prints them."""

from __future__ import annotations

from pilothouse.apiserver.registry.tables import (
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
from pilothouse.apiserver.registry.tables.column import Table

TABLE: dict[tuple[str, str], Table] = {
    **admissionregistration.TABLES,
    **apiextensions.TABLES,
    **apiregistration.TABLES,
    **apps.TABLES,
    **authentication.TABLES,
    **authorization.TABLES,
    **autoscaling.TABLES,
    **batch.TABLES,
    **certificates.TABLES,
    **coordination.TABLES,
    **core.TABLES,
    **discovery.TABLES,
    **events.TABLES,
    **flowcontrol.TABLES,
    **networking.TABLES,
    **node.TABLES,
    **pods.TABLES,
    **policy.TABLES,
    **rbac.TABLES,
    **resource.TABLES,
    **scheduling.TABLES,
    **storage.TABLES,
}
"""By group and kind; a kind without an entry shows name and creation time."""
