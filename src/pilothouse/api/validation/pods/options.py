"""What a validation of a pod spec must know of where the spec stands."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """`is_pod`: the spec is a pod's own, not a template's. The others let an update keep what an older server
    took (pkg/api/pod GetValidationOptionsFromPodSpecAndMeta)."""

    is_pod: bool = False
    bad_selector_values: bool = False
    bad_node_affinity_values: bool = False
    bad_spread_selector: bool = False


TEMPLATE = Options()
POD = Options(is_pod=True)
