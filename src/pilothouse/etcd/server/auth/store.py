"""The accounts of one server: read at its start, durable before a change counts, and who a caller is by them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from pilothouse.etcd.contract import Maintenance
from pilothouse.etcd.server.auth.accounts import Accounts, decoded
from pilothouse.etcd.server.auth.passwords import Passwords
from pilothouse.etcd.server.auth.tokens import Identity, Tokens
from pilothouse.etcd.wire.errors import Code, Refused

log = logging.getLogger(__name__)

RECORD = "auth"
_TOKEN_FIELDS = ("token", "authorization")
"""Where gRPC clients and the JSON gateway's put the token (rpctypes/metadatafields.go)."""
_GATEWAY_FIELD = "grpcgateway-accept"


class AuthStore:
    """`accounts` is replaced by every change, never altered."""

    def __init__(
        self,
        kept: Maintenance,
        tokens: Tokens,
        passwords: Passwords,
        accounts: Accounts,
        *,
        certificates: bool,
    ) -> None:
        self._kept = kept
        self._tokens = tokens
        self._passwords = passwords
        self._certificates = certificates
        self._changing = asyncio.Lock()
        self.accounts = accounts

    async def change(self, change: Callable[[Accounts], Accounts]) -> None:
        """Make a change durable, then true. Refused as the change refuses it."""
        async with self._changing:
            changed = change(self.accounts)
            if changed is self.accounts:
                return
            await self._kept.keep_record(RECORD, changed.encoded())
            if self.accounts.enabled != changed.enabled:
                log.info("authentication is %s", "enabled" if changed.enabled else "disabled")
            self.accounts = changed

    async def disable(self) -> None:
        await self.change(Accounts.disable)
        self._tokens.forget_all()

    def forget_tokens(self, user: str) -> None:
        """A user was deleted, or has another password."""
        self._tokens.forget_user(user)

    async def hashed(self, password: str) -> bytes:
        return await self._passwords.hashed(password)

    async def authenticate(self, name: str, password: str) -> str:
        """A token. Refused for a wrong name as for a wrong password, after the same time."""
        while True:
            accounts = self.accounts
            if not accounts.enabled:
                raise Refused("etcdserver: authentication is not enabled")
            user = accounts.users.get(name)
            if user is not None and user.no_password:
                raise Refused(
                    "auth: authentication failed, password was given for no password user",
                    Code.UNKNOWN,
                )
            if not await self._passwords.fits(password, user.password if user is not None else None):
                log.warning("a password that does not fit was given for user %r", name)
                raise Refused("etcdserver: authentication failed, invalid user ID or password")
            # Meanwhile the user may have another password, or be gone.
            if self.accounts is accounts:
                return self._tokens.give(name, accounts.revision)

    def identity(self, metadata: Mapping[str, str], peer_name: str) -> Identity | None:
        """Who calls: by a token, else by a client certificate (where it counts), else nobody. Refused for a token
        that is nobody's."""
        for field in _TOKEN_FIELDS:
            if field in metadata:
                identity = self._tokens.identity(metadata[field], self.accounts.revision)
                if identity is None:
                    raise Refused("etcdserver: invalid auth token")
                return identity
        # What comes through a gateway has the gateway's certificate, which says nothing of the caller.
        if self._certificates and peer_name and _GATEWAY_FIELD not in metadata:
            return Identity(peer_name, self.accounts.revision)
        return None

    def close(self) -> None:
        self._passwords.close()


async def open_auth(
    kept: Maintenance, tokens: Tokens, passwords: Passwords | None = None, *, certificates: bool = False
) -> AuthStore:
    """`certificates`: the common name of a verified client certificate is a user (--client-cert-auth)."""
    accounts = decoded(await kept.record(RECORD))
    return AuthStore(kept, tokens, passwords or Passwords(), accounts, certificates=certificates)
