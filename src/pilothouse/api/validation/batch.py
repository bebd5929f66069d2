"""Validation of the kinds in batch (pkg/apis/batch/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api import labels
from pilothouse.api.types import Obj
from pilothouse.api.validation import indexes, meta, names, schedules
from pilothouse.api.validation.apps import immutable, mismatch, selector_of, template_labels
from pilothouse.api.validation.gotext import Maybe, Struct, struct, text
from pilothouse.api.validation.pods import gostructs
from pilothouse.api.validation.pods.forms import NON_NEGATIVE, checked, non_negative
from pilothouse.api.validation.pods.spec import template

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
LEGACY_UID_LABEL = "controller-uid"
LEGACY_NAME_LABEL = "job-name"

MANAGED_BY_MAX = 63
PARALLELISM_MAX = 100_000
FAILED_INDEXES_MAX = 100_000
COMPLETIONS_SOFT_MAX = 100_000
MANY_PARALLELISM_MAX = 10_000
MANY_FAILED_INDEXES_MAX = 10_000
RULES_MAX = 20
PATTERNS_MAX = 20
EXIT_CODES_MAX = 255
SUCCEEDED_INDEXES_BYTES_MAX = 64 * 1024
CRON_JOB_NAME_MAX = 52
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_INDEXED = "requires indexed completion mode"

_SUCCESS_POLICY = struct(Rules=Maybe(struct(SucceededIndexes=None, SucceededCount=None)))
_FAILURE_POLICY = struct(
    Rules=Maybe(
        struct(
            Action="",
            OnExitCodes=Maybe(struct(ContainerName=None, Operator="", Values=None)),
            OnPodConditions=Maybe(struct(Type="", Status="")),
        )
    )
)
_UNCOUNTED = struct(Succeeded=None, Failed=None)


# Job


def job(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    _generated_selector(obj, out)
    _selected_spec(spec, "spec", out)
    completions = spec.get("completions")
    if spec.get("completionMode") == "Indexed" and completions is not None and completions > 0:
        name = obj["metadata"].get("name", "")
        longest = f"{name}-{completions - 1}"
        if names.is_dns1123_label(longest):
            why = f"will not able to create pod with invalid DNS label: {longest}"
            out.append(f.invalid("metadata.name", name, why))
    return out


def _generated_selector(obj: Obj, out: f.Errors) -> None:
    """What the server generates must be there unless the user took over (ValidateGeneratedSelector)."""
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    if not uid:
        out.append(f.required("metadata.uid"))
    expected = {LEGACY_UID_LABEL: uid, LEGACY_NAME_LABEL: name, UID_LABEL: uid, NAME_LABEL: name}
    found = template_labels(spec) or {}
    for key, value in expected.items():
        at = f"spec.template.metadata.labels[{key}]"
        if key not in found:
            out.append(f.required(at, f"must be '{value}'"))
        elif found[key] != value:
            out.append(f.invalid(at, found[key], f"must be '{value}'"))
    selector = selector_of(spec["selector"])
    if selector is not None and not selector.matches(expected):
        out.append(f.invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))


def _selected_spec(spec: Obj, path: str, out: f.Errors) -> None:
    job_spec(spec, path, out)
    selector = spec.get("selector")
    if selector is None:
        out.append(f.required(f"{path}.selector"))
    else:
        out += meta.validate_label_selector(selector, f"{path}.selector")
    parsed: labels.Selector | None = selector_of(selector)
    if parsed is not None and not parsed.matches(template_labels(spec) or {}):
        out.append(mismatch(spec, path))


def job_spec(spec: Obj, path: str, out: f.Errors) -> None:
    """A JobSpec without its selector, as it also stands in a CronJob."""
    for key in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        non_negative(spec, key, path, out)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        out.append(f.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        _managed_by(spec["managedBy"], f"{path}.managedBy", out)
    _completion_mode(spec, path, out)
    if spec.get("podFailurePolicy") is not None:
        _failure_policy(spec, f"{path}.podFailurePolicy", out)
    if spec.get("successPolicy") is not None:
        _success_policy(spec, f"{path}.successPolicy", out)
    _replacement_policy(spec, f"{path}.podReplacementPolicy", out)
    template(spec["template"], f"{path}.template", out)
    _restart_policy(spec, f"{path}.template.spec.restartPolicy", out)


def _managed_by(value: str, path: str, out: f.Errors) -> None:
    """A domain-prefixed path (IsDomainPrefixedPath)."""
    if not value:
        out.append(f.required(path))
    else:
        domain, slash, rest = value.partition("/")
        if not slash or not domain or not rest:
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            out.append(f.invalid(path, value, why))
        else:
            for message in names.is_dns1123_subdomain(domain):
                out.append(f.invalid(path, domain, message))
            if not names.is_http_path(rest):
                out.append(f.invalid(path, rest, names.http_path_text()))
    if len(value) > MANAGED_BY_MAX:
        out.append(f.too_long(path, value, MANAGED_BY_MAX))


def _completion_mode(spec: Obj, path: str, out: f.Errors) -> None:
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        out.append(f.not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _indexed(spec, path, out)
    elif mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                out.append(f.invalid(f"{path}.{key}", spec[key], _INDEXED))


def _indexed(spec: Obj, path: str, out: f.Errors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        out.append(f.required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > PARALLELISM_MAX:
        why = f"must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
        out.append(f.invalid(f"{path}.parallelism", parallelism, why))
    if completions is not None and failed is not None and failed > completions:
        why = "must be less than or equal to completions"
        out.append(f.invalid(f"{path}.maxFailedIndexes", failed, why))
    if failed is not None and failed > FAILED_INDEXES_MAX:
        why = f"must be less than or equal to {FAILED_INDEXES_MAX}"
        out.append(f.invalid(f"{path}.maxFailedIndexes", failed, why))
    if (completions or 0) <= COMPLETIONS_SOFT_MAX or spec.get("backoffLimitPerIndex") is None:
        return
    many = f"when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
    if failed is None:
        why = f"must be specified when completions is above {COMPLETIONS_SOFT_MAX}"
        out.append(f.required(f"{path}.maxFailedIndexes", why))
    if parallelism is not None and parallelism > MANY_PARALLELISM_MAX:
        why = f"must be less than or equal to {MANY_PARALLELISM_MAX} {many}"
        out.append(f.invalid(f"{path}.parallelism", parallelism, why))
    if failed is not None and failed > MANY_FAILED_INDEXES_MAX:
        why = f"must be less than or equal to {MANY_FAILED_INDEXES_MAX} {many}"
        out.append(f.invalid(f"{path}.maxFailedIndexes", failed, why))


def _failure_policy(spec: Obj, path: str, out: f.Errors) -> None:
    rules = spec["podFailurePolicy"].get("rules") or []
    if len(rules) > RULES_MAX:
        out.append(f.too_many(f"{path}.rules", len(rules), RULES_MAX))
    pod = spec["template"]["spec"]
    known = {c.get("name") for key in ("containers", "initContainers") for c in pod.get(key) or ()}
    for i, rule in enumerate(rules):
        at, action = f"{path}.rules[{i}]", rule.get("action", "")
        if not action:
            out.append(f.required(f"{at}.action", f"valid values: {_quoted(ACTIONS)}"))
        elif action == "FailIndex":
            if spec.get("backoffLimitPerIndex") is None:
                why = "requires the backoffLimitPerIndex to be set"
                out.append(f.invalid(f"{at}.action", action, why))
        elif action not in ACTIONS:
            out.append(f.not_supported(f"{at}.action", action, ACTIONS))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            _exit_codes(codes, f"{at}.onExitCodes", known, out)
        if conditions:
            _pod_conditions(conditions, f"{at}.onPodConditions", out)
        if codes is not None and conditions:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            out.append(f.invalid(at, f.OMITTED, why))
        if codes is None and not conditions:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            out.append(f.invalid(at, f.OMITTED, why))


def _quoted(values: tuple[str, ...]) -> str:
    """Go's %q of a list."""
    return f"[{' '.join(f.go_quote(value) for value in values)}]"


