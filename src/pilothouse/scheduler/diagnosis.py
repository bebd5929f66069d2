"""Why no node fits, row by row and in upstream's words (framework.Diagnosis and framework.FitError).

0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint(s). <what PostFilter says>
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pilothouse.scheduler.node_table import Mask

NO_NODES = "no nodes available to schedule pods"


@dataclass(eq=False, slots=True)
class Diagnosis:
    """`nodes` is how many there are. `reasons` counts nodes by reason (a node may have several), `rejected_by`
    names the plugins that refused any. `resolvable` are the rows where evicting pods may help."""

    nodes: int
    resolvable: Mask
    reasons: dict[str, int] = field(default_factory=dict)
    rejected_by: set[str] = field(default_factory=set)
    pre_filter_message: str = ""
    post_filter_message: str = ""

    def add(self, plugin: str, mask: Mask, reason: str, *, resolvable: bool) -> None:
        """Rows that one plugin refuses for one reason."""
        count = int(mask.sum())
        if not count:
            return
        self.rejected_by.add(plugin)
        self.reasons[reason] = self.reasons.get(reason, 0) + count
        if not resolvable:
            self.resolvable &= ~mask

    def add_row(self, plugin: str, row: int | None, reason: str, *, resolvable: bool) -> None:
        """One row (None: its node has gone meanwhile); without a reason it is not counted."""
        self.rejected_by.add(plugin)
        if reason:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if not resolvable and row is not None and row < len(self.resolvable):
            self.resolvable[row] = False

    def fit(self, size: int) -> None:
        """To a table that has grown meanwhile: eviction is no way on rows that were not looked at."""
        if size > len(self.resolvable):
            more = np.zeros(size - len(self.resolvable), dtype=bool)
            self.resolvable = np.concatenate([self.resolvable, more])

    def refuse_all(self, plugin: str, message: str) -> None:
        """A PreFilter's refusal: no node will do."""
        self.pre_filter_message = message
        self.rejected_by.add(plugin)
        self.resolvable &= False

    def text(self) -> str:
        if not self.nodes:
            return NO_NODES
        return fit_error(self.nodes, self.reasons, self.pre_filter_message, self.post_filter_message)


def fit_error(nodes: int, reasons: dict[str, int], pre_filter: str = "", post_filter: str = "") -> str:
    """FitError.Error: a PreFilter's refusal stands in place of the counts."""
    text = f"0/{nodes} nodes are available:"
    if pre_filter:
        text += f" {pre_filter}."
    elif reasons:
        text += f" {', '.join(sorted(f'{count} {reason}' for reason, count in reasons.items()))}."
    return f"{text} {post_filter}" if post_filter else text
