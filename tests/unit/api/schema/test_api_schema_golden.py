"""Every recorded object is its own round-trip form, in JSON and through protobuf."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.protobuf import Codec
from pilothouse.api.schema.decode import Decoders
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types

GOLDEN = Path(os.environ.get("PILOTHOUSE_GOLDEN", Path(__file__).parents[5] / "shared" / "golden"))
MICRO = {"eventTime", "renewTime", "acquireTime", "lastObservedTime"}
OPAQUE = {"token", "ca.crt", "caBundle", "request", "certificate"}
"""Fields whose recorded values are placeholders that no type takes."""

pytestmark = pytest.mark.golden


def real(value: Any, key: str = "") -> Any:
    """A recorded value with a real one in place of its placeholders."""
    if isinstance(value, dict):
        return {k: real(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [real(v, key) for v in value]
    if value == "<time>":
        return "2020-01-01T00:00:00.000000Z" if key in MICRO else "2020-01-01T00:00:00Z"
    if value == "<port>":
        return 30000
    return "AAE=" if isinstance(value, str) and key in OPAQUE and "<" in value else value


def recorded() -> Iterator[tuple[str, Any]]:
    for path in sorted(GOLDEN.glob("*/*.jsonl")):
        for line in path.read_text().splitlines():
            exchange = json.loads(line)
            body = exchange["response"].get("body")
            if "select" not in exchange and "ignore" not in exchange and isinstance(body, dict):
                yield exchange["id"], body


def test_recorded_objects_round_trip() -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"NO RECORDED ANSWERS at {GOLDEN}: set PILOTHOUSE_GOLDEN to compare with upstream")
    definitions = Definitions.load("1.36")
    types, decoders, codec = Types(definitions), Decoders(), Codec(definitions)
    differ = []
    count = 0
    for identity, body in recorded():
        group, _, version = body.get("apiVersion", "").rpartition("/")
        kind = body.get("kind", "")
        definition = definitions.by_kind(group, version, kind)
        if definition is None or kind.endswith("List") or kind in ("Status", "StatefulSet"):
            continue
        count += 1
        unknown: list[str] = []
        obj = real(body)
        decode = decoders.of(types.get(definition))
        if decode(obj, unknown) != obj or unknown:
            differ.append(identity)
        elif decode(codec.decode(codec.encode(obj)), []) != obj:
            differ.append(f"{identity} (protobuf)")
    assert differ == []
    assert count > 500
