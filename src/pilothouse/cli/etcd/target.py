"""Which store a command means.

    --endpoints URL[,URL] [--cacert --cert --key --user]    any etcd                     Remote
    --data-dir DIR, with a managed cluster in it            its members                  Managed
    --data-dir DIR, where `up` or `etcd` runs               DIR/etcd.sock                Running
    --data-dir DIR, where nobody runs                       the embedded store's files   Stopped

The flags are etcdctl's (etcdctl/README.md, "Global flags"). All but Stopped answer etcd's API: `access` says where.
Imports neither grpc nor a store.
"""

from __future__ import annotations

import getpass
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from pilothouse.cli import state
from pilothouse.cli.flags import Failure, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import DURATION, FILE, PATH, STRING, STRINGS
from pilothouse.etcd import embedded
from pilothouse.etcd.cluster.layout import Home, Layout
from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.options import SOCKET_FILE

GROUP = Group(
    "Which store",
    (
        Flag("endpoints", STRINGS, (), "An etcd's client URLs: any etcd, wherever it runs.", label="URL,…"),
        Flag("cacert", FILE, None, "The CA that signed the servers' certificates (default: the system's)."),
        Flag("cert", FILE, None, "The client certificate."),
        Flag("key", FILE, None, "The client certificate's key."),
        Flag("user", STRING, "", "User and password, NAME:PASSWORD; NAME alone asks for the password."),
        Flag("password", STRING, "", "The password; then --user is the name alone."),
        Flag("command-timeout", DURATION, 5.0, "How long one request may take."),
        Flag("data-dir", PATH, None, "A cluster of this machine (default $XDG_DATA_HOME/pilothouse)."),
    ),
)
_FOREIGN = ("endpoints", "cacert", "cert", "key", "user", "password")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an etcd: http://, https:// or unix:// URLs, PEM files, a user. `timeout_s` is for one request."""

    endpoints: tuple[str, ...]
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = ""
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Remote:
    """An etcd somewhere; we know its endpoints only."""

    access: Access


@dataclass(frozen=True, slots=True)
class Managed:
    """A cluster that `up --etcd-members` runs. `pid` is the running `up`; None when it is stopped."""

    home: Home
    layout: Layout
    access: Access
    pid: int | None


@dataclass(frozen=True, slots=True)
class Running:
    """An embedded store in another process, which answers on a socket."""

    data_dir: Path
    access: Access


@dataclass(frozen=True, slots=True)
class Stopped:
    """An embedded store's files, which nobody has open: `directory` is what `SqliteLog` takes."""

    data_dir: Path
    directory: Path


Target = Remote | Managed | Running | Stopped


def find(values: Values) -> Target:
    """What the flags of `GROUP` mean. UsageError for flags that contradict, Failure when there is no store."""
    if values["endpoints"]:
        if values["data-dir"] is not None:
            raise UsageError("--endpoints and --data-dir name two stores: give one of them")
        return Remote(_foreign(values))
    lonely = [name for name in _FOREIGN if name in values.given and name not in ("user", "password")]
    if lonely:
        raise UsageError(f"--{lonely[0]} belongs to --endpoints: say which etcd is meant")
    return at(values["data-dir"] or state.default_data_dir(), values)


def at(data_dir: Path, values: Values | None = None) -> Target:
    """The store of a data directory. Failure when there is none, or its process does not serve it."""
    home = Home(data_dir)
    try:
        layout = home.read()
    except StoreError as error:
        raise Failure(str(error)) from None
    user, password = _user(values)
    timeout_s = values["command-timeout"] if values is not None else 5.0
    if layout is not None:
        access = Access(
            layout.endpoints,
            home.ca,
            home.client_certificate,
            home.client_key,
            user,
            password,
            timeout_s,
        )
        return Managed(home, layout, access, state.read_pid(data_dir))
    path = data_dir / SOCKET_FILE
    if _answers(path):
        return Running(
            data_dir, Access((f"unix://{path.absolute()}",), None, None, None, user, password, timeout_s)
        )
    return _files(data_dir)


def _files(data_dir: Path) -> Stopped:
    pid = state.read_pid(data_dir)
    if pid is not None:
        raise Failure(
            f"process {pid} runs on {data_dir} and its store does not answer on {data_dir / SOCKET_FILE} (yet): "
            f"try again, or stop it with: pilothouse down --data-dir {data_dir}"
        )
    directory = data_dir / embedded.DIRECTORY
    if not embedded.is_in(data_dir):
        raise Failure(f"there is no store in {data_dir}: name its --data-dir, or an etcd's --endpoints")
    return Stopped(data_dir, directory)


def access(target: Target, what: str) -> Access:
    """How to reach a store that runs. Failure for one that is stopped; `what` names the command."""
    if isinstance(target, Stopped):
        raise Failure(
            f"the store in {target.data_dir} is not running, and {what} asks a running one: start it with "
            f"pilothouse up --data-dir {target.data_dir} or pilothouse etcd --data-dir {target.data_dir}"
        )
    if isinstance(target, Managed) and target.pid is None:
        directory = target.home.data_dir
        raise Failure(
            f"the etcd cluster of {directory} is stopped, and {what} needs it running: start it with "
            f"pilothouse up --data-dir {directory}"
        )
    return target.access


def _foreign(values: Values) -> Access:
    if (values["cert"] is None) != (values["key"] is None):
        raise UsageError("--cert and --key belong together: give both or none")
    user, password = _user(values)
    return Access(
        tuple(_url(text, values) for text in values["endpoints"]),
        values["cacert"],
        values["cert"],
        values["key"],
        user,
        password,
        values["command-timeout"],
    )


def _url(text: str, values: Values) -> str:
    """An endpoint may lack its scheme, as etcdctl's: TLS flags make it https."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        secure = values["cacert"] is not None or values["cert"] is not None
        return f"{'https' if secure else 'http'}://{text}"
    if scheme not in ("http", "https", "unix") or not rest:
        raise UsageError(f"--endpoints: {text!r}: no URL such as https://10.0.0.1:2379")
    return text


def _user(values: Values | None) -> tuple[str, str]:
    if values is None or not values["user"]:
        return "", ""
    if values["password"]:
        return values["user"], values["password"]
    name, colon, password = values["user"].partition(":")
    if colon:
        return name, password
    if not sys.stdin.isatty():
        raise UsageError("--user has no password: give NAME:PASSWORD or --password")
    return name, getpass.getpass(f"Password of {name}: ")


def _answers(path: Path) -> bool:
    """Whether somebody listens: a socket that a kill -9 left behind refuses."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
