"""--cloud-config as a YAML file: read once, for whichever provider."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

C = TypeVar("C")


def read(path: Path | None, make: Callable[[Any], C]) -> C:
    """What `make` makes of the file's content, {} for none or an empty one. ValueError, of `make` too, says what is
    wrong, and in which file."""
    if path is None:
        return make({})
    try:
        found = yaml.safe_load(path.read_text())
        return make({} if found is None else found)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from None
