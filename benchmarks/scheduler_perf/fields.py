"""What a workload file may say: every operation with its fields, as upstream's structs have them
(kubernetes test/integration/scheduler_perf: scheduler_perf.go, operations.go, dra.go, create.go, update.go).

Names are matched without regard to case, as Go's decoder does; a field that is in no table is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Form = Literal[
    "text",
    "flag",
    "count",  # a whole number from 0 on
    "path",  # a file, relative to the workload file
    "paths",
    "parameter",  # $NAME: another field gets its value from the workload's params
    "duration",  # Go's: 10s, 1m30s, 500ms
    "labels",  # text by text
    "texts",
    "values",  # anything by text; values that begin with $ are parameters
    "conditions",
    "operation",
    "any",
]


@dataclass(frozen=True)
class Opcode:
    """`required` fields must be there; `collects` when it ends with figures."""

    fields: Mapping[str, Form]
    required: tuple[str, ...] = ()
    collects: bool = False


@dataclass(frozen=True)
class Parameter:
    """The field that a parameter sets, and how."""

    target: str
    form: Form
    factor: bool = False
    """It multiplies what is there instead."""


PARAMETERS: Mapping[str, Parameter] = {
    "countParam": Parameter("count", "count"),
    "countMultiplierParam": Parameter("count", "count", factor=True),
    "signatureBatchSizeParam": Parameter("signatureBatchSize", "count"),
    "steadyStateParam": Parameter("steadyState", "flag"),
    "durationParam": Parameter("duration", "duration"),
    "maxClaimsPerNodeParam": Parameter("maxClaimsPerNode", "count"),
    "scheduledParam": Parameter("expectedScheduled", "flag"),
    "conditionTypeParam": Parameter("conditionType", "text"),
    "conditionStatusParam": Parameter("conditionStatus", "text"),
}
"""In the order in which they are applied: a factor after what it multiplies."""

_COUNT: Mapping[str, Form] = {"count": "count", "countParam": "parameter"}
_DURATION: Mapping[str, Form] = {"duration": "duration", "durationParam": "parameter"}
_TEMPLATE: Mapping[str, Form] = {"templatePath": "path", "templateParams": "values"}

_CREATE_PODS: Mapping[str, Form] = {
    **_COUNT,
    **_DURATION,
    "countMultiplierParam": "parameter",
    "steadyState": "flag",
    "steadyStateParam": "parameter",
    "collectMetrics": "flag",
    "namespace": "text",
    "podTemplatePath": "path",
    "templateParams": "values",
    "skipWaitToCompletion": "flag",
    "skipDeferredDelete": "flag",
    "persistentVolumeTemplatePath": "path",
    "persistentVolumeClaimTemplatePath": "path",
    "signatureBatchSize": "count",
    "signatureBatchSizeParam": "parameter",
}

OPCODES: Mapping[str, Opcode] = {
    "createNodes": Opcode(
        {
            **_COUNT,
            "nodeTemplatePath": "path",
            "templateParams": "values",
            "nodeAllocatableStrategy": "any",
            "labelNodePrepareStrategy": "any",
            "uniqueNodeLabelStrategy": "any",
        }
    ),
    "createNamespaces": Opcode(
        {**_COUNT, "prefix": "text", "namespaceTemplatePath": "path"}, required=("prefix",)
    ),
    "createPods": Opcode(_CREATE_PODS, collects=True),
    "createPodSets": Opcode(
        {**_COUNT, "namespacePrefix": "text", "createPodsOp": "operation"},
        required=("namespacePrefix", "createPodsOp"),
        collects=True,
    ),
    "createPodGroups": Opcode(
        {**_COUNT, **_TEMPLATE, "namespace": "text"}, required=("namespace", "templatePath")
    ),
    "waitForPodGroups": Opcode({**_COUNT, "namespace": "text"}, required=("namespace",)),
    "deletePods": Opcode(
        {
            "namespace": "text",
            "labelSelector": "labels",
            "skipWaitToCompletion": "flag",
            "deletePodsPerSecond": "count",
        },
        required=("namespace",),
    ),
    "churn": Opcode(
        {
            "mode": "text",
            "number": "count",
            "intervalMilliseconds": "count",
            "namespace": "text",
            "templatePaths": "paths",
        },
        required=("mode", "templatePaths"),
    ),
    "barrier": Opcode({"namespaces": "texts", "labelSelector": "labels", "stageRequirement": "text"}),
    "sleep": Opcode(_DURATION),
    "createAny": Opcode({**_COUNT, **_TEMPLATE, "namespace": "text"}, required=("templatePath",)),
    "updateAny": Opcode(
        {
            **_COUNT,
            **_TEMPLATE,
            "namespace": "text",
            "updatePerSecond": "count",
            "subresources": "texts",
        },
        required=("templatePath",),
    ),
    "createResourceClaims": Opcode(
        {**_COUNT, "namespace": "text", "templatePath": "path"}, required=("namespace", "templatePath")
    ),
    "createResourceDriver": Opcode(
        {
            "driverName": "text",
            "nodes": "text",
            "maxClaimsPerNode": "count",
            "maxClaimsPerNodeParam": "parameter",
        },
        required=("driverName", "nodes"),
    ),
    "allocResourceClaims": Opcode({"namespace": "text"}),
    "updateDeviceConditions": Opcode(
        {
            **_DURATION,
            "namespace": "text",
            "conditions": "conditions",
            "conditionTypeParam": "parameter",
            "conditionStatusParam": "parameter",
        },
        required=("namespace",),
    ),
    "checkPodScheduled": Opcode(
        {**_DURATION, "namespace": "text", "scheduledParam": "parameter", "expectedScheduled": "flag"},
        required=("namespace",),
    ),
    "startCollectingMetrics": Opcode(
        {"name": "text", "namespaces": "texts", "labelSelector": "labels", "collectors": "texts"},
        required=("namespaces",),
    ),
    "stopCollectingMetrics": Opcode({}, collects=True),
    "startCollectingProfile": Opcode({"type": "text", "filePath": "text"}, required=("type", "filePath")),
    "stopCollectingProfile": Opcode({"type": "text"}, required=("type",)),
}

STRATEGIES: Mapping[str, Mapping[str, Form]] = {
    "nodeAllocatableStrategy": {
        "nodeAllocatable": "labels",
        "csiNodeAllocatable": "values",
        "migratedPlugins": "texts",
    },
    "labelNodePrepareStrategy": {"labelKey": "text", "labelValues": "texts"},
    "uniqueNodeLabelStrategy": {"labelKey": "text"},
}
"""What a node gets after it was made (test/utils PrepareNodeStrategy); at most one for a createNodes."""

CASE: Mapping[str, Form] = {
    "name": "text",
    "featureGates": "values",
    "metricsCollectorConfig": "any",
    "workloadTemplate": "any",
    "workloads": "any",
    "schedulerConfigPath": "path",
    "defaultPodTemplatePath": "path",
    "labels": "texts",
    "defaultThresholdMetricSelector": "any",
}
WORKLOAD: Mapping[str, Form] = {
    "name": "text",
    "params": "values",
    "labels": "texts",
    "threshold": "any",
    "thresholdMetricSelector": "any",
    "featureGates": "values",
}
SELECTOR: Mapping[str, Form] = {
    "name": "text",
    "labels": "labels",
    "dataBucket": "text",
    "expectLower": "flag",
}
CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("churn", "mode"): ("create", "recreate"),
    ("barrier", "stageRequirement"): ("", "Scheduled", "Attempted"),
    ("startCollectingProfile", "type"): ("CPU", "cpu"),
    ("stopCollectingProfile", "type"): ("CPU", "cpu"),
}
