"""What extension API servers serve, fetched for discovery and OpenAPI
(k8s.io/kube-aggregator/pkg/apiserver/handler_discovery.go, pkg/controllers/openapi, openapiv3)."""

from __future__ import annotations

import gzip
import logging
from typing import Any

import aiohttp
import msgspec

from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation.connection import Connections, Target
from pilothouse.apiserver.aggregation.services import Unreachable
from pilothouse.apiserver.endpoints.openapi import extensions
from pilothouse.apiserver.request import UserInfo

log = logging.getLogger(__name__)

AGGREGATOR = UserInfo("system:kube-aggregator", groups=("system:masters",))
"""Who asks extension API servers what they serve."""
_OPENAPI = UserInfo("system:aggregator")
_TIMEOUT_S = 5.0
_OPENAPI_TIMEOUT_S = 60.0
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_ACCEPT = ",".join((_DISCOVERY.format("v2"), _DISCOVERY.format("v2beta1")))


class Fetcher:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def resources(self, target: Target, group: str, version: str) -> list[Obj] | None:
        """What a group's version has, as aggregated discovery lists it; None when that cannot be said."""
        found = await self._get(target, "/apis", AGGREGATOR, _ACCEPT, _TIMEOUT_S, aggregated=True)
        if found is not None:
            for item in found.get("items") or ():
                if item.get("metadata", {}).get("name") == group:
                    for entry in item.get("versions") or ():
                        if entry.get("version") == version:
                            return entry.get("resources") or []
            return []
        path = f"/apis/{group}/{version}"
        found = await self._get(target, path, AGGREGATOR, "application/json", _TIMEOUT_S)
        return aggregated(found.get("resources") or []) if found is not None else None

    async def v3_urls(self, target: Target) -> dict[str, str]:
        """Where its OpenAPI documents of version 3 are, by name."""
        found = await self._get(target, "/openapi/v3", _OPENAPI, "application/json", _OPENAPI_TIMEOUT_S)
        if found is None:
            return {}
        return {name: entry["serverRelativeURL"] for name, entry in (found.get("paths") or {}).items()}

    async def v2(self, target: Target, group: str, version: str) -> Obj:
        """Its part of the OpenAPI document of version 2; {} for none."""
        found = await self._get(target, "/openapi/v2", _OPENAPI, "application/json", _OPENAPI_TIMEOUT_S)
        return extensions.part_of(found, f"/apis/{group}/{version}") if found is not None else {}

    async def _get(
        self,
        target: Target,
        path: str,
        user: UserInfo,
        accept: str,
        timeout_s: float,
        *,
        aggregated: bool = False,
    ) -> Obj | None:
        """A JSON document; None when there is none. With `aggregated` only an APIGroupDiscoveryList counts."""
        try:
            answer = await self._connections.request(
                target, "GET", path, user, sent={"Accept": accept}, timeout_s=timeout_s
            )
            try:
                if answer.status != 200:
                    return None
                if aggregated and "as=APIGroupDiscoveryList" not in answer.headers.get("Content-Type", ""):
                    return None
                body = await answer.read()
            finally:
                answer.close()
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found: Any = msgspec.json.decode(body)
        except (Unreachable, TimeoutError, aiohttp.ClientError, OSError, msgspec.DecodeError) as error:
            log.info("%s of %s is not known: %s", path, target.service.server_name, error)
            return None
        return found if isinstance(found, dict) else None


def aggregated(listed: list[Obj]) -> list[Obj]:
    """An APIResourceList's resources as aggregated discovery lists them (ConvertGroupVersionIntoToDiscovery)."""
    found: dict[str, Obj] = {}
    for entry in listed:
        plural, _, subresource = entry["name"].partition("/")
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        kind = {key: entry.get(key) or "" for key in ("group", "version", "kind")}
        if not subresource:
            resource: Obj = {"resource": plural, "responseKind": kind, "scope": scope}
            resource["singularResource"] = entry.get("singularName", "")
            resource["verbs"] = entry.get("verbs") or []
            for key in ("shortNames", "categories"):
                if entry.get(key):
                    resource[key] = entry[key]
            found[plural] = {
                **resource,
                **({"subresources": s} if (s := _subresources(found, plural)) else {}),
            }
            continue
        empty = {"group": "", "version": "", "kind": ""}
        blank = {
            "resource": plural,
            "responseKind": empty,
            "scope": scope,
            "singularResource": "",
            "verbs": None,
        }
        parent = found.setdefault(plural, blank)
        part: Obj = {"subresource": subresource}
        if entry.get("kind"):
            part["responseKind"] = kind
        parent.setdefault("subresources", []).append({**part, "verbs": entry.get("verbs") or []})
    return list(found.values())


def _subresources(found: dict[str, Obj], plural: str) -> list[Obj]:
    return list((found.get(plural) or {}).get("subresources") or [])
