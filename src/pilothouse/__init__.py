"""Pilothouse: a whole Kubernetes control plane in Python.

Not a mock and not a wrapper around Go binaries: every component is here, one room (package) each.
`cluster.py` wires them together; ARCHITECTURE.md is the map.
"""

__version__ = "0.1.0"
