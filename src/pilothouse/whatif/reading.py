"""Objects from files: YAML of one or more documents, JSON, and folders of such files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pilothouse.api.types import Obj
from pilothouse.whatif.kinds import BadObject
from pilothouse.whatif.snapshot import flat

_ENDINGS = (".yaml", ".yml", ".json")


class _Loader(yaml.CSafeLoader):
    """Times stay texts, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> list[Obj]:
    """All objects of a file, or of a folder's files, by name and below. BadObject, or OSError."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in _ENDINGS and file.is_file())
        if not files:
            raise BadObject(f"{path}: no {', '.join(_ENDINGS)} file is in it")
        return [obj for file in files for obj in read(file)]
    return list(flat(_objects(path, path.read_bytes())))


def parse(text: bytes, name: str = "text") -> list[Obj]:
    """All objects of a text; `name` is for errors."""
    return list(flat(_objects(Path(name), text)))


def _objects(path: Path, raw: bytes) -> Iterator[Obj]:
    for document in _documents(path, raw):
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise BadObject(
                f"{path}: it holds something that is no Kubernetes object: apiVersion or kind is missing"
            )
        yield document


def _documents(path: Path, raw: bytes) -> list[Any]:
    if raw.lstrip()[:1] == b"{":
        try:
            return [msgspec.json.decode(raw)]
        except msgspec.DecodeError:
            pass  # YAML's flow style begins like that, too
    try:
        return list(yaml.load_all(raw, Loader=_Loader))
    except yaml.YAMLError as error:
        raise BadObject(f"{path}: {' '.join(str(error).split())}") from None
