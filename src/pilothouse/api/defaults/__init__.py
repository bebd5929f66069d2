"""Defaults per kind, as upstream's pkg/apis/*/v*/defaults.go set them. One file per API group.

A defaulting function works on one object in place; it never looks at another object or at the server.
"""

from __future__ import annotations

from pilothouse.api.defaults import (
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
from pilothouse.api.defaults.table import Defaulter

TABLE: dict[tuple[str, str, str], Defaulter] = {
    **admissionregistration.DEFAULTS,
    **apiextensions.DEFAULTS,
    **apiregistration.DEFAULTS,
    **apps.DEFAULTS,
    **authentication.DEFAULTS,
    **authorization.DEFAULTS,
    **autoscaling.DEFAULTS,
    **batch.DEFAULTS,
    **certificates.DEFAULTS,
    **coordination.DEFAULTS,
    **core.DEFAULTS,
    **discovery.DEFAULTS,
    **events.DEFAULTS,
    **flowcontrol.DEFAULTS,
    **networking.DEFAULTS,
    **node.DEFAULTS,
    **pods.DEFAULTS,
    **policy.DEFAULTS,
    **rbac.DEFAULTS,
    **resource.DEFAULTS,
    **scheduling.DEFAULTS,
    **storage.DEFAULTS,
}
"""By group, version, kind."""
