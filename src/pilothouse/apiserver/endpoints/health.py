"""/healthz, /livez, /readyz: named checks, one path each, `?verbose`, `?exclude=`
(k8s.io/apiserver/pkg/server/healthz)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.request_info import is_true

Check = Callable[[], Awaitable[str]]
"""What is wrong; "" when nothing is."""

_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
_NAMES = {"healthz": "healthz", "livez": "livez", "readyz": "readyz"}


class Health:
    """`checks` by name, in order; those in `readiness` count for /readyz alone."""

    def __init__(self, checks: dict[str, Check], readiness: dict[str, Check]) -> None:
        self._checks = checks
        self._readiness = readiness

    def handles(self, path: str) -> bool:
        return path.strip("/").split("/")[0] in _NAMES

    async def handle(self, request: Request) -> Response:
        endpoint, _, one = request.path.strip("/").partition("/")
        checks = dict(self._checks)
        if endpoint == "readyz":
            checks.update(self._readiness)
        if one:
            return await self._one(endpoint, one, checks)
        return await self._all(endpoint, checks, request)

    async def _one(self, endpoint: str, name: str, checks: dict[str, Check]) -> Response:
        check = checks.get(name)
        if check is None:
            return Response(404, b"404 page not found\n", dict(_TEXT))
        problem = await check()
        if problem:
            return Response(500, f"internal server error: {problem}\n".encode(), dict(_TEXT))
        return Response(200, b"ok", dict(_TEXT))

    async def _all(self, endpoint: str, checks: dict[str, Check], request: Request) -> Response:
        lines, failed = [], []
        excluded = set(request.query.get("exclude", ()))
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            problem = await check()
            if problem:
                failed.append(name)
                lines.append(f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        report = "\n".join(lines)
        if failed:
            return Response(500, f"{report}\n{endpoint} check failed\n".encode(), dict(_TEXT))
        if "verbose" in request.query and is_true(request.query["verbose"] or ["true"]):
            return Response(200, f"{report}\n{endpoint} check passed\n".encode(), dict(_TEXT))
        return Response(200, b"ok", dict(_TEXT))
