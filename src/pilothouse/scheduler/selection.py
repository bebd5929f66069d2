"""Node selectors on columns: the rules of `api.node_selector` for all nodes at once.

A requirement is decided once for each distinct value of its label, then looked up for every row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api import node_selector
from pilothouse.api.node_selector import NAME_FIELD
from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable


def matching(table: NodeTable, pod: Obj) -> Mask:
    """The rows that a pod's nodeSelector and required node affinity allow."""
    mask = table.valid.copy()
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        mask &= equal(table, key, value)
    required = node_selector.node_affinity(pod).get(node_selector.REQUIRED)
    if required is not None:
        mask &= any_term(table, required.get("nodeSelectorTerms") or ())
    return mask


def equal(table: NodeTable, key: str, value: str) -> Mask:
    labels = table.labels(key)
    number = labels.number(value)
    return table.empty_mask() if number is None else labels.codes == number


def any_term(table: NodeTable, terms: Iterable[Obj]) -> Mask:
    mask = table.empty_mask()
    for term in terms:
        mask |= one_term(table, term)
    return mask


def one_term(table: NodeTable, term: Obj) -> Mask:
    """All requirements of a NodeSelectorTerm; an empty one matches nothing."""
    if node_selector.is_empty(term):
        return table.empty_mask()
    mask = table.valid.copy()
    for requirement in term.get("matchExpressions") or ():
        mask &= _label(table, requirement)
    for requirement in term.get("matchFields") or ():
        mask &= _field(table, requirement)
    return mask


def _label(table: NodeTable, requirement: Obj) -> Mask:
    labels = table.labels(requirement["key"])
    verdicts = [node_selector.holds(requirement, value) for value in labels.values]
    verdicts.append(node_selector.holds(requirement, None))  # at -1, which is ABSENT
    return np.array(verdicts, dtype=bool)[labels.codes]


def _field(table: NodeTable, requirement: Obj) -> Mask:
    """The name, the only field there is; In with one name is all that validation lets through, so rows are few."""
    if requirement["key"] != NAME_FIELD:
        return table.empty_mask()
    named = table.empty_mask()
    for name in requirement.get("values") or ():
        row = table.row(name)
        if row is not None:
            named[row] = True
    return named if requirement["operator"] == "In" else ~named
