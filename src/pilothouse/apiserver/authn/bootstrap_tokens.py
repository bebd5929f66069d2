"""Bootstrap tokens as bearer tokens: kube-apiserver's --enable-bootstrap-token-auth
(plugin/pkg/auth/authenticator/token/bootstrap,
https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/)."""

from __future__ import annotations

import hmac
import logging

from pilothouse.api import bootstrap_tokens as tokens
from pilothouse.api.resources import SECRETS
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import World

log = logging.getLogger(__name__)


class BootstrapTokens:
    """Who sends one is `system:bootstrap:ID`, in system:bootstrappers and the groups that the secret names."""

    def __init__(self, lister: Lister, world: World) -> None:
        self._lister = lister
        self._world = world

    def authenticate(self, token: str) -> UserInfo | None:
        parts = tokens.parse(token)
        if parts is None:
            return None
        token_id, token_secret = parts
        secret = self._lister.get(SECRETS, tokens.PREFIX + token_id, tokens.NAMESPACE)
        if secret is None:
            return None
        why = self._refusal(secret, token_id, token_secret)
        if why:
            log.debug("Bootstrap secret %s matching bearer token %s", secret["metadata"]["name"], why)
            return None
        return self._user(secret, token_id)

    def _refusal(self, secret: Obj, token_id: str, token_secret: str) -> str:
        """Why a secret lets nobody in; "" when it does."""
        if secret["metadata"].get("deletionTimestamp"):
            return "is deleted and awaiting removal"
        if not tokens.is_token(secret):
            return f"has invalid type, expected {tokens.TYPE}"
        if not hmac.compare_digest(tokens.data(secret, "token-secret").encode(), token_secret.encode()):
            return "has invalid value for key token-secret"
        if tokens.data(secret, "token-id") != token_id:
            return "has invalid value for key token-id"
        if tokens.has_expired(secret, self._world.now()):
            return "has expired"
        if tokens.data(secret, "usage-bootstrap-authentication") != "true":
            return "not marked usage-bootstrap-authentication=true"
        return ""

    def _user(self, secret: Obj, token_id: str) -> UserInfo | None:
        try:
            groups = tokens.groups(secret)
        except ValueError as error:
            log.debug("Bootstrap secret %s: %s", secret["metadata"]["name"], error)
            return None
        return UserInfo(tokens.USER_PREFIX + token_id, groups=tuple(groups))
