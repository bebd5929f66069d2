"""kube-controller-manager's flags for the horizontal pod autoscaler, which `up` takes, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.cli.flags import Flag, Group, Values, no_effect
from pilothouse.cli.kinds import DURATION, FLOAT

if TYPE_CHECKING:
    from pilothouse.controllers.horizontal_pod_autoscaler import Autoscaling

GATE = "HPAScaleToZero"
"""The feature gate that lets an autoscaler go down to zero pods."""
_PREFIX = "horizontal-pod-autoscaler-"
_GONE = "upstream has given it up; use --horizontal-pod-autoscaler-downscale-stabilization or behavior"

GROUP = Group(
    "Horizontal pod autoscaling",
    (
        Flag(f"{_PREFIX}sync-period", DURATION, 15.0, "How often each autoscaler is looked at."),
        Flag(
            f"{_PREFIX}downscale-stabilization",
            DURATION,
            300.0,
            "So far back no recommendation may be undercut; for autoscalers that don't say it themselves.",
        ),
        Flag(
            f"{_PREFIX}tolerance",
            FLOAT,
            0.1,
            "How far from 1.0 the ratio of what is to what should be may be without a change.",
        ),
        Flag(
            f"{_PREFIX}cpu-initialization-period",
            DURATION,
            300.0,
            "How long after its start a pod's CPU counts only while it is ready.",
        ),
        Flag(
            f"{_PREFIX}initial-readiness-delay",
            DURATION,
            30.0,
            "A pod that turned unready so soon after its start has never been ready.",
        ),
        no_effect(f"{_PREFIX}upscale-delay", DURATION, 180.0, _GONE),
        no_effect(f"{_PREFIX}downscale-delay", DURATION, 300.0, _GONE),
    ),
)


def settings(values: Values) -> Autoscaling:
    from pilothouse.controllers.autoscaling.replicas import Patience
    from pilothouse.controllers.horizontal_pod_autoscaler import Autoscaling

    return Autoscaling(
        sync_s=values[f"{_PREFIX}sync-period"],
        tolerance=values[f"{_PREFIX}tolerance"],
        downscale_s=values[f"{_PREFIX}downscale-stabilization"],
        patience=Patience(
            values[f"{_PREFIX}cpu-initialization-period"], values[f"{_PREFIX}initial-readiness-delay"]
        ),
        to_zero=values["feature-gates"].get(GATE, False),
    )
