"""What the component needs to be allowed, as manifests: `rbac.yaml` here, and one in a provider's own package for what
that provider needs beyond it."""

from __future__ import annotations

import sys
from importlib.resources import files

from pilothouse.cloud.registry import find

_FILE = "rbac.yaml"


def manifest(provider: str) -> str:
    """YAML for `kubectl apply -f -`; "" names no provider. UnknownProvider for a name that is none."""
    parts = [(files("pilothouse.cloud") / _FILE).read_text()]
    if provider:
        module = sys.modules[find(provider).__module__]
        found = files(module) / _FILE if hasattr(module, "__path__") else None
        if found is not None and found.is_file():
            parts.append(found.read_text())
    return "---\n".join(parts)
