"""/healthz, /livez, /readyz: named checks, one path each, `?verbose`, `?exclude=`
(k8s.io/apiserver/pkg/server/healthz)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.request_info import is_true

Check = Callable[[], Awaitable[str]]
"""What is wrong; "" when nothing is."""

_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
START_HOOKS = tuple(
    name if name == "autoregister-completion" else f"poststarthook/{name}"
    for name in (
        "start-apiserver-admission-initializer",
        "generic-apiserver-start-informers",
        "priority-and-fairness-config-consumer",
        "priority-and-fairness-filter",
        "storage-object-count-tracker-hook",
        "start-apiextensions-informers",
        "start-apiextensions-controllers",
        "crd-informer-synced",
        "start-system-namespaces-controller",
        "start-cluster-authentication-info-controller",
        "start-kube-apiserver-identity-lease-controller",
        "start-kube-apiserver-identity-lease-garbage-collector",
        "storage-readiness",
        "start-legacy-token-tracking-controller",
        "start-service-ip-repair-controllers",
        "rbac/bootstrap-roles",
        "scheduling/bootstrap-system-priority-classes",
        "priority-and-fairness-config-producer",
        "bootstrap-controller",
        "start-kubernetes-service-cidr-controller",
        "aggregator-reload-proxy-client-cert",
        "start-kube-aggregator-informers",
        "apiservice-status-local-available-controller",
        "apiservice-status-remote-available-controller",
        "apiservice-registration-controller",
        "apiservice-discovery-controller",
        "kube-apiserver-autoregistration",
        "autoregister-completion",
        "apiservice-openapi-controller",
        "apiservice-openapiv3-controller",
    )
)
"""What upstream's servers do when they start, in the order in which its checks list it; here all of it is done before
the server is ready. Names without a part of their own here are kept for those who ask for them one by one."""
_NAMES = {"healthz": "healthz", "livez": "livez", "readyz": "readyz"}


class Health:
    """`checks` by name, in order; those in `readiness` count for /readyz alone. `hooks` come after both, and
    `last`, for /readyz alone, after those."""

    def __init__(
        self,
        checks: dict[str, Check],
        readiness: dict[str, Check],
        hooks: dict[str, Check] | None = None,
        last: dict[str, Check] | None = None,
    ) -> None:
        self._checks = checks
        self._readiness = readiness
        self._hooks = hooks or {}
        self._last = last or {}

    def handles(self, path: str) -> bool:
        return path.strip("/").split("/")[0] in _NAMES

    async def handle(self, request: Request) -> Response:
        endpoint, _, one = request.path.strip("/").partition("/")
        if endpoint == "readyz":
            checks = {**self._checks, **self._readiness, **self._hooks, **self._last}
        else:
            checks = {**self._checks, **self._hooks}
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
