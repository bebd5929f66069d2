"""Table columns of the kinds in admissionregistration.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "admissionregistration.k8s.io"


def _webhook_configuration(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now_s)]


def _policy(obj: Obj, now_s: float, rules: str) -> list[Any]:
    spec = obj["spec"]
    param = spec.get("paramKind")
    return [
        name(obj),
        len(spec.get(rules) or ()),
        f"{param.get('apiVersion', '')}/{param.get('kind', '')}" if param is not None else "<unset>",
        age(obj, now_s),
    ]


def _validating_policy(obj: Obj, now_s: float) -> list[Any]:
    return _policy(obj, now_s, "validations")


def _mutating_policy(obj: Obj, now_s: float) -> list[Any]:
    return _policy(obj, now_s, "mutations")


def _binding(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    return [name(obj), spec.get("policyName", ""), _param(spec.get("paramRef") or {}), age(obj, now_s)]


def _param(ref: Obj) -> str:
    if ref.get("name"):
        # Whether the parameter has a namespace cannot be told from here.
        return f"{ref.get('namespace') or '*'}/{ref['name']}"
    if ref.get("selector") is not None:
        return go_label_selector(ref["selector"])
    return "<unset>"


def go_label_selector(selector: Obj) -> str:
    """A LabelSelector as its generated Go String() prints it."""
    labels = selector.get("matchLabels") or {}
    pairs = "".join(f"{key}: {labels[key]}," for key in sorted(labels))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e.get('key', '')},Operator:{e.get('operator', '')},"
        f"Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


_WEBHOOKS = (
    NAME,
    Column(
        "Webhooks",
        "integer",
        describe="Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
)
_PARAM_KIND = Column(
    "ParamKind", describe="ParamKind specifies the kind of resources used to parameterize this policy"
)
_BINDING = (
    NAME,
    Column(
        "PolicyName",
        describe="PolicyName indicates the policy definition which the policy binding binded to",
    ),
    Column("ParamRef", describe="ParamRef indicates the param resource which sets the configuration param"),
    AGE,
)

TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "ValidatingWebhookConfiguration"): Table(_WEBHOOKS, _webhook_configuration),
    (GROUP, "MutatingWebhookConfiguration"): Table(_WEBHOOKS, _webhook_configuration),
    (GROUP, "ValidatingAdmissionPolicy"): Table(
        (
            NAME,
            Column(
                "Validations",
                "integer",
                describe="Validations indicates the number of validation rules defined in this configuration",
            ),
            _PARAM_KIND,
            AGE,
        ),
        _validating_policy,
    ),
    (GROUP, "MutatingAdmissionPolicy"): Table(
        (
            NAME,
            Column(
                "Mutations",
                "integer",
                describe="Mutation indicates the number of mutations rules defined in this configuration",
            ),
            _PARAM_KIND,
            AGE,
        ),
        _mutating_policy,
    ),
    (GROUP, "ValidatingAdmissionPolicyBinding"): Table(_BINDING, _binding),
    (GROUP, "MutatingAdmissionPolicyBinding"): Table(_BINDING, _binding),
}
