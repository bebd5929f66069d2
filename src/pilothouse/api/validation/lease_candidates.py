"""Validation of LeaseCandidates (pkg/apis/coordination/validation)."""

from __future__ import annotations

import re

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names

OLDEST = "OldestEmulationVersion"
_NUMBER = r"(0|[1-9]\d*)"
_PARTS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_SEMANTIC = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PARTS})?(?:\+{_PARTS})?")
_Version = tuple[int, ...]
_NONE: _Version = (0, 0, 0)
"""What Go's zero Version is, also for a text that does not parse."""


def lease_candidate(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec: Obj = obj["spec"]
    errors: f.Errors = []
    if not spec.get("leaseName"):
        errors.append(f.required("spec.leaseName"))
    emulation = _version(spec, "emulationVersion", errors)
    if not spec.get("binaryVersion"):
        errors.append(f.required("spec.binaryVersion"))
    binary = _version(spec, "binaryVersion", errors)
    if spec.get("binaryVersion") and spec.get("emulationVersion") and binary < emulation:
        why = "must be greater than or equal to `emulationVersion`"
        errors.append(f.invalid("spec.binaryVersion", spec["binaryVersion"], why))
    errors += _strategy(spec.get("strategy", ""), emulation)
    if old is not None and spec.get("leaseName", "") != old["spec"].get("leaseName", ""):
        errors.append(f.invalid("spec.leaseName", spec.get("leaseName", ""), "field is immutable"))
    return errors


def _version(spec: Obj, key: str, errors: f.Errors) -> _Version:
    """Pre-releases are not told apart: the election does not use them."""
    text = spec.get(key, "")
    match = _SEMANTIC.fullmatch(text)
    if match is not None:
        return tuple(map(int, match.groups()))
    if text:
        errors.append(f.invalid(f"spec.{key}", text, "must be a valid semantic version"))
    return _NONE


def _strategy(strategy: str, emulation: _Version) -> f.Errors:
    if not strategy:
        return [f.required("spec.strategy")]
    errors: f.Errors = []
    if strategy == OLDEST and emulation == _NONE:
        why = f"must be specified when `strategy` is '{OLDEST}'"
        errors.append(f.required("spec.emulationVersion", why))
    # Upstream puts the field's name behind its path once more.
    path = "spec.strategy.strategy"
    if "/" not in strategy:
        return errors if strategy == OLDEST else [*errors, f.not_supported(path, strategy, (OLDEST,))]
    return errors + [f.invalid(path, strategy, why) for why in names.is_qualified_name(strategy)]
