"""Whether rules that somebody holds cover rules that he wants to give away
(k8s.io/component-helpers/auth/rbac/validation policy_comparator.go, pkg/registry/rbac/validation policy_compact.go).

Worked example: held `get,list pods`, wanted `get,delete pods`: broken down to (get, pods) and (delete, pods); the
first is covered, so what is missing is `{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.rbac import url_matches


class Atom(NamedTuple):
    """A rule with one of everything: `url` for non-resource paths, else group, resource and maybe a name."""

    verb: str
    group: str | None = None
    resource: str | None = None
    name: str | None = None
    url: str | None = None


def missing(held: Iterable[Obj], wanted: Iterable[Obj]) -> list[Atom]:
    """The parts of `wanted` that no rule of `held` covers. ApiError 413 when it would take too long to tell."""
    rules, wanted = list(held), list(wanted)
    if sum(map(_size, wanted)) * max(len(rules), 1) > _COMPARISONS_MAX:
        raise errors.request_too_large("the rules are too many to be compared with those that you hold")
    return [
        atom for rule in wanted for atom in _atoms(rule) if not any(_covers(other, atom) for other in rules)
    ]


_COMPARISONS_MAX = 5_000_000


def _size(rule: Obj) -> int:
    """How many atoms a rule has: a small body can stand for billions."""
    groups, resources = len(rule.get("apiGroups") or ()), len(rule.get("resources") or ())
    paths, names = len(rule.get("nonResourceURLs") or ()), len(rule.get("resourceNames") or ()) or 1
    return len(rule.get("verbs") or ()) * (groups * resources * names + paths)


def _atoms(rule: Obj) -> Iterator[Atom]:
    verbs = rule.get("verbs") or ()
    names = rule.get("resourceNames") or (None,)
    for group, resource, verb, name in product(
        rule.get("apiGroups") or (), rule.get("resources") or (), verbs, names
    ):
        yield Atom(verb, group, resource, name)
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield Atom(verb, url=url)


def _covers(rule: Obj, atom: Atom) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and atom.verb not in verbs:
        return False
    names = rule.get("resourceNames")
    if names and atom.name not in names:
        return False
    if atom.url is not None:
        return any(url_matches(held, atom.url) for held in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    assert atom.resource is not None
    return ("*" in groups or atom.group in groups) and _covers_resource(
        rule.get("resources") or (), atom.resource
    )


def _covers_resource(held: Iterable[str], resource: str) -> bool:
    """`*/scale` covers the subresource of every resource."""
    if "*" in held or resource in held:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in held


def describe(atoms: Iterable[Atom]) -> str:
    """A line for each resource or path, in order, its verbs together."""
    verbs: dict[Atom, list[str]] = {}
    lines = []
    for atom in atoms:
        if atom.url is None:
            verbs.setdefault(atom._replace(verb=""), []).append(atom.verb)
        else:
            lines.append(_line(atom, [atom.verb]))
    lines += [_line(atom, held) for atom, held in verbs.items()]
    return "\n".join(sorted(set(lines)))


def _line(atom: Atom, verbs: list[str]) -> str:
    parts = [
        (label, [value])
        for label, value in (
            ("APIGroups", atom.group),
            ("Resources", atom.resource),
            ("NonResourceURLs", atom.url),
            ("ResourceNames", atom.name),
        )
        if value is not None
    ]
    parts.append(("Verbs", verbs))
    return "{" + ", ".join(f"{label}:{go_list(values)}" for label, values in parts) + "}"


def go_list(values: Iterable[str]) -> str:
    """Go's %q of a slice of strings."""
    return "[" + " ".join(map(go_quote, values)) + "]"
