"""Defaults of the kinds in flowcontrol.apiserver.k8s.io (pkg/apis/flowcontrol/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

GROUP = "flowcontrol.apiserver.k8s.io"

MATCHING_PRECEDENCE = 1000
NOMINAL_CONCURRENCY_SHARES = 30
QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


def flow_schema(obj: Obj) -> None:
    if not obj["spec"].get("matchingPrecedence"):
        obj["spec"]["matchingPrecedence"] = MATCHING_PRECEDENCE


def priority_level_configuration(obj: Obj) -> None:
    spec = obj["spec"]
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if exempt is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if limited is not None:
        limited.setdefault("nominalConcurrencyShares", NOMINAL_CONCURRENCY_SHARES)
        limited.setdefault("lendablePercent", 0)
        queuing = limited["limitResponse"].get("queuing")
        if queuing is not None:
            for key, value in QUEUING.items():
                if not queuing.get(key):
                    queuing[key] = value


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    (GROUP, version, kind): default
    for version in ("v1", "v1beta3")
    for kind, default in {
        "FlowSchema": flow_schema,
        "PriorityLevelConfiguration": priority_level_configuration,
    }.items()
}
