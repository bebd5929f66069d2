"""Levels and versions, and the policy that a namespace's labels ask for (k8s.io/pod-security-admission/api)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.api import field as f

PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
"""From the least strict to the strictest."""
LATEST = 1 << 16
"""A minor version later than any."""
_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")


class LevelVersion(NamedTuple):
    """`version` is a minor one."""

    level: str = PRIVILEGED
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"

    def is_same(self, other: LevelVersion) -> bool:
        """All versions of privileged are."""
        return self == other or (self.level == other.level == PRIVILEGED)


class Policy(NamedTuple):
    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def is_privileged(self) -> bool:
        return all(part.level == PRIVILEGED for part in self)


def is_stricter(level: str, than: str) -> bool:
    return LEVELS.index(level) > LEVELS.index(than)


def of_labels(labels: Mapping[str, str], default: Policy) -> tuple[Policy, f.Errors]:
    """The policy, and what is wrong with the labels. A label that cannot be read is enforced at its strictest, and
    neither warned about nor audited. A namespace that enforces a level also warns of it, unless it says otherwise."""
    errors: f.Errors = []
    enforce = _part("enforce", labels, default.enforce, RESTRICTED, errors)
    audit = _part("audit", labels, default.audit, PRIVILEGED, errors)
    warn = _part("warn", labels, default.warn, PRIVILEGED, errors)
    enforced = labels.get(f"{_PREFIX}enforce") in LEVELS
    if f"{_PREFIX}warn" not in labels and enforced and is_stricter(enforce.level, warn.level):
        version = warn.version if f"{_PREFIX}warn-version" in labels else enforce.version
        warn = LevelVersion(enforce.level, version)
    return Policy(enforce, audit, warn), errors


def _part(
    mode: str, labels: Mapping[str, str], default: LevelVersion, fallback: str, errors: f.Errors
) -> LevelVersion:
    level, version = default
    for key in (f"{_PREFIX}{mode}", f"{_PREFIX}{mode}-version"):
        text = labels.get(key)
        if text is None:
            continue
        try:
            if key.endswith("-version"):
                version = parse_version(text)
            else:
                level = parse_level(text)
        except ValueError as error:
            errors.append(f.invalid(f"metadata.labels[{key}]", text, str(error)))
            if key.endswith("-version"):
                version = LATEST
            else:
                level = fallback
    return LevelVersion(level, version)


def parse_level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text


def parse_version(text: str) -> int:
    """The minor version."""
    if text == "latest":
        return LATEST
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError('must be "latest" or "v1.x"')
    return int(match[1])
