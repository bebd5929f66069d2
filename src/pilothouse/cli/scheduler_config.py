"""kube-scheduler's flags and its configuration file, made one (cmd/kube-scheduler/app/options/options.go).

A file goes before the deprecated flags, which are then ignored; the flags of the leader election go before the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.cli.flags import Failure, Values
from pilothouse.kit.durations import duration_s, show_duration

_CONNECTION = {"kube-api-qps": "qps", "kube-api-burst": "burst"}
_DEBUGGING = {"profiling": "enableProfiling", "contention-profiling": "enableContentionProfiling"}
_ELECTION = {
    "leader-elect": "leaderElect",
    "leader-elect-lease-duration": "leaseDuration",
    "leader-elect-renew-deadline": "renewDeadline",
    "leader-elect-retry-period": "retryPeriod",
    "leader-elect-resource-name": "resourceName",
    "leader-elect-resource-namespace": "resourceNamespace",
}
_DURATIONS = ("leader-elect-lease-duration", "leader-elect-renew-deadline", "leader-elect-retry-period")
DEPRECATED = (*_CONNECTION, *_DEBUGGING, "kube-api-content-type", "kubeconfig")


def features(values: Values) -> list[str]:
    """The feature gates that are on."""
    return [name for name, is_on in values["feature-gates"].items() if is_on]


def read(file: Path, gates: Collection[str] = ()) -> Obj:
    """A file's configuration, complete and valid with these feature gates on. Failure."""
    from pilothouse.scheduler.build import checked
    from pilothouse.scheduler.config import load

    try:
        return checked(load.read(file), gates)
    except ValueError as error:
        raise Failure(f"{file}: {error}") from None


def configuration(values: Values) -> Obj:
    """Complete and valid. Failure."""
    from pilothouse.scheduler.build import checked
    from pilothouse.scheduler.config import defaults, load

    file = values["config"]
    try:
        config = load.read(file) if file is not None else defaults.configuration()
        if file is None:
            _take(config["clientConnection"], _CONNECTION, values)
            _take(config, _DEBUGGING, values)
        _take(config["leaderElection"], _ELECTION, values)
        _with_kubeconfig(config["clientConnection"], values)
        return checked(config, features(values))
    except ValueError as error:
        raise Failure(f"{file}: {error}" if file is not None else str(error)) from None


def _take(target: Obj, names: Mapping[str, str], values: Values) -> None:
    for flag, name in names.items():
        if flag in values.given:
            target[name] = show_duration(values[flag]) if flag in _DURATIONS else values[flag]


def _with_kubeconfig(connection: Obj, values: Values) -> None:
    """A file that names none would leave upstream with the service account of its pod; there is no pod here."""
    if not connection["kubeconfig"] and values["kubeconfig"] is not None:
        connection["kubeconfig"] = str(values["kubeconfig"])


def warnings(values: Values, config: Obj) -> list[str]:
    """Of flags that a file has made void."""
    if values["config"] is None:
        return []
    void = [flag for flag in DEPRECATED if flag in values.given]
    if config["clientConnection"]["kubeconfig"] == str(values["kubeconfig"]):
        void = [flag for flag in void if flag != "kubeconfig"]
    return [f"--{flag} is ignored, as --config is given" for flag in void]


def settled(values: Values, config: Obj) -> Values:
    """The flags as the configuration has them. Failure when its kubeconfig is not there."""
    connection, election = config["clientConnection"], config["leaderElection"]
    made: dict[str, Any] = {**values}
    for flag, name in _CONNECTION.items():
        made[flag] = connection[name]
    for flag, name in _ELECTION.items():
        made[flag] = duration_s(election[name]) if flag in _DURATIONS else election[name]
    path = Path(connection["kubeconfig"]) if connection["kubeconfig"] else None
    if path is not None and not path.is_file():
        raise Failure(f"clientConnection.kubeconfig: {path}: no such file")
    made["kubeconfig"] = path
    return Values(made, values.given, values.arguments)


def write(file: Path, config: Obj) -> None:
    """--write-config-to. Failure when it cannot be written."""
    from pilothouse.scheduler.config import load

    try:
        file.write_text(load.written(config))
    except OSError as error:
        raise Failure(f"open {file}: {error.strerror}; choose another --write-config-to") from None
