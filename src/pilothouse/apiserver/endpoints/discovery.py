"""Which groups, versions and resources are served: /api, /apis and below, plain and aggregated
(k8s.io/apiserver/pkg/endpoints/discovery)."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from pilothouse.api import errors
from pilothouse.api.catalog import GROUP_ORDER, Served, Subresource, version_priority
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import negotiation, render
from pilothouse.apiserver.endpoints.negotiation import JSON, Form
from pilothouse.apiserver.request import Request, Response

_CUSTOM_PRIORITY = 1000
_CUSTOM_VERSION = 100
"""Of custom resources' groups and versions."""
_AGGREGATED = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Remote(NamedTuple):
    """A group's version that an extension API server serves."""

    group_priority: int
    version_priority: int
    resources: list[Obj] | None = None
    """As aggregated discovery lists them; None while they are not known."""
    is_stale: bool = False


class Discovery:
    """The documents of one server; they change when resources come and go."""

    def __init__(self, server_address: str = "") -> None:
        self._served: dict[tuple[str, str], list[Served]] = {}
        self._remote: dict[tuple[str, str], Remote] = {}
        self._documents: dict[str, Response] = {}
        self._address = server_address

    def add(self, served: Served) -> None:
        r = served.resource
        listed = self._served.setdefault((r.group, r.version), [])
        listed[:] = [s for s in listed if s.resource.plural != r.plural]
        listed.append(served)
        listed.sort(key=lambda s: s.resource.plural)
        self._documents.clear()

    def remove(self, served: Served) -> None:
        r = served.resource
        listed = self._served.get((r.group, r.version), [])
        listed[:] = [s for s in listed if s.resource.plural != r.plural]
        if not listed:
            self._served.pop((r.group, r.version), None)
        self._documents.clear()

    def set_remote(self, group: str, version: str, remote: Remote) -> None:
        self._remote[(group, version)] = remote
        self._documents.clear()

    def remove_remote(self, group: str, version: str) -> None:
        self._remote.pop((group, version), None)
        self._documents.clear()

    def knows_group(self, group: str) -> bool:
        return any(g == group for g, _ in (*self._served, *self._remote))

    def is_custom_group(self, group: str) -> bool:
        """Whether a group has custom resources alone: its unknown versions and resources are nobody's paths."""
        return all(s.custom for (g, _), served in self._served.items() if g == group for s in served)

    def groups(self) -> dict[str, list[str]]:
        """Versions per group, preferred first; the core group first, then upstream's order, then the others."""
        found: dict[str, list[str]] = {}
        for group, version in dict.fromkeys((*self._served, *self._remote)):
            found.setdefault(group, []).append(version)
        known = {g: i for i, g in enumerate(GROUP_ORDER)}
        ordered = sorted(found, key=lambda g: (known.get(g, len(known)), -self._priority(g, found[g]), g))
        return {g: sorted(found[g], key=lambda v: self._version_order(g, v)) for g in ordered}

    def _priority(self, group: str, versions: list[str]) -> int:
        """The highest of a group's versions counts (groupPriorityMinimum)."""
        remote = [self._remote.get((group, version)) for version in versions]
        return max(r.group_priority if r is not None else _CUSTOM_PRIORITY for r in remote)

    def _version_order(self, group: str, version: str) -> Any:
        remote = self._remote.get((group, version))
        if not self._remote:
            return version_priority(version)
        return -remote.version_priority if remote is not None else -_CUSTOM_VERSION, version_priority(version)

    def handle(self, request: Request) -> Response | None:
        """The document at a path; None for a path that is none of discovery's."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "api" and len(parts) <= 2:
            return self._core(request, parts)
        if parts[0] == "apis" and len(parts) <= 3:
            return self._groups(request, parts)
        return None

    def _core(self, request: Request, parts: list[str]) -> Response:
        if len(parts) == 1:
            return self._root(request, core=True)
        if ("", parts[1]) not in self._served:
            raise errors.resource_not_found()
        return self._resources(request, "", parts[1])

    def _groups(self, request: Request, parts: list[str]) -> Response | None:
        if len(parts) == 1:
            return self._root(request, core=False)
        group = parts[1]
        if not self.knows_group(group) or not group:
            return None
        if len(parts) == 2:
            _only_get(request)
            return render.document(
                {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}, _plain(request)
            )
        if (group, parts[2]) not in self._served:
            if self.is_custom_group(group):
                return None
            raise errors.resource_not_found()
        return self._resources(request, group, parts[2])

    def _root(self, request: Request, *, core: bool) -> Response:
        if _wants_aggregated(request):
            return self._aggregated(request, core=core)
        form = _plain(request)
        if core:
            versions = [v for g, v in self._served if not g]
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
            return render.document(
                {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses}, form
            )
        groups = [self._group(g) for g in self.groups() if g]
        return render.document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}, form)

    def _group(self, group: str) -> Obj:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self.groups()[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, request: Request, group: str, version: str) -> Response:
        _only_get(request)
        entries: list[Obj] = []
        for served in self._served[(group, version)]:
            entries.append(_resource(served))
            entries += [_subresource(served, sub) for sub in served.subresources.values()]
        body: Obj = {"kind": "APIResourceList"}
        if group:
            body["apiVersion"] = "v1"
        body["groupVersion"] = f"{group}/{version}" if group else version
        body["resources"] = entries
        return render.document(body, _plain(request))

    def _aggregated(self, request: Request, *, core: bool) -> Response:
        key = "api" if core else "apis"
        response = self._documents.get(key)
        if response is None:
            items = [
                {
                    "metadata": {"name": group} if group else {},
                    "versions": [self._version(group, v) for v in versions],
                }
                for group, versions in self.groups().items()
                if (not group) == core
            ]
            body = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2",
                "metadata": {},
                "items": items,
            }
            response = render.document(body, Form())
            assert isinstance(response.body, bytes)
            tag = hashlib.sha512(response.body).hexdigest().upper()
            response.headers = {"Content-Type": _AGGREGATED, "ETag": f'"{tag}"', "Vary": "Accept"}
            self._documents[key] = response
        if request.headers.get("if-none-match") == response.headers["ETag"]:
            return Response(304, b"", dict(response.headers))
        return Response(200, response.body, dict(response.headers))

    def _version(self, group: str, version: str) -> Obj:
        remote = self._remote.get((group, version))
        if remote is not None:
            known = {"resources": remote.resources} if remote.resources else {}
            return {"version": version, **known, "freshness": "Stale" if remote.is_stale else "Current"}
        resources = [_aggregated_resource(s) for s in self._served[(group, version)]]
        return {"version": version, "resources": resources, "freshness": "Current"}


def _only_get(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise errors.method_not_supported()


_AGGREGATED_FORM = ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")


def _plain(request: Request) -> Form:
    accept = request.headers.get("accept", "")
    clauses = [c for c in accept.split(",") if "as=" not in c]
    form = negotiation.negotiate(",".join(clauses), transforms=False)
    return form._replace(pretty=True) if negotiation.wants_pretty(request) else form


def _wants_aggregated(request: Request) -> bool:
    """Whether the first acceptable clause is the aggregated form; 406 when only unknown forms are accepted."""
    clauses = [_parameters(c) for c in request.headers.get("accept", "").split(",")]
    for media_type, parameters in clauses:
        if media_type == JSON and "as" not in parameters:
            return False
        asked = tuple(parameters.get(p) for p in ("as", "g", "v"))
        if media_type in (JSON, "*/*") and asked == _AGGREGATED_FORM:
            return True
    if clauses and all("as" in parameters for _, parameters in clauses):
        accepted = ", ".join(negotiation.ACCEPTED)
        raise errors.not_acceptable(f"only the following media types are accepted: {accepted}")
    return False


def _parameters(clause: str) -> tuple[str, dict[str, str]]:
    head, *rest = clause.strip().split(";")
    return head.strip(), dict(p.strip().split("=", 1) for p in rest if "=" in p)


def _resource(served: Served) -> Obj:
    r = served.resource
    entry: Obj = {
        "name": r.plural,
        "singularName": served.singular,
        "namespaced": r.namespaced,
        "kind": r.kind,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.storage is not None:
        entry["storageVersionHash"] = _hash(served)
    return entry


def _hash(served: Served) -> str:
    import base64

    assert served.storage is not None
    text = f"{served.storage.group}/{served.storage.version}/{served.storage.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _subresource(served: Served, sub: Subresource) -> Obj:
    r = served.resource
    entry: Obj = {"name": f"{r.plural}/{sub.name}", "singularName": "", "namespaced": r.namespaced}
    if (sub.group, sub.version) != (r.group, r.version):
        entry |= {"group": sub.group, "version": sub.version}
    return entry | {"kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated_resource(served: Served) -> Obj:
    r = served.resource
    entry: Obj = {
        "resource": r.plural,
        "responseKind": _response_kind(served),
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.subresources:
        entry["subresources"] = [_aggregated_subresource(served, sub) for sub in served.subresources.values()]
    return entry


def _response_kind(served: Served) -> Obj:
    """Custom resources tell their group and version, built-in ones leave it to the place where they stand."""
    r = served.resource
    return {
        "group": r.group if served.custom else "",
        "version": r.version if served.custom else "",
        "kind": r.kind,
    }


def _aggregated_subresource(served: Served, sub: Subresource) -> Obj:
    r = served.resource
    same = not served.custom and (sub.group, sub.version) == (r.group, r.version)
    kind: dict[str, Any] = {
        "group": "" if same else sub.group,
        "version": "" if same else sub.version,
        "kind": sub.kind,
    }
    return {"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)}
