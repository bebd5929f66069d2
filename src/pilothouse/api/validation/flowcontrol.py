"""Validation of the kinds in flowcontrol.apiserver.k8s.io (pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names

PRECEDENCE_MAX = 10000
QUEUES_MAX = 10_000_000
HASH_BITS_MAX = 60
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
DISTINGUISHERS = ("ByNamespace", "ByUser")
SUBJECT_KINDS = ("Group", "ServiceAccount", "User")

_EVERYTHING: Obj = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _groups(*group_names: str) -> list[Obj]:
    return [{"kind": "Group", "group": {"name": name}} for name in group_names]


MANDATORY_FLOW_SCHEMAS: dict[str, Obj] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [{"subjects": _groups("system:masters"), **_EVERYTHING}],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": PRECEDENCE_MAX,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {"subjects": _groups("system:unauthenticated", "system:authenticated"), **_EVERYTHING},
        ],
    },
}
"""Specs that nobody may change (pkg/apis/flowcontrol/internalbootstrap)."""

MANDATORY_PRIORITY_LEVELS: dict[str, Obj] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 5,
            "limitResponse": {"type": "Reject"},
            "lendablePercent": 0,
        },
    },
}
"""Of exempt, an administrator may change what is under `exempt`."""


def flow_schema(obj: Obj) -> f.Errors:
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    errors = _flow_schema_spec(name, spec, "spec")
    mandatory = MANDATORY_FLOW_SCHEMAS.get(name)
    if mandatory is not None and spec != mandatory:
        shown = gotext.text(spec, _FLOW_SCHEMA_SPEC)
        errors.append(f.invalid("spec", shown, f"spec of '{name}' must equal the fixed value"))
    return errors + conditions(obj["status"], "status")


def _flow_schema_spec(name: str, spec: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    precedence, at = spec.get("matchingPrecedence", 0), f"{path}.matchingPrecedence"
    if precedence <= 0:
        errors.append(f.invalid(at, precedence, "must be a positive value"))
    if precedence > PRECEDENCE_MAX:
        errors.append(f.invalid(at, precedence, f"must not be greater than {PRECEDENCE_MAX}"))
    if precedence == 1 and name != "exempt":
        errors.append(
            f.invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
        )
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in DISTINGUISHERS:
        shown = gotext.text(method, _DISTINGUISHER)
        errors.append(f.not_supported(f"{path}.distinguisherMethod.type", shown, DISTINGUISHERS))
    level, at = spec["priorityLevelConfiguration"].get("name", ""), f"{path}.priorityLevelConfiguration.name"
    if level:
        errors += [f.invalid(at, level, text) for text in names.is_dns1123_subdomain(level)]
    else:
        errors.append(f.required(at, "must reference a priority level"))
    for i, rule in enumerate(spec.get("rules") or ()):
        errors += _rules_with_subjects(rule, f"{path}.rules[{i}]")
    return errors


def _rules_with_subjects(rule: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    subjects = rule.get("subjects") or ()
    if not subjects:
        errors.append(f.required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(subjects):
        errors += _subject(subject, f"{path}.subjects[{i}]")
    resource_rules, other_rules = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resource_rules and not other_rules:
        errors.append(
            f.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
        )
    for i, inner in enumerate(resource_rules):
        errors += _resource_rule(inner, f"{path}.resourceRules[{i}]")
    for i, inner in enumerate(other_rules):
        errors += _non_resource_rule(inner, f"{path}.nonResourceRules[{i}]")
    return errors


_SUBJECT_FIELDS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}


def _subject(subject: Obj, path: str) -> f.Errors:
    kind = subject.get("kind", "")
    if kind not in _SUBJECT_FIELDS:
        return [f.not_supported(f"{path}.kind", kind, SUBJECT_KINDS)]
    own = _SUBJECT_FIELDS[kind]
    body = subject.get(own)
    if body is None:
        errors = [f.required(f"{path}.{own}", f"{own} is required when subject kind is '{kind}'")]
    elif kind == "ServiceAccount":
        errors = _service_account(body, f"{path}.{own}")
    else:
        errors = [] if body.get("name") else [f.required(f"{path}.{own}.name")]
    for other_kind, other in _SUBJECT_FIELDS.items():
        if other != own and subject.get(other) is not None:
            why = f"{other} is forbidden when subject kind is not '{other_kind}'"
            errors.append(f.forbidden(f"{path}.{other}", why))
    return errors


def _service_account(account: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    name, namespace = account.get("name", ""), account.get("namespace", "")
    if not name:
        errors.append(f.required(f"{path}.name"))
    elif name != "*":
        errors += [f.invalid(f"{path}.name", name, text) for text in names.is_dns1123_subdomain(name)]
    if namespace:
        errors += [
            f.invalid(f"{path}.namespace", namespace, text) for text in names.is_dns1123_label(namespace)
        ]
    else:
        errors.append(f.required(f"{path}.namespace", "must specify namespace for service account"))
    return errors


def _verbs(rule: Obj, path: str) -> f.Errors:
    verbs, at = rule.get("verbs") or [], f"{path}.verbs"
    if not verbs:
        return [f.required(at, "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, at, "verbs")
    if not set(verbs) <= set(VERBS):
        return [f.not_supported(at, verbs, VERBS)]
    return []


def _alone(values: Sequence[Any], path: str, what: str) -> f.Errors:
    """A wildcard stands alone."""
    if len(values) > 1 and "*" in values:
        return [f.invalid(path, values, f"if '*' is present, must not specify other {what}")]
    return []


def _non_resource_rule(rule: Obj, path: str) -> f.Errors:
    errors = _verbs(rule, path)
    urls, at = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    if not urls:
        errors.append(f.required(at, "nonResourceURLs must contain at least one value"))
    elif "*" in urls:
        errors += _alone(urls, at, "non-resource URLs")
    else:
        for i, url in enumerate(urls):
            why = _bad_url(url)
            if why:
                errors.append(f.invalid(f"{at}[{i}]", url, why))
    return errors


def _bad_url(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    wildcards = url.count("*")
    if wildcards > 1 or (wildcards == 1 and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _resource_rule(rule: Obj, path: str) -> f.Errors:
    errors = _verbs(rule, path)
    for key, missing, others in (
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ):
        values = rule.get(key) or []
        if not values:
            errors.append(f.required(f"{path}.{key}", missing))
        errors += _alone(values, f"{path}.{key}", others)
    namespaces, at = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.append(f.required(at, why))
    elif "*" in namespaces:
        errors += _alone(namespaces, at, "namespaces")
    else:
        intro = "each member of this list must be '*' or a DNS-1123 label; "
        for i, namespace in enumerate(namespaces):
            for text in names.is_dns1123_label(namespace):
                errors.append(f.invalid(f"{at}[{i}]", namespace, intro + text))
    return errors


def conditions(status: Obj, path: str) -> f.Errors:
    """The status of either kind: condition types are there, and once each."""
    errors: f.Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(status.get("conditions") or ()):
        kind, at = condition.get("type", ""), f"{path}.conditions[{i}].type"
        if kind in seen:
            errors.append(f.duplicate(at, kind))
        seen.add(kind)
        if not kind:
            errors.append(f.required(at, "must not be empty"))
    return errors


def priority_level_configuration(obj: Obj) -> f.Errors:
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    errors = _priority_level_spec(name, spec, "spec")
    mandatory = MANDATORY_PRIORITY_LEVELS.get(name)
    if mandatory is not None:
        except_for = ""
        if name == "exempt":
            mandatory = {**mandatory, "exempt": spec.get("exempt")}
            spec = {"exempt": None, **spec}
            except_for = " except the 'spec.exempt' field"
        if spec != mandatory:
            shown = gotext.text(spec, _PRIORITY_LEVEL_SPEC)
            errors.append(
                f.invalid("spec", shown, f"spec of '{name}'{except_for} must equal the fixed value")
            )
    return errors + conditions(obj["status"], "status")


def _priority_level_spec(name: str, spec: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    kind, exempt, limited = spec.get("type", ""), spec.get("exempt"), spec.get("limited")
    if (name == "exempt") != (kind == "Exempt"):
        errors.append(f.invalid(f"{path}.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            errors.append(f.forbidden(f"{path}.limited", "must be nil if the type is not Limited"))
        if exempt is not None:
            errors += _shares(exempt, f"{path}.exempt") + _lendable(exempt, f"{path}.exempt")
    elif kind == "Limited":
        if exempt is not None:
            errors.append(f.forbidden(f"{path}.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(f.required(f"{path}.limited", "must not be empty when type is Limited"))
        else:
            errors += _limited(limited, f"{path}.limited")
    else:
        errors.append(f.not_supported(f"{path}.type", kind, ("Exempt", "Limited")))
    return errors


def _shares(level: Obj, path: str) -> f.Errors:
    shares = level.get("nominalConcurrencyShares", 0)
    if shares >= 0:
        return []
    return [f.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")]


def _lendable(level: Obj, path: str) -> f.Errors:
    percent = level.get("lendablePercent", 0)
    if 0 <= percent <= 100:
        return []
    return [f.invalid(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive")]


def _limited(limited: Obj, path: str) -> f.Errors:
    errors = _shares(limited, path)
    errors += _limit_response(limited["limitResponse"], f"{path}.limitResponse")
    errors += _lendable(limited, path)
    borrowing = limited.get("borrowingLimitPercent", 0)
    if borrowing < 0:
        why = "if specified, must be a non-negative integer"
        errors.append(f.invalid(f"{path}.borrowingLimitPercent", borrowing, why))
    return errors


def _limit_response(response: Obj, path: str) -> f.Errors:
    kind, queuing, at = response.get("type", ""), response.get("queuing"), f"{path}.queuing"
    if kind == "Reject":
        if queuing is None:
            return []
        return [f.forbidden(at, "must be nil if limited.limitResponse.type is not Limited")]
    if kind == "Queue":
        if queuing is None:
            return [f.required(at, "must not be empty if limited.limitResponse.type is Limited")]
        return _queuing(queuing, at)
    return [f.not_supported(f"{path}.type", kind, ("Queue", "Reject"))]


def _queuing(queuing: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    length, queues, hand = (queuing.get(key, 0) for key in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        errors.append(f.invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        errors.append(f.invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > QUEUES_MAX:
        errors.append(f.invalid(f"{path}.queues", queues, f"must not be greater than {QUEUES_MAX}"))
    at = f"{path}.handSize"
    if hand <= 0:
        errors.append(f.invalid(at, hand, "must be positive"))
    elif hand > queues:
        errors.append(f.invalid(at, hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > HASH_BITS_MAX:
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} "
            f"should not be greater than {HASH_BITS_MAX}"
        )
        errors.append(f.invalid(at, hand, why))
    return errors


_NAME = gotext.struct(Name="")
_DISTINGUISHER = gotext.struct(Type="")
_SUBJECT = gotext.struct(
    Kind="",
    User=gotext.Maybe(_NAME),
    Group=gotext.Maybe(_NAME),
    ServiceAccount=gotext.Maybe(gotext.struct(Namespace="", Name="")),
)
_RESOURCE_RULE = gotext.struct(
    Verbs=None, APIGroups=None, Resources=None, ClusterScope=False, Namespaces=None
)
_RULES = gotext.struct(
    Subjects=gotext.Maybe(_SUBJECT),
    ResourceRules=gotext.Maybe(_RESOURCE_RULE),
    NonResourceRules=gotext.Maybe(gotext.struct(Verbs=None, NonResourceURLs=None)),
)
_FLOW_SCHEMA_SPEC = gotext.struct(
    PriorityLevelConfiguration=_NAME,
    MatchingPrecedence=0,
    DistinguisherMethod=gotext.Maybe(_DISTINGUISHER),
    Rules=gotext.Maybe(_RULES),
)
_QUEUING = gotext.struct(Queues=0, HandSize=0, QueueLengthLimit=0)
_PRIORITY_LEVEL_SPEC = gotext.struct(
    Type="",
    Limited=gotext.Maybe(
        gotext.struct(
            NominalConcurrencyShares=0,
            LimitResponse=gotext.struct(Type="", Queuing=gotext.Maybe(_QUEUING)),
            LendablePercent=None,
            BorrowingLimitPercent=None,
        )
    ),
    Exempt=gotext.Maybe(gotext.struct(NominalConcurrencyShares=None, LendablePercent=None)),
)
