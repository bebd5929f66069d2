"""From a file to a configuration, strictly: what is not known is an error
(cmd/kube-scheduler/app/options/configfile.go)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from pilothouse.api.field import go_quote
from pilothouse.api.schema import yaml_text
from pilothouse.api.schema.decode import Decoders, Mismatch
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.scheduler.config import defaults
from pilothouse.scheduler.config.structure import API_VERSION, CONFIGURATION, GROUP, KIND, args_of, has_args

_SCHEME = "pkg/scheduler/apis/config/scheme/scheme.go:30"
_decoders = Decoders()


class ConfigError(ValueError):
    """One line in upstream's words."""


def read(file: Path) -> Obj:
    """The configuration of a file with its defaults, not validated yet. ConfigError."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"open {file}: {error.strerror}") from None
    return parse(raw)


def parse(raw: bytes) -> Obj:
    try:
        value, repeated = yaml_text.read(raw)
    except ValueError as error:
        raise ConfigError(f"error converting YAML to JSON: {error}") from None
    _check_kind(value)
    problems = list(repeated)
    given = _decoded(CONFIGURATION, value, problems)
    _read_args(given, problems)
    if problems:
        raise ConfigError(_strict(problems))
    return defaults.configuration(given)


def _check_kind(value: Any) -> None:
    if not isinstance(value, dict):
        value = {}
    kind, version = value.get("kind") or "", value.get("apiVersion") or ""
    text = msgspec.json.encode(value).decode()
    if not kind:
        raise ConfigError(f"Object 'Kind' is missing in '{text}'")
    if not version:
        raise ConfigError(f"Object 'apiVersion' is missing in '{text}'")
    if version != API_VERSION or (kind != KIND and not _is_args(str(kind))):
        raise ConfigError(
            f"no kind {go_quote(str(kind))} is registered for version {go_quote(str(version))} in scheme "
            f"{go_quote(_SCHEME)}"
        )
    if kind != KIND:
        raise ConfigError(f"couldn't decode as {KIND}, got {GROUP}/v1, Kind={kind}: ")


def _is_args(kind: str) -> bool:
    return kind.endswith("Args") and has_args(kind.removesuffix("Args"))


def _decoded(type_: Type, value: Any, problems: list[str]) -> Obj:
    """ConfigError for values of the wrong type; unknown fields are added to `problems`."""
    unknown: list[str] = []
    try:
        decoded: Obj = _without_none(_decoders.of(type_)(value, unknown))
    except Mismatch as mismatch:
        raise ConfigError(str(mismatch)) from None
    problems += [f"unknown field {go_quote(path)}" for path in unknown]
    return decoded


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _read_args(given: Obj, problems: list[str]) -> None:
    for i, profile in enumerate(given.get("profiles") or ()):
        for j, entry in enumerate(profile.get("pluginConfig") or ()):
            type_ = args_of(entry.get("name", ""))
            if type_ is None:
                continue
            where = f"decoding .profiles[{i}].pluginConfig[{j}]"
            name, args = entry["name"], entry.get("args") or {}
            _check_args_kind(where, name, args)
            unknown: list[str] = []
            try:
                entry["args"] = _decoded(type_, args, unknown)
            except ConfigError as error:
                raise ConfigError(f"{where}: decoding args for plugin {name}: {error}") from None
            if unknown:
                inner = f"decoding args for plugin {name}: {_strict(unknown)}"
                problems.append(f"{where}: {_strict([inner])}")


def _check_args_kind(where: str, name: str, args: Any) -> None:
    if not isinstance(args, dict):
        return
    kind = args.get("kind") or f"{name}Args"
    version = args.get("apiVersion") or API_VERSION
    if version != API_VERSION or not _is_args(kind):
        raise ConfigError(
            f"{where}: decoding args for plugin {name}: no kind {go_quote(kind)} is registered for version "
            f"{go_quote(version)} in scheme {go_quote(_SCHEME)}"
        )
    if kind != f"{name}Args":
        raise ConfigError(
            f"{where}: args for plugin {name} were not of type {name}Args.{GROUP}, got {kind}.{GROUP}"
        )


def _strict(problems: list[str]) -> str:
    return "strict decoding error: " + ", ".join(problems)


def written(config: Obj) -> str:
    """A complete configuration as YAML that can be read again (--write-config-to)."""
    made = _decoders.of(CONFIGURATION)(config, [])
    for profile in made["profiles"]:
        for point in profile["plugins"].values():
            for plugin in point.get("enabled") or ():
                plugin.setdefault("weight", 0)
    text: str = yaml.safe_dump(_without_none(made), sort_keys=True)
    return text
