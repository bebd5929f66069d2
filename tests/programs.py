"""Programs that tests need and CI installs (`.ci/run`)."""

from __future__ import annotations

import os
import shutil
import warnings

import pytest


def required(name: str) -> str:
    """Its path. One that is missing is said loudly and skips the test; where CI=true it fails it."""
    found = shutil.which(name)
    if found is None:
        text = f"{name} is not on the PATH: install it (Debian: etcd-server, etcd-client, curl)"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        warnings.warn(text, stacklevel=2)
        pytest.skip(text)
    return found
