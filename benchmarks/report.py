"""Figures on the terminal and in a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    return parser


class Report:
    """Prints figures as they come; `write` keeps them for a comparison."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str) -> None:
        rounded = float(f"{value:.4g}")
        self.figures.append({"name": name, "value": rounded, "unit": unit})
        print(f"{name:<44} {rounded:>14,g} {unit}", flush=True)

    def write(self, file: Path | None) -> None:
        if file is not None:
            file.write_text(json.dumps(self.figures, indent=1) + "\n")
