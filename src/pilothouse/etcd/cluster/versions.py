"""What servers of old get wrong, by their versions."""

from __future__ import annotations

import re

_PROGRESS_IN_ORDER = ((3, 4, 31), (3, 5, 13))
"""The first fixed release of each line (feature_support_checker.go of k8s.io/apiserver; etcd-io/etcd#15220, #17507)."""


def sends_progress_in_order(version: str) -> bool:
    """Whether an answer to a progress request comes, and after all events that it stands for. A version that cannot
    be read is not trusted."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return False
    numbers = tuple(int(n) for n in found.groups())
    for fixed in _PROGRESS_IN_ORDER:
        if numbers[:2] == fixed[:2]:
            return numbers >= fixed
    return numbers >= _PROGRESS_IN_ORDER[-1]
