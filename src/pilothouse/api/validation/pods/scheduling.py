"""Where a pod may run: affinity, tolerations, spreading, gates."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.pods.forms import LABEL_KEY, checked
from pilothouse.api.validation.pods.options import Options

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
INCLUSION = ("Honor", "Ignore")
NOT_AN_OPERATOR = "not a valid selector operator"


def affinity(value: Obj, path: str, options: Options, out: f.Errors) -> None:
    node = value.get("nodeAffinity")
    if node is not None:
        _node_affinity(node, f"{path}.nodeAffinity", options, out)
    for key in ("podAffinity", "podAntiAffinity"):
        pod = value.get(key)
        if pod is not None:
            _pod_affinity(pod, f"{path}.{key}", options, out)


def _node_affinity(value: Obj, path: str, options: Options, out: f.Errors) -> None:
    if value.get(REQUIRED) is not None:
        node_selector(value[REQUIRED], f"{path}.{REQUIRED}", out, any_value=options.bad_node_affinity_values)
    for i, term in enumerate(value.get(PREFERRED) or ()):
        at = f"{path}.{PREFERRED}[{i}]"
        _weight(term, at, out)
        # A preference may name values that no label has: it simply never counts.
        node_selector_term(term.get("preference") or {}, f"{at}.preference", out, any_value=True)


def _weight(term: Obj, path: str, out: f.Errors) -> None:
    weight = term.get("weight", 0)
    if not 1 <= weight <= 100:
        out.append(f.invalid(f"{path}.weight", weight, "must be in the range 1-100"))


def node_selector(value: Obj, path: str, out: f.Errors, *, any_value: bool = False) -> None:
    """core/v1 NodeSelector. `any_value`: values need not be label values."""
    terms = value.get("nodeSelectorTerms")
    if not terms:
        out.append(f.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
        return
    for i, term in enumerate(terms):
        node_selector_term(term, f"{path}.nodeSelectorTerms[{i}]", out, any_value=any_value)


def node_selector_term(term: Obj, path: str, out: f.Errors, *, any_value: bool = False) -> None:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        _node_requirement(expression, f"{path}.matchExpressions[{i}]", any_value, out)
    for i, requirement in enumerate(term.get("matchFields") or ()):
        _node_field(requirement, f"{path}.matchFields[{i}]", out)


def _node_requirement(e: Obj, path: str, any_value: bool, out: f.Errors) -> None:
    operator, values = e.get("operator", ""), e.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            out.append(f.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            out.append(f.forbidden(f"{path}.values", why))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            out.append(f.required(f"{path}.values", why))
    else:
        out.append(f.invalid(f"{path}.operator", operator, NOT_AN_OPERATOR))
    checked(e.get("key", ""), f"{path}.key", LABEL_KEY, out)
    if not any_value:
        for i, value in enumerate(values):
            checked(value, f"{path}.values[{i}]", names.is_label_value, out)


def _node_field(e: Obj, path: str, out: f.Errors) -> None:
    operator, values, key = e.get("operator", ""), e.get("values") or (), e.get("key", "")
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            out.append(f.required(f"{path}.values", why))
    else:
        out.append(f.invalid(f"{path}.operator", operator, NOT_AN_OPERATOR))
    if key != "metadata.name":
        out.append(f.invalid(f"{path}.key", key, "not a valid field selector key"))
        return
    for i, value in enumerate(values):
        checked(value, f"{path}.values[{i}]", names.is_dns1123_subdomain, out)


def _pod_affinity(value: Obj, path: str, options: Options, out: f.Errors) -> None:
    for i, term in enumerate(value.get(REQUIRED) or ()):
        _pod_affinity_term(term, f"{path}.{REQUIRED}[{i}]", options, out)
    for i, weighted in enumerate(value.get(PREFERRED) or ()):
        at = f"{path}.{PREFERRED}[{i}]"
        _weight(weighted, at, out)
        _pod_affinity_term(weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm", options, out)


def _pod_affinity_term(term: Obj, path: str, options: Options, out: f.Errors) -> None:
    for key in ("labelSelector", "namespaceSelector"):
        selector = term.get(key)
        if selector is not None:
            out += meta.validate_label_selector(
                selector, f"{path}.{key}", allow_invalid_values=options.bad_selector_values
            )
    for name in term.get("namespaces") or ():
        # Upstream says `namespace`, without an index.
        checked(name, f"{path}.namespace", names.is_dns1123_label, out)
    _match_label_keys(term, path, out)
    key = term.get("topologyKey", "")
    if not key:
        out.append(f.required(f"{path}.topologyKey", "can not be empty"))
    checked(key, f"{path}.topologyKey", LABEL_KEY, out)


def _match_label_keys(term: Obj, path: str, out: f.Errors) -> None:
    """validateMatchLabelKeysAndMismatchLabelKeys."""
    match, mismatch = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    if not match and not mismatch:
        return
    selector = term.get("labelSelector")
    for key, given in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if given and selector is None:
            out.append(f.forbidden(f"{path}.{key}", "must not be specified when labelSelector is not set"))
        for i, name in enumerate(given):
            checked(name, f"{path}.{key}[{i}]", LABEL_KEY, out)
    for i, name in enumerate(match):
        if name in mismatch:
            other = f"{path}.mismatchLabelKeys[{mismatch.index(name)}]"
            out.append(
                f.invalid(
                    f"{path}.matchLabelKeys[{i}]",
                    name,
                    f"exists in both matchLabelKeys and mismatchLabelKeys: {other}",
                )
            )
    # A merged key stands in the selector once as the server's; a second one is the user's.
    present: list[str] = [e.get("key", "") for e in (selector or {}).get("matchExpressions") or ()]
    present += list((selector or {}).get("matchLabels") or ())
    for key, given in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        for i, name in enumerate(given):
            if present.count(name) > 1:
                out.append(f.invalid(f"{path}.{key}[{i}]", name, f"exists in both {key} and labelSelector"))


def tolerations(values: list[Obj], path: str, out: f.Errors) -> None:
    for i, toleration in enumerate(values):
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            checked(key, f"{path}[{i}].key", LABEL_KEY, out)
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            out.append(f.invalid(f"{path}[{i}].operator", operator, why))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            out.append(f.invalid(f"{path}[{i}].effect", effect, why))
        if operator in ("Equal", ""):
            found = names.is_label_value(value)
            if found:
                out.append(f.invalid(f"{path}[{i}].operator", value, ";".join(found)))
        elif operator == "Exists":
            if value:
                why = "value must be empty when `operator` is 'Exists'"
                out.append(f.invalid(f"{path}[{i}].operator", value, why))
        else:
            out.append(f.not_supported(f"{path}[{i}].operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            out.append(f.not_supported(f"{path}[{i}].effect", effect, EFFECTS))


def spread(constraints: list[Obj], path: str, options: Options, out: f.Errors) -> None:
    """topologySpreadConstraints."""
    for i, c in enumerate(constraints):
        at = f"{path}[{i}]"
        key, action = c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")
        if c.get("maxSkew", 0) <= 0:
            out.append(f.invalid(f"{at}.maxSkew", c.get("maxSkew", 0), "must be greater than zero"))
        if not key:
            out.append(f.required(f"{at}.topologyKey", "can not be empty"))
        else:
            checked(key, f"{at}.topologyKey", LABEL_KEY, out)
        if action not in UNSATISFIABLE:
            out.append(f.not_supported(f"{at}.whenUnsatisfiable", action, UNSATISFIABLE))
        if _repeats(constraints, i):
            out.append(f.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        _min_domains(c, action, at, out)
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if c.get(policy) is not None and c[policy] not in INCLUSION:
                out.append(f.not_supported(f"{at}.{policy}", c[policy], INCLUSION))
        _spread_keys(c, at, out)
        if c.get("labelSelector") is not None and not options.bad_spread_selector:
            out += meta.validate_label_selector(c["labelSelector"], f"{at}.labelSelector")


def _repeats(constraints: list[Obj], i: int) -> bool:
    """Whether a later constraint has the same key and action: upstream reports the first of a pair."""
    this = constraints[i]
    return any(
        other.get("topologyKey", "") == this.get("topologyKey", "")
        and other.get("whenUnsatisfiable", "") == this.get("whenUnsatisfiable", "")
        for other in constraints[i + 1 :]
    )


def _min_domains(c: Obj, action: str, path: str, out: f.Errors) -> None:
    domains = c.get("minDomains")
    if domains is None:
        return
    if domains <= 0:
        out.append(f.invalid(f"{path}.minDomains", domains, "must be greater than zero"))
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        out.append(f.invalid(f"{path}.minDomains", domains, why))


def _spread_keys(c: Obj, path: str, out: f.Errors) -> None:
    keys = c.get("matchLabelKeys") or ()
    if not keys:
        return
    selector = c.get("labelSelector")
    if selector is None:
        why = "must not be specified when labelSelector is not set"
        out.append(f.forbidden(f"{path}.matchLabelKeys", why))
        return
    present: list[str] = list(selector.get("matchLabels") or ())
    present += [e.get("key", "") for e in selector.get("matchExpressions") or ()]
    for i, name in enumerate(keys):
        checked(name, f"{path}.matchLabelKeys[{i}]", LABEL_KEY, out)
        if present.count(name) > 1:
            why = "exists in both matchLabelKeys and labelSelector"
            out.append(f.invalid(f"{path}.matchLabelKeys[{i}]", name, why))


def readiness_gates(gates: list[Obj], path: str, out: f.Errors) -> None:
    for i, gate in enumerate(gates):
        checked(gate.get("conditionType", ""), f"{path}[{i}].conditionType", names.is_qualified_name, out)


def scheduling_gates(gates: list[Obj], path: str, out: f.Errors) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        checked(name, f"{path}[{i}]", names.is_qualified_name, out)
        if name in seen:
            out.append(f.duplicate(f"{path}[{i}]", name))
        seen.add(name)
