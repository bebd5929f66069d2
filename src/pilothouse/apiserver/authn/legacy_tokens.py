"""Tokens of secrets of type service-account-token: without an end, good while the secret holds them
(pkg/serviceaccount/legacy.go, KEP-2799).

    each use        label legacy-token-last-used: the day, written at most once a day
    legacy-token-invalid-since on the secret      refused; the cleaner sets it on what nobody uses
    the account names the secret in `secrets`     made by an older cluster by itself: its user is warned
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.field import go_quote
from pilothouse.api.resources import SECRETS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.metrics import counter
from pilothouse.kit.world import World, timestamp

log = logging.getLogger(__name__)

ISSUER = "kubernetes/serviceaccount"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
WARNING = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
    "secret-based tokens."
)
_DAY_S = 86_400.0


class TokenRefused(ValueError):
    """A token of ours that is not good (any more); the text is upstream's reason (pkg/serviceaccount)."""


class Labels(Protocol):
    async def label(self, namespace: str, name: str, uid: str, labels: dict[str, str]) -> None:
        """Set labels of the secret that has this uid. ApiError when there is none."""


class TokenUses:
    """Counts the uses of service-account tokens, and writes down when a secret's was used last. `labels` None: nobody
    writes."""

    def __init__(self, world: World, metrics: CollectorRegistry, labels: Labels | None = None) -> None:
        self._world = world
        self._labels = labels
        self._writing: dict[str, asyncio.Task[None]] = {}
        self.valid = counter(
            metrics,
            "serviceaccount_valid_tokens_total",
            "Cumulative valid projected service account tokens used",
        )
        counter(
            metrics,
            "serviceaccount_stale_tokens_total",
            "Cumulative stale projected service account tokens used",
        )
        self.legacy = counter(
            metrics, "serviceaccount_legacy_tokens_total", "Cumulative legacy service account tokens used"
        )
        self.manual = counter(
            metrics,
            "serviceaccount_legacy_manual_token_uses_total",
            "Cumulative manually created legacy tokens used",
        )
        self.generated = counter(
            metrics,
            "serviceaccount_legacy_auto_token_uses_total",
            "Cumulative auto-generated legacy tokens used",
        )
        self.invalid = counter(
            metrics,
            "serviceaccount_invalid_legacy_auto_token_uses_total",
            "Cumulative invalid auto-generated legacy tokens used",
        )

    def note(self, secret: Obj) -> None:
        """It is used today. Written behind the request's back: who authenticates does not wait for the disk."""
        meta, now_s = secret["metadata"], self._world.now()
        today = _day(now_s)
        # A server whose clock is ahead may have written tomorrow's date.
        if self._labels is None or (meta.get("labels") or {}).get(LAST_USED) in (today, _day(now_s + _DAY_S)):
            return
        uid = meta["uid"]
        if uid not in self._writing:
            task = asyncio.get_running_loop().create_task(self._write(self._labels, meta, today))
            self._writing[uid] = task
            task.add_done_callback(lambda _: self._writing.pop(uid, None))

    async def _write(self, labels: Labels, meta: Obj, day: str) -> None:
        try:
            await labels.label(meta["namespace"], meta["name"], meta["uid"], {LAST_USED: day})
        except ApiError as error:
            log.warning(
                "Failed to label legacy service account token %s/%s with last-used date, err: %s",
                meta["namespace"],
                meta["name"],
                error,
            )

    async def stop(self) -> None:
        tasks = list(self._writing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class LegacyTokens:
    """Checks what such a token claims; its signature is checked already."""

    def __init__(self, lister: Lister, uses: TokenUses) -> None:
        self._lister = lister
        self._uses = uses

    def account(self, claims: dict[str, Any], token: str) -> Obj:
        """The account that it stands for. TokenRefused."""
        self._uses.legacy.inc()
        namespace, name, uid, secret_name = _named(claims)
        secret = self._secret(namespace, secret_name, token)
        account = self._account(namespace, name, uid)
        if (secret["metadata"].get("labels") or {}).get(INVALID_SINCE):
            self._uses.invalid.inc()
            self._uses.note(secret)
            raise TokenRefused(
                f"the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been "
                "marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or "
                f"remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        (self._uses.generated if _names(account, secret_name) else self._uses.manual).inc()
        self._uses.note(secret)
        return account

    def is_generated(self, claims: dict[str, Any]) -> bool:
        """Whether its account names it, as older clusters made them by themselves."""
        namespace, name, _, secret_name = _named(claims)
        account = self._lister.get(SERVICE_ACCOUNTS, name, namespace)
        return account is not None and _names(account, secret_name)

    def _secret(self, namespace: str, name: str, token: str) -> Obj:
        secret = self._lister.get(SECRETS, name, namespace)
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            raise TokenRefused("Token has been invalidated")
        kept = (secret.get("data") or {}).get("token") or ""
        if not hmac.compare_digest(kept, base64.b64encode(token.encode()).decode()):
            raise TokenRefused("Token does not match server's copy")
        return secret

    def _account(self, namespace: str, name: str, uid: str) -> Obj:
        account = self._lister.get(SERVICE_ACCOUNTS, name, namespace)
        if account is None:
            raise TokenRefused(f"serviceaccounts {go_quote(name)} not found")
        if account["metadata"].get("deletionTimestamp"):
            raise TokenRefused(f"ServiceAccount {namespace}/{name} has been deleted")
        actual = account["metadata"].get("uid", "")
        if actual != uid:
            raise TokenRefused(f"ServiceAccount UID ({actual}) does not match claim ({uid})")
        return account


def _named(claims: dict[str, Any]) -> tuple[str, str, str, str]:
    """Namespace, account's name and uid, secret's name. TokenRefused for a claim that is missing."""
    subject = claims.get("sub") or ""
    if not subject:
        raise TokenRefused("sub claim is missing")
    found = []
    for claim, what in (
        ("namespace", "namespace"),
        ("secret.name", "secretName"),
        ("service-account.name", "serviceAccountName"),
        ("service-account.uid", "serviceAccountUID"),
    ):
        value = claims.get(f"{ISSUER}/{claim}") or ""
        if not value:
            raise TokenRefused(f"{what} claim is missing")
        found.append(str(value))
    namespace, secret, name, uid = found
    if subject != f"system:serviceaccount:{namespace}:{name}":
        raise TokenRefused("sub claim is invalid")
    return namespace, name, uid, secret


def _names(account: Obj, secret_name: str) -> bool:
    return any(ref.get("name") == secret_name for ref in account.get("secrets") or ())


def _day(unix_s: float) -> str:
    """UTC, as 2006-01-02."""
    return timestamp(unix_s)[:10]
