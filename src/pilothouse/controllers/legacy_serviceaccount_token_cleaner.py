"""Cleaner of legacy tokens: what an older cluster made by itself and nobody uses any more
(pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go, KEP-2799,
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#legacy-serviceaccount-token-cleaner).

    an account names the secret, no pod mounts it, and for the clean-up period (a year) nobody used it
        not marked yet        label kubernetes.io/legacy-token-invalid-since: the API server refuses the token
        marked for a period   deleted

All are looked at once a day, and none before uses have been written down for a whole period.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.pod_references import secret_names
from pilothouse.api.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.service_account_token import NAME, TYPE, UID
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

CLEAN_UP_S = 31_536_000.0
"""--legacy-service-account-token-clean-up-period."""
PERIOD_S = 24 * 3600.0
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
_ROUND = "round"


class LegacyTokenCleaner(Controller):
    name: ClassVar[str] = "legacy-serviceaccount-token-cleaner-controller"
    workers: ClassVar[int] = 1

    def __init__(self, env: Environment, *, clean_up_s: float = CLEAN_UP_S) -> None:
        super().__init__(env)
        self._clean_up_s = clean_up_s

    def setup(self) -> None:
        self._secrets = self.informer(SECRETS, fieldSelector=f"type={TYPE}")
        self._accounts = self.informer(SERVICE_ACCOUNTS)
        self._pods = self.informer(PODS)
        self.queue.add(_ROUND)

    async def reconcile(self, key: str) -> float | None:
        now_s = self.world.now()
        since = await self._tracked_since()
        # Uses of the first day may have been missed: it counts from the next midnight on.
        if since is None or now_s < since.timestamp() + PERIOD_S + self._clean_up_s:
            return PERIOD_S
        mounted = {(p["metadata"]["namespace"], name) for p in self._pods.list() for name in secret_names(p)}
        for secret in list(self._secrets.list()):
            meta = secret["metadata"]
            if (meta["namespace"], meta["name"]) in mounted or not self._is_generated(secret):
                continue
            if is_unused(secret, now_s - self._clean_up_s):
                await self._retire(secret, now_s)
        return PERIOD_S

    async def _tracked_since(self) -> datetime | None:
        try:
            found = await self.client.get(CONFIG_MAPS, TRACKING, "kube-system")
        except ApiError as error:
            log.error("Getting lastest possible tracked_since time: %s", error)
            return None
        since = as_day((found.get("data") or {}).get("since") or "")
        if since is None:
            log.error("Getting lastest possible tracked_since time: configMap does not have since label")
        return since

    def _is_generated(self, secret: Obj) -> bool:
        """Its account is there and names it: nobody can tell who made any other."""
        meta = secret["metadata"]
        annotations = meta.get("annotations") or {}
        account = self._accounts.get(f"{meta['namespace']}/{annotations.get(NAME, '')}")
        if account is None or annotations.get(UID, account["metadata"]["uid"]) != account["metadata"]["uid"]:
            return False
        return any(ref.get("name") == meta["name"] for ref in account.get("secrets") or ())

    async def _retire(self, secret: Obj, now_s: float) -> None:
        """One that fails is tried again in the next round."""
        meta = secret["metadata"]
        marked = (meta.get("labels") or {}).get(INVALID_SINCE, "")
        try:
            if as_day(marked) is None:
                labels = {INVALID_SINCE: day(now_s)}
                body = {"metadata": {"uid": meta["uid"], "labels": labels}}
                await self.client.patch(SECRETS, meta["name"], body, meta["namespace"])
            elif marked < day(now_s - self._clean_up_s):
                options = {"preconditions": {"resourceVersion": meta["resourceVersion"]}}
                await self.client.delete(SECRETS, meta["name"], meta["namespace"], options)
        except ApiError as error:
            if error.code not in (404, 409):
                log.error("legacy service account token %s: %s", key_of(secret), error)


def is_unused(secret: Obj, since_s: float) -> bool:
    """Made before `since_s`, and not used on that day or later. A day that nobody can read may be any day."""
    meta = secret["metadata"]
    if parse_timestamp(meta["creationTimestamp"]) >= since_s or meta.get("deletionTimestamp"):
        return False
    used = (meta.get("labels") or {}).get(LAST_USED)
    return used is None or (as_day(used) is not None and used < day(since_s))


def day(unix_s: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_s)).strftime("%Y-%m-%d")


def as_day(text: str) -> datetime | None:
    """Midnight (UTC) of a date such as 2006-01-02; None for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if len(text) == 10 else None
    except ValueError:
        return None
