"""Writes every object of a resource anew, so that it is stored as the server stores it today (KEP-4192,
k8s.io/kubernetes/pkg/controller/storageversionmigrator). Beta and off in 1.36: it runs where the API is served.

    made ──▶ status.resourceVersion: what is newer is stored well already ──▶ Running ──▶ Succeeded, or Failed

Each object is server-side applied with nothing but its UID and revision: a write that changes nothing. A conflict means
that somebody else wrote or deleted it, which does as well.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import condition

MIGRATIONS = Resource(
    "storagemigration.k8s.io", "v1beta1", "storageversionmigrations", "StorageVersionMigration", False
)
_PAGE = "500"
_REASONS = {
    "Running": "StorageVersionMigrationInProgress",
    "Succeeded": "StorageVersionMigrationSucceeded",
    "Failed": "StorageVersionMigrationFailed",
}


class StorageVersionMigrator(Controller):
    name: ClassVar[str] = "storage-version-migrator-controller"

    def setup(self) -> None:
        self._migrations = self.watch(MIGRATIONS)

    async def reconcile(self, key: str) -> float | None:
        migration = self._migrations.get(key)
        if migration is None or _is_true(migration, "Succeeded") or _is_true(migration, "Failed"):
            return None
        named = migration["spec"]["resource"]
        resource = await self._served(named.get("group") or "", named["resource"])
        if resource is None:
            await self._set(key, migration, "Failed", "resource not found")
            return None
        status = migration.get("status") or {}
        if not status.get("resourceVersion"):
            listed = await self.client.list(resource, limit="1")
            await self._set(key, migration, "", "", listed["metadata"]["resourceVersion"])
            return None
        if not _is_true(migration, "Running"):
            await self._set(key, migration, "Running", "")
            return None
        if await self._migrate(resource):
            await self._set(key, migration, "Succeeded", "")
        else:
            await self._set(key, migration, "Failed", "migration encountered unhandled error")
        return None

    async def _migrate(self, resource: Resource) -> bool:
        """False when an object could not be written."""
        more: dict[str, str] = {"limit": _PAGE}
        while True:
            page = await self.client.list(resource, **more)
            for obj in page.get("items") or ():
                if not await self._rewrite(resource, obj):
                    return False
            token = page["metadata"].get("continue")
            if not token:
                return True
            more = {"limit": _PAGE, "continue": token}

    async def _rewrite(self, resource: Resource, obj: Obj) -> bool:
        meta = obj["metadata"]
        body: Obj = {
            "apiVersion": resource.group_version,
            "kind": resource.kind,
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
        }
        try:
            await self.client.patch(
                resource,
                meta["name"],
                body,
                meta.get("namespace", ""),
                patch_type="apply",
                fieldManager=self.name,
            )
        except ApiError as error:
            return error.code == 409
        return True

    async def _served(self, group: str, plural: str) -> Resource | None:
        """A resource in its group's preferred version."""
        version = "v1"
        if group:
            groups = (await self.client.raw("GET", "/apis"))["groups"]
            found = next((g for g in groups if g["name"] == group), None)
            if found is None:
                return None
            version = found["preferredVersion"]["version"]
        prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
        listed: Any = await self.client.raw("GET", prefix)
        for entry in listed["resources"]:
            if entry["name"] == plural:
                return Resource(group, version, plural, entry["kind"], entry["namespaced"])
        return None

    async def _set(self, key: str, migration: Obj, kind: str, message: str, revision: str = "") -> None:
        """Conditions that were true are no longer when another is."""
        before = (migration.get("status") or {}).get("conditions") or []
        now = self.world.timestamp()
        kept = [
            {**c, "status": "False", "lastTransitionTime": now} if c["status"] == "True" else c
            for c in before
            if c["type"] != kind
        ]
        status: Obj = {"resourceVersion": revision} if revision else {}
        if kind:
            new = {"type": kind, "status": "True", "reason": _REASONS[kind], "lastTransitionTime": now}
            status["conditions"] = [*kept, {**new, "message": message}]
        await self.set_status(MIGRATIONS, migration, status)


def _is_true(migration: Obj, kind: str) -> bool:
    found = condition(migration, kind)
    return found is not None and found["status"] == "True"