def _exit_codes(codes: Obj, path: str, known: set[str | None], out: f.Errors) -> None:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        out.append(f.required(f"{path}.operator", f"valid values: {_quoted(('In', 'NotIn'))}"))
    elif operator not in ("In", "NotIn"):
        out.append(f.not_supported(f"{path}.operator", operator, ("In", "NotIn")))
    container = codes.get("containerName")
    if container is not None and container not in known:
        why = "must be one of the container or initContainer names in the pod template"
        out.append(f.invalid(f"{path}.containerName", container, why))
    if not values:
        out.append(f.invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > EXIT_CODES_MAX:
        out.append(f.too_many(f"{path}.values", len(values), EXIT_CODES_MAX))
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            out.append(f.invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator"))
        if value in values[:i]:
            out.append(f.duplicate(f"{path}.values[{i}]", value))
    if sorted(values) != values:
        out.append(f.invalid(f"{path}.values", values, "must be ordered"))


def _pod_conditions(patterns: list[Obj], path: str, out: f.Errors) -> None:
    if len(patterns) > PATTERNS_MAX:
        out.append(f.too_many(path, len(patterns), PATTERNS_MAX))
    statuses = ("False", "True", "Unknown")
    for i, pattern in enumerate(patterns):
        checked(pattern.get("type", ""), f"{path}[{i}].type", names.is_qualified_name, out)
        status = pattern.get("status", "")
        if not status:
            out.append(f.required(f"{path}[{i}].status", f"valid values: {_quoted(statuses)}"))
        elif status not in statuses:
            out.append(f.not_supported(f"{path}[{i}].status", status, statuses))


def _success_policy(spec: Obj, path: str, out: f.Errors) -> None:
    policy = spec["successPolicy"]
    if spec.get("completionMode") != "Indexed":
        out.append(f.invalid(path, text(policy, _SUCCESS_POLICY), _INDEXED))
        return
    rules = policy.get("rules") or []
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        out.append(f.required(f"{path}.rules", why))
    if len(rules) > RULES_MAX:
        out.append(f.too_many(f"{path}.rules", len(rules), RULES_MAX))
    completions = spec.get("completions")
    for i, rule in enumerate(rules):
        _success_rule(rule, completions or 0, f"{path}.rules[{i}]", out)


def _success_rule(rule: Obj, completions: int, path: str, out: f.Errors) -> None:
    count, given = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and given is None:
        why = "at least one of succeededCount or succeededIndexes must be specified"
        out.append(f.required(path, why))
    total = 0
    if given is not None:
        if len(given) > SUCCEEDED_INDEXES_BYTES_MAX:
            out.append(f.too_long(f"{path}.succeededIndexes", given, SUCCEEDED_INDEXES_BYTES_MAX))
        try:
            total = indexes.total(given, completions)
        except ValueError as error:
            why = f"error parsing succeededIndexes: {error}"
            out.append(f.invalid(f"{path}.succeededIndexes", given, why))
    if count is None:
        return
    at = f"{path}.succeededCount"
    non_negative(rule, "succeededCount", path, out)
    if count > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        out.append(f.invalid(at, count, why))
    if given is not None and count > total:
        what = "the number of indexes in the specified succeededIndexes field"
        out.append(f.invalid(at, count, f"must be less than or equal to {total} ({what})"))


def _replacement_policy(spec: Obj, path: str, out: f.Errors) -> None:
    value = spec.get("podReplacementPolicy")
    if value is None:
        return
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if value not in allowed:
        out.append(f.not_supported(path, value, allowed))


def _restart_policy(spec: Obj, path: str, out: f.Errors) -> None:
    value = spec["template"]["spec"].get("restartPolicy", "")
    if value in ("Always", ""):
        # Always is what a pod that says nothing gets, so it cannot be told from nothing.
        out.append(f.required(path, 'valid values: "OnFailure", "Never"'))
    elif value not in ("OnFailure", "Never"):
        out.append(f.not_supported(path, value, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and value != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        out.append(f.invalid(path, value, why))


def job_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    spec, before = obj["spec"], old["spec"]
    _selected_spec(spec, "spec", out)
    _completions_update(spec, before, out)
    out += immutable(spec.get("selector"), before.get("selector"), "spec.selector")
    _template_update(spec, before, _scheduling_is_open(old), out)
    out += immutable(spec.get("completionMode"), before.get("completionMode"), "spec.completionMode")
    _frozen_struct(spec, before, "podFailurePolicy", _FAILURE_POLICY, out)
    for key in ("backoffLimitPerIndex", "managedBy"):
        out += immutable(spec.get(key), before.get(key), f"spec.{key}")
    _frozen_struct(spec, before, "successPolicy", _SUCCESS_POLICY, out)
    return out


def _frozen_struct(spec: Obj, old: Obj, key: str, of: Struct, out: f.Errors) -> None:
    if spec.get(key) != old.get(key):
        out.append(f.invalid(f"spec.{key}", text(spec.get(key), of), "field is immutable"))


def _completions_update(spec: Obj, old: Obj, out: f.Errors) -> None:
    """An indexed job grows and shrinks together with its parallelism (KEP-3715)."""
    value, before = spec.get("completions"), old.get("completions")
    if spec.get("completionMode") != "Indexed":
        out += immutable(value, before, "spec.completions")
    elif value not in (before, None) and value != spec.get("parallelism"):
        why = "can only be modified in tandem with spec.parallelism"
        out.append(f.invalid("spec.completions", value, why))


def _scheduling_is_open(old: Obj) -> bool:
    """A suspended job that runs nothing may still be told where to run (KEP-2926)."""
    status = old.get("status") or {}
    suspended = any(
        c.get("type") == "Suspended" and c.get("status") == "True" for c in status.get("conditions") or ()
    )
    if not old["spec"].get("suspend"):
        return False
    return suspended or status.get("startTime") is None


def _template_update(spec: Obj, old: Obj, scheduling_open: bool, out: f.Errors) -> None:
    new, before = spec["template"], old["template"]
    pod, old_pod = new["spec"], before["spec"]
    if scheduling_open:
        old_pod = _with_scheduling_of(pod, old_pod)
    if gostructs.pod_spec(pod) != gostructs.pod_spec(old_pod):
        shown = gostructs.shown_pod_spec(pod)
        out.append(f.invalid("spec.template.spec", shown, "field is immutable"))
    if not scheduling_open and new["metadata"] != before["metadata"]:
        out.append(f.invalid("spec.template.metadata", new["metadata"], "field is immutable"))


def _with_scheduling_of(pod: Obj, old: Obj) -> Obj:
    made = dict(old)
    for key in ("nodeSelector", "tolerations", "schedulingGates"):
        if key in pod:
            made[key] = pod[key]
        else:
            made.pop(key, None)
    affinity, before = pod.get("affinity"), old.get("affinity")
    if affinity is None and before is None:
        return made
    kept = {key: value for key, value in (before or {}).items() if key != "nodeAffinity"}
    if (affinity or {}).get("nodeAffinity") is not None:
        kept["nodeAffinity"] = (affinity or {})["nodeAffinity"]
    if kept or affinity is not None:
        made["affinity"] = kept
    else:
        made.pop("affinity", None)
    return made


# Job status


def job_status_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    status, before = obj["status"], old["status"]
    now = _Conditions(status)
    was = _Conditions(before)
    # As upstream: a rule holds only where the update touches what it speaks of.
    touched = {key for key in {*status, *before} if status.get(key) != before.get(key)}
    _job_counts(status, out)
    _job_conditions(obj, now, was, touched, out)
    _job_indexes(obj, touched, out)
    _job_transitions(obj, old, now, was, touched, out)
    return out


class _Conditions:
    """Which conditions of a job's status are true."""

    def __init__(self, status: Obj) -> None:
        listed = status.get("conditions") or ()
        true = {c.get("type") for c in listed if c.get("status") == "True"}
        self.complete = "Complete" in true
        self.failed = "Failed" in true
        self.failing = "FailureTarget" in true
        self.succeeding = "SuccessCriteriaMet" in true
        self.finished = self.complete or self.failed


def _job_counts(status: Obj, out: f.Errors) -> None:
    for key in ("active", "succeeded", "failed", "ready", "terminating"):
        if status.get(key, 0) is not None and status.get(key, 0) < 0:
            out.append(f.invalid(f"status.{key}", status[key], NON_NEGATIVE))
    seen: set[str] = set()
    uncounted = status.get("uncountedTerminatedPods") or {}
    for key in ("succeeded", "failed"):
        for i, uid in enumerate(uncounted.get(key) or ()):
            at = f"status.uncountedTerminatedPods.{key}[{i}]"
            if not uid:
                out.append(f.invalid(at, uid, "must not be empty"))
            elif uid in seen:
                out.append(f.duplicate(at, uid))
            seen.add(uid)


def _job_conditions(obj: Obj, now: _Conditions, was: _Conditions, touched: set[str], out: f.Errors) -> None:
    status, spec, at = obj["status"], obj["spec"], "status.conditions"
    completing, failing = now.complete != was.complete, now.failed != was.failed
    finishing = now.finished != was.finished
    targeting, succeeding = now.failing != was.failing, now.succeeding != was.succeeding
    done, start = status.get("completionTime"), status.get("startTime")
    active, terminating = status.get("active", 0), status.get("terminating") or 0
    uncounted = status.get("uncountedTerminatedPods") or {}
    if (completing or failing) and now.complete and now.failed:
        out.append(f.invalid(at, f.OMITTED, "cannot set Complete=True and Failed=true conditions"))
    if (completing or targeting) and now.complete and now.failing:
        out.append(f.invalid(at, f.OMITTED, "cannot set Complete=True and FailureTarget=true conditions"))
    if (completing or "completionTime" in touched) and done is not None and not now.complete:
        why = "cannot set completionTime when there is no Complete=True condition"
        out.append(f.invalid("status.completionTime", done, why))
    if (completing or "completionTime" in touched) and done is None and now.complete:
        out.append(f.required("status.completionTime", "completionTime is required for Complete jobs"))
    if touched & {"completionTime", "startTime"} and start is not None and done is not None and done < start:
        why = "completionTime cannot be set before startTime"
        out.append(f.invalid("status.completionTime", done, why))
    if (failing or targeting) and now.failed and not now.failing:
        why = "cannot set Failed=True condition without the FailureTarget=true condition"
        out.append(f.invalid(at, f.OMITTED, why))
    if (completing or succeeding) and now.complete and not now.succeeding:
        why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        out.append(f.invalid(at, f.OMITTED, why))
    if finishing and active > 0 and now.finished:
        out.append(f.invalid("status.active", active, "active>0 is invalid for finished job"))
    if finishing and start is None and now.finished:
        out.append(f.required("status.startTime", "startTime is required for finished job"))
    waiting = any(uncounted.get(key) for key in ("succeeded", "failed"))
    if finishing and now.finished and waiting:
        why = "uncountedTerminatedPods needs to be empty for finished job"
        out.append(f.invalid("status.uncountedTerminatedPods", text(uncounted, _UNCOUNTED), why))
    if (finishing or "terminating" in touched) and terminating > 0 and now.finished:
        out.append(f.invalid("status.terminating", terminating, "terminating>0 is invalid for finished job"))
    if "ready" in touched and (status.get("ready") or 0) > active:
        out.append(f.invalid("status.ready", status["ready"], "cannot set more ready pods than active"))
    if now.succeeding and now.failed:
        why = "cannot set SuccessCriteriaMet=True and Failed=true conditions"
        out.append(f.invalid(at, f.OMITTED, why))
    if now.succeeding and now.failing:
        why = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"
        out.append(f.invalid(at, f.OMITTED, why))
    if spec.get("successPolicy") is not None and now.complete and not now.succeeding:
        why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        out.append(f.invalid(at, f.OMITTED, why))


def _job_indexes(obj: Obj, touched: set[str], out: f.Errors) -> None:
    status, spec = obj["status"], obj["spec"]
    if not touched & {"completedIndexes", "failedIndexes"}:
        return
    completions = spec.get("completions")
    completed, failed = status.get("completedIndexes", ""), status.get("failedIndexes")
    for key, value in (("completedIndexes", completed), ("failedIndexes", failed)):
        if completions is None or value is None or key not in touched:
            continue
        try:
            indexes.parse(value, completions)
        except ValueError as error:
            out.append(f.invalid(f"status.{key}", value, f"error parsing {key}: {error}"))
    if completed and spec.get("completionMode") != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        out.append(f.invalid("status.completedIndexes", completed, why))
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        out.append(f.invalid("status.failedIndexes", failed, why))
    if completions is not None and failed is not None:
        why = indexes.overlap(completed, failed, completions)
        if why:
            out.append(f.invalid("status.failedIndexes", failed, why))


def _job_transitions(
    obj: Obj, old: Obj, now: _Conditions, was: _Conditions, touched: set[str], out: f.Errors
) -> None:
    status, before, at = obj["status"], old["status"], "status.conditions"
    for name, then, still in (
        ("Failed", was.failed, now.failed),
        ("Complete", was.complete, now.complete),
        ("FailureTarget", was.failing, now.failing),
    ):
        if then and not still:
            out.append(f.invalid(at, f.OMITTED, f"cannot disable the terminal {name}=True condition"))
    spec = obj["spec"]
    # An indexed job with as many pods as completions may be scaled down, and its successes with it.
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for key in ("failed",) if elastic else ("failed", "succeeded"):
        if status.get(key, 0) < before.get(key, 0):
            out.append(f.invalid(f"status.{key}", status.get(key, 0), f"cannot decrease the {key} counter"))
    done, was_done = status.get("completionTime"), before.get("completionTime")
    if done is not None and was_done is not None and done != was_done:
        out.append(f.invalid("status.completionTime", done, "completionTime cannot be mutated"))
    if (
        before.get("startTime") is not None
        and before.get("startTime") != status.get("startTime")
        and not obj["spec"].get("suspend")
    ):
        out.append(f.required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if was.succeeding and not now.succeeding:
        out.append(f.invalid(at, f.OMITTED, "cannot disable the SuccessCriteriaMet=True condition"))
    if was.complete and not was.succeeding and now.succeeding:
        why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        out.append(f.invalid(at, f.OMITTED, why))


# CronJob


def cron_job(obj: Obj) -> f.Errors:
    out: f.Errors = []
    _cron_spec(obj["spec"], None, "spec", out)
    name = obj["metadata"].get("name", "")
    if len(name) > CRON_JOB_NAME_MAX:
        # A job of it gets eleven letters more, and has 63.
        out.append(f.invalid("metadata.name", name, f"must be no more than {CRON_JOB_NAME_MAX} characters"))
    return out


def cron_job_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    _cron_spec(obj["spec"], old["spec"], "spec", out)
    return out


def _cron_spec(spec: Obj, old: Obj | None, path: str, out: f.Errors) -> None:
    if not spec.get("schedule"):
        out.append(f.required(f"{path}.schedule"))
    else:
        _schedule(spec, old, f"{path}.schedule", out)
    non_negative(spec, "startingDeadlineSeconds", path, out)
    if old is None or old.get("timeZone") != spec.get("timeZone"):
        schedules.time_zone(spec.get("timeZone"), f"{path}.timeZone", out)
    policy = spec.get("concurrencyPolicy")
    if not policy:
        out.append(f.required(f"{path}.concurrencyPolicy"))
    elif policy not in ("Allow", "Forbid", "Replace"):
        out.append(f.not_supported(f"{path}.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    _job_template(spec["jobTemplate"]["spec"], f"{path}.jobTemplate.spec", out)
    non_negative(spec, "successfulJobsHistoryLimit", path, out)
    non_negative(spec, "failedJobsHistoryLimit", path, out)


def _schedule(spec: Obj, old: Obj | None, path: str, out: f.Errors) -> None:
    text = spec["schedule"]
    problem = schedules.schedule_error(text)
    if problem:
        out.append(f.invalid(path, text, problem))
    if "TZ" not in text:
        return
    if old is None or "TZ" not in old.get("schedule", ""):
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        out.append(f.invalid(path, text, why))
    elif spec.get("timeZone") is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        out.append(f.invalid(path, text, why))


def _job_template(spec: Obj, path: str, out: f.Errors) -> None:
    job_spec(spec, path, out)
    if spec.get("selector") is not None:
        why = "`selector` will be auto-generated"
        out.append(f.invalid(f"{path}.selector", spec["selector"], why))
    if spec.get("manualSelector"):
        out.append(f.not_supported(f"{path}.manualSelector", True, ("nil", "false")))
