"""What pods say about other pods, in a form that can be counted: affinity terms and spread constraints
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity).

Equal terms are equal values, however many pods carry them: the node table counts by term, not by pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from pilothouse.api import labels
from pilothouse.api.node_selector import PREFERRED, REQUIRED
from pilothouse.api.types import Obj

Namespaces = Callable[[labels.Selector], frozenset[str]]
"""The namespaces whose labels a selector matches."""


class Scope(NamedTuple):
    """Pods of some namespaces that a selector matches. `namespaces` None: all of them. `living`: not those that are
    being deleted."""

    namespaces: frozenset[str] | None
    selector: labels.Selector
    living: bool = False

    def holds(self, namespace: str, meta: Obj) -> bool:
        if self.namespaces is not None and namespace not in self.namespaces:
            return False
        if self.living and meta.get("deletionTimestamp"):
            return False
        return self.selector.matches(meta.get("labels") or {})


class Together(NamedTuple):
    """Pods that all of several scopes hold."""

    scopes: tuple[Scope, ...]

    def holds(self, namespace: str, meta: Obj) -> bool:
        return all(scope.holds(namespace, meta) for scope in self.scopes)


TermKind = Literal["affinity", "anti-affinity"]


class Term(NamedTuple):
    """One affinity term. `weight` 0: required. Its namespaces are those that it lists and those that a selector
    picks; without either it is the carrier's own, which is then among `listed`."""

    kind: TermKind
    topology_key: str
    selector: labels.Selector
    listed: frozenset[str]
    picked: labels.Selector | None
    weight: int

    def scope(self, namespaces: Namespaces) -> Scope:
        """Which pods it is about, as namespaces are labelled now."""
        if self.picked is None:
            return Scope(self.listed, self.selector)
        if self.picked.empty:
            return Scope(None, self.selector)
        return Scope(self.listed | namespaces(self.picked), self.selector)


def terms_of(pod: Obj) -> tuple[Term, ...]:
    """Every term that a pod carries, required ones first."""
    affinity = pod["spec"].get("affinity") or {}
    namespace = pod["metadata"].get("namespace", "")
    found: list[Term] = []
    kinds: tuple[tuple[str, TermKind], ...] = (
        ("podAffinity", "affinity"),
        ("podAntiAffinity", "anti-affinity"),
    )
    for field, kind in kinds:
        given: Mapping[str, Iterable[Obj]] = affinity.get(field) or {}
        found += [_term(kind, term, namespace, 0) for term in given.get(REQUIRED) or ()]
        for weighted in given.get(PREFERRED) or ():
            if weighted["weight"]:
                found.append(_term(kind, weighted["podAffinityTerm"], namespace, weighted["weight"]))
    return tuple(found)


def _term(kind: TermKind, term: Obj, namespace: str, weight: int) -> Term:
    listed, picked = term.get("namespaces") or (), term.get("namespaceSelector")
    if not listed and picked is None:
        listed = (namespace,)
    return Term(
        kind,
        term.get("topologyKey", ""),
        labels.from_label_selector(term.get("labelSelector")),
        frozenset(listed),
        None if picked is None else labels.from_label_selector(picked),
        weight,
    )
