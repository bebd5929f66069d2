"""/flagz and /statusz of a component: with which flags it runs, since when, and in which version (KEP-4827, KEP-4828;
k8s.io/component-base/zpages).

Two forms: a page for people, and for who asks with `Accept: application/json;v=v1beta1;g=config.k8s.io;as=Statusz` a
document. Both are beta, and on, in Kubernetes 1.36.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from pilothouse.api import errors
from pilothouse.api.catalog import DEFAULT_VERSION
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, Response
from pilothouse.kit.world import World, parse_timestamp

Answer = Callable[[Request], Response]

_NO_DEBUGGING = frozenset(("/", "/api", "/apis", "/openapi", "/openid", "/.well-known"))
_VERSIONS = ("v1beta1", "v1alpha1")
_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only."
)


def pages(name: str, world: World, flags: Mapping[str, str], paths: tuple[str, ...]) -> dict[str, Answer]:
    """/flagz and /statusz of the component `name`, by path. `paths` are all that it serves."""
    started_s = world.clock.monotonic()
    started = world.timestamp()

    def status(request: Request) -> Response:
        up_s = int(world.clock.monotonic() - started_s)
        facts: Obj = {
            "startTime": started,
            "uptimeSeconds": up_s,
            "goVersion": f"python{platform.python_version()}",
            "binaryVersion": DEFAULT_VERSION.removeprefix("v"),
            "emulationVersion": ".".join(DEFAULT_VERSION.removeprefix("v").split(".")[:2]),
            "paths": debugging(paths),
        }
        lines = (
            f"Started: {_unix_date(started)}",
            f"Up: {_spoken(up_s)}",
            f"Go version: {facts['goVersion']}",
            f"Binary version: {facts['binaryVersion']}",
            f"Emulation version: {facts['emulationVersion']}",
            f"Paths: {' '.join(facts['paths'])}",
        )
        return _answer(request, name, "Statusz", facts, lines)

    def flagged(request: Request) -> Response:
        lines = (f"{key}={value}" for key, value in sorted(flags.items()))
        return _answer(request, name, "Flagz", {"flags": dict(flags)}, lines)

    return {"/flagz": flagged, "/statusz": status}


def debugging(paths: Iterable[str]) -> list[str]:
    """The first segments of paths, without those of the API itself (statusz aggregatePaths); sorted."""
    first = {"/" + path.split("/")[1] for path in paths}
    return sorted(first - _NO_DEBUGGING)


def _unix_date(timestamp: str) -> str:
    """As Go's time.UnixDate has it."""
    return time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime(parse_timestamp(timestamp)))


def _spoken(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} hr {rest // 60:02d} min {rest % 60:02d} sec"


def _answer(request: Request, name: str, kind: str, facts: Obj, lines: Iterable[str]) -> Response:
    """ApiError 406 for a form that is not served."""
    accepted = request.headers.get("accept", "") or "*/*"
    for part in accepted.split(","):
        media, _, rest = part.strip().partition(";")
        wants = dict(p.strip().partition("=")[::2] for p in rest.split(";") if "=" in p)
        if (
            media == "application/json"
            and wants.get("as") == kind
            and wants.get("g") == "config.k8s.io"
            and wants.get("v") in _VERSIONS
        ):
            body = {"kind": kind, "apiVersion": f"config.k8s.io/{wants['v']}", "metadata": {"name": name}}
            return Response(200, msgspec.json.encode({**body, **facts}), {"Content-Type": "application/json"})
        if media in ("*/*", "text/*", "text/plain"):
            page = "\n".join(("", f"{name} {kind.lower()}", _WARNING, "", *lines, ""))
            return Response(200, page.encode(), {"Content-Type": "text/plain; charset=utf-8"})
    raise errors.not_acceptable(
        "only the following media types are accepted: text/plain, "
        f"application/json;v={_VERSIONS[0]};g=config.k8s.io;as={kind}"
    )
