"""Bootstrap signer: signs the ConfigMap cluster-info in kube-public with every bootstrap token that is for it, so that
a machine that knows one of them can trust what it reads there as anybody (pkg/controller/bootstrap/bootstrapsigner.go,
https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#configmap-signing).

Off unless --controllers names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import bootstrap_tokens as tokens
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, SECRETS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller

NAMESPACE = "kube-public"
NAME = "cluster-info"
CONTENT = "kubeconfig"
PREFIX = "jws-kubeconfig-"
_KEY = f"{NAMESPACE}/{NAME}"


class BootstrapSigner(Controller):
    name: ClassVar[str] = "bootstrap_signer_queue"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._maps = self.watch(CONFIG_MAPS, keys=_if_ours, fieldSelector=f"metadata.name={NAME}")
        self._secrets = self.watch(SECRETS, keys=_if_token, fieldSelector=f"type={tokens.TYPE}")

    async def reconcile(self, key: str) -> float | None:
        present = self._maps.get(_KEY)
        if present is None or CONTENT not in (present.get("data") or {}):
            return None
        data = signed(present["data"], self._secrets.list(), self.world.now())
        if data == present["data"]:
            return None
        wanted = {**present, "apiVersion": "v1", "kind": "ConfigMap", "data": data}
        try:
            await self.client.update(CONFIG_MAPS, wanted)
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def signed(data: Obj, secrets: Iterable[Obj], now_s: float) -> Obj:
    """The map's data with a signature for each token that signs, and no other."""
    found = {key: value for key, value in data.items() if not key.startswith(PREFIX)}
    for secret in secrets:
        token_id, token_secret = tokens.data(secret, "token-id"), tokens.data(secret, "token-secret")
        if signs(secret, now_s):
            found[PREFIX + token_id] = tokens.detached_signature(data[CONTENT], token_id, token_secret)
    return found


def signs(secret: Obj, now_s: float) -> bool:
    """Whether a secret is a good token that is meant to sign (validateSecretForSigning)."""
    token_id = tokens.data(secret, "token-id")
    return (
        tokens.is_token(secret)
        and bool(token_id)
        and tokens.named_id(secret["metadata"]["name"]) == token_id
        and bool(tokens.data(secret, "token-secret"))
        and not tokens.has_expired(secret, now_s)
        and tokens.data(secret, "usage-bootstrap-signing") == "true"
    )


def _if_ours(obj: Obj) -> Iterable[str]:
    return (_KEY,) if obj["metadata"]["namespace"] == NAMESPACE else ()


def _if_token(secret: Obj) -> Iterable[str]:
    return (_KEY,) if tokens.is_token(secret) else ()
