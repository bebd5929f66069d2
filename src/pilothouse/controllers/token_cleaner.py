"""Token cleaner: deletes bootstrap tokens when they expire (pkg/controller/bootstrap/tokencleaner.go,
https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/). One whose expiration cannot be read has
expired.

Off unless --controllers names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import bootstrap_tokens as tokens
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import SECRETS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller


class TokenCleaner(Controller):
    name: ClassVar[str] = "token_cleaner"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._secrets = self.watch(SECRETS, keys=_if_token, fieldSelector=f"type={tokens.TYPE}")

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.get(key)
        left_s = tokens.time_left_s(secret, self.world.now()) if secret is not None else None
        if secret is None or left_s is None or left_s > 0:
            return left_s
        meta = secret["metadata"]
        try:
            options = {"preconditions": {"uid": meta["uid"]}}
            await self.client.delete(SECRETS, meta["name"], meta["namespace"], options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        return None


def _if_token(secret: Obj) -> Iterable[str]:
    return (key_of(secret),) if tokens.is_token(secret) else ()
