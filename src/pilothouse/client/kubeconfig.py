"""Reading kubeconfig files: where the API server is, and who we are to it
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).

Certificates, tokens and token files. Not exec or auth-provider plugins: components run unattended.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.client.http_transport import HttpTransport, Throttle, Tokens
from pilothouse.kit.world import World

_TOKEN_FILE_FRESH_S = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """One context of a kubeconfig. PEM texts; "" for what it does not say."""

    server: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    token_file: Path | None = None
    verify: bool = True
    server_name: str = ""

    def tls(self) -> ssl.SSLContext:
        """The server is checked against `authority`, or the system's CAs; our certificate is shown."""
        context = ssl.create_default_context(cadata=self.authority or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            load_pair(context, self.certificate, self.key)
        return context

    def anonymous(self) -> Config:
        """The same server without credentials, for those who bring their own."""
        return Config(self.server, self.authority, verify=self.verify, server_name=self.server_name)


def load(path: Path, server: str = "") -> Config:
    """The current context of a file; `server` goes before the file's (--master). ValueError with what is wrong."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise ValueError(f"cannot read the kubeconfig {path}: {reason}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no kubeconfig")
    try:
        return _context(document, path.parent, server)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"the kubeconfig {path} is incomplete or malformed: {error}") from None


def _context(document: dict[str, Any], directory: Path, server: str) -> Config:
    context = _named(document, "contexts", document.get("current-context") or "")["context"]
    cluster = _named(document, "clusters", context["cluster"])["cluster"]
    user = _named(document, "users", context["user"])["user"] or {} if context.get("user") else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise ValueError(
                f"the kubeconfig's user has {plugin!r}, which is not served: use a certificate or token"
            )
    token_file = user.get("tokenFile")
    return Config(
        server=server or cluster["server"],
        authority=_content(cluster, "certificate-authority", directory),
        certificate=_content(user, "client-certificate", directory),
        key=_content(user, "client-key", directory),
        token=user.get("token") or "",
        token_file=directory / token_file if token_file else None,
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name") or "",
    )


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    for entry in document.get(kind) or ():
        if entry["name"] == name:
            found: dict[str, Any] = entry
            return found
    raise KeyError(f"no {kind.removesuffix('s')} is named {name!r}")


def _content(entry: dict[str, Any], name: str, directory: Path) -> str:
    """A PEM text that stands in the file (NAME-data, base64) or in a file of its own (NAME)."""
    data = entry.get(f"{name}-data")
    if data:
        return base64.b64decode(data).decode()
    path = entry.get(name)
    return (directory / path).read_text() if path else ""


def load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """A client certificate with its key, PEM."""
    # OpenSSL takes a pair from files only.
    with tempfile.NamedTemporaryFile("w", prefix="pilothouse-", suffix=".pem") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        context.load_cert_chain(file.name)


class _Fixed:
    def __init__(self, token: str) -> None:
        self._token = token

    async def current(self) -> str:
        return self._token

    def refused(self) -> None:
        """There is no other."""


class _FromFile:
    """A token file is read again every minute: somebody renews it."""

    def __init__(self, path: Path, world: World) -> None:
        self._path = path
        self._world = world
        self._token = ""
        self._read_at = float("-inf")

    async def current(self) -> str:
        now = self._world.clock.monotonic()
        if now - self._read_at > _TOKEN_FILE_FRESH_S:
            try:
                self._token = self._path.read_text().strip()
            except OSError as error:
                raise ConnectionError(f"cannot read the token file {self._path}: {error.strerror}") from error
            self._read_at = now
        return self._token

    def refused(self) -> None:
        self._read_at = float("-inf")


def transport(
    config: Config,
    world: World,
    agent: str,
    *,
    tokens: Tokens | None = None,
    throttle: Throttle | None = None,
) -> HttpTransport:
    """The way to the server; `tokens` in place of the config's own credentials."""
    if tokens is None:
        if config.token_file is not None:
            tokens = _FromFile(config.token_file, world)
        elif config.token:
            tokens = _Fixed(config.token)
    else:
        config = config.anonymous()
    return HttpTransport(
        config.server,
        config.tls(),
        tokens=tokens,
        throttle=throttle,
        user_agent=agent,
        server_name=config.server_name,
    )
