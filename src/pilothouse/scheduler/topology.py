"""Topology domains on columns: all nodes with the same value of a label are one domain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pilothouse.scheduler.node_table import ABSENT, Column, Mask, NodeTable

Domains = NDArray[np.int64]
"""One number per domain, by the number of the label's value."""


def has_key(table: NodeTable, key: str) -> Mask:
    found: Mask = table.labels(key).codes != ABSENT
    return found


def sums(table: NodeTable, key: str, counts: Column, among: Mask) -> Domains:
    """The sum over the nodes of each domain; only rows in `among` count."""
    labels = table.labels(key)
    # Rows without the label go to a domain before the first: quicker than picking the others out.
    found = np.bincount(labels.codes + 1, weights=counts * among, minlength=len(labels.values) + 1)
    return found[1:].astype(np.int64)


def present(table: NodeTable, key: str, among: Mask) -> NDArray[np.bool_]:
    """Which domains have a node in `among`."""
    labels = table.labels(key)
    rows = among & (labels.codes != ABSENT)
    found = np.zeros(len(labels.values), dtype=bool)
    found[labels.codes[rows]] = True
    return found


def spread_out(table: NodeTable, key: str, domains: Domains) -> Column:
    """A domain's number at each of its rows, 0 at rows that are in none."""
    if not len(domains):
        return np.zeros(table.size, dtype=np.int64)
    codes = table.labels(key).codes
    found: Column = np.where(codes == ABSENT, 0, domains[codes])
    return found
