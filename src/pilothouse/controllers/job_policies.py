"""What a job's policies say of a failed pod, and of the indexes that succeeded
(pkg/controller/job/pod_failure_policy.go and success_policy.go; KEP-3329, KEP-3998)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.controllers import job_indexes


class Verdict(NamedTuple):
    """`action` is the matching rule's; "" when none matches. `message` is why the job fails, with FailJob."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Counts towards the back-off limits."""
        return self.action != "Ignore"


_NONE = Verdict()


def failure(policy: Obj | None, pod: Obj) -> Verdict:
    """The first rule that matches a failed pod."""
    for index, rule in enumerate((policy or {}).get("rules") or ()):
        why = _why(rule, pod)
        if why:
            action = rule["action"]
            message = f"{why} matching {action} rule at index {index}" if action == "FailJob" else ""
            return Verdict(action, message)
    return _NONE


def _why(rule: Obj, pod: Obj) -> str:
    status, meta = pod.get("status") or {}, pod["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    if rule.get("onExitCodes") is not None:
        lists = (status.get("containerStatuses"), status.get("initContainerStatuses"))
        for container in (c for found in lists for c in found or ()):
            code = _exit_code(container)
            if code and _matches(rule["onExitCodes"], container["name"], code):
                return f"Container {container['name']} for pod {name} failed with exit code {code}"
        return ""
    for condition in status.get("conditions") or ():
        for pattern in rule.get("onPodConditions") or ():
            if (condition["type"], condition["status"]) == (pattern["type"], pattern["status"]):
                return f"Pod {name} has condition {condition['type']}"
    return ""


def _exit_code(container: Obj) -> int:
    ended = (container.get("state") or {}).get("terminated") or {}
    code: int = ended.get("exitCode", 0)
    return code


def _matches(requirement: Obj, container: str, code: int) -> bool:
    if requirement.get("containerName") not in (None, container):
        return False
    listed = code in (requirement.get("values") or ())
    return listed if requirement["operator"] == "In" else not listed


def success(policy: Obj | None, completions: int, succeeded: set[int]) -> str | None:
    """Why the job has succeeded already, or None."""
    for index, rule in enumerate((policy or {}).get("rules") or ()):
        if _is_met(rule, completions, succeeded):
            return f"Matched rules at index {index}"
    return None


def _is_met(rule: Obj, completions: int, succeeded: set[int]) -> bool:
    wanted, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if wanted is None:
        return count is not None and len(succeeded) >= count
    listed = job_indexes.parse(wanted, completions)
    met = listed & succeeded
    return len(met) >= (len(listed) if count is None else count)


def failed_ones(policy: Obj | None, pods: Iterable[Obj]) -> str:
    """Why the job must fail as a whole for one of these failed pods; "" if it need not."""
    return next((v.message for v in (failure(policy, p) for p in pods) if v.message), "")
