"""What a client shows instead of its password (etcd server/auth: simple_token.go, jwt.go, options.go).

    simple   16 random letters, known to this server alone; lives for --auth-token-ttl after its last use, and ends
             when its user is deleted or gets another password, or authentication is disabled
    jwt      signed, with the user and the revision of the accounts: any change of these makes it useless

Chance comes from `secrets`: a token that a seed can foretell protects nothing.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from pilothouse.etcd.contract import StoreError
from pilothouse.kit.world import World

DEFAULT_TTL_S = 300
_LETTERS = 16


class Identity(NamedTuple):
    """Who a caller is, and the revision of the accounts that his rights are of."""

    name: str
    revision: int


class BadTokenOptions(ValueError):
    """--auth-token means nothing; the message says what it must be."""


class Tokens(Protocol):
    def give(self, user: str, revision: int) -> str:
        """A new token. StoreError when this server only checks them."""

    def identity(self, token: str, revision: int) -> Identity | None:
        """Whose it is, None if it is nobody's (any more). `revision` is the accounts' own."""

    def forget_user(self, user: str) -> None: ...
    def forget_all(self) -> None: ...


class SimpleTokens:
    def __init__(self, world: World, ttl_s: float = DEFAULT_TTL_S) -> None:
        self._clock = world.clock
        self._ttl_s = ttl_s if ttl_s > 0 else DEFAULT_TTL_S
        self._users: dict[str, str] = {}
        self._ends_s: dict[str, float] = {}
        self._given = 0

    def __len__(self) -> int:
        return len(self._users)

    def give(self, user: str, revision: int) -> str:
        self._drop_expired()
        self._given += 1
        letters = "".join(secrets.choice(string.ascii_letters) for _ in range(_LETTERS))
        token = f"{letters}.{self._given}"
        self._users[token] = user
        self._ends_s[token] = self._clock.monotonic() + self._ttl_s
        return token

    def identity(self, token: str, revision: int) -> Identity | None:
        user = self._users.get(token)
        now_s = self._clock.monotonic()
        if user is None or self._ends_s[token] < now_s:
            return None
        self._ends_s[token] = now_s + self._ttl_s
        return Identity(user, revision)

    def forget_user(self, user: str) -> None:
        self._drop([token for token, whose in self._users.items() if whose == user])

    def forget_all(self) -> None:
        self._drop(list(self._users))

    def _drop_expired(self) -> None:
        now_s = self._clock.monotonic()
        self._drop([token for token, end_s in self._ends_s.items() if end_s < now_s])

    def _drop(self, tokens: list[str]) -> None:
        for token in tokens:
            del self._users[token], self._ends_s[token]


class JwtTokens:
    """`private` None: this server checks tokens that others give."""

    def __init__(self, world: World, method: str, ttl_s: float, private: Any, public: Any) -> None:
        self._clock = world.clock
        self._method = method
        self._ttl_s = ttl_s
        self._private = private
        self._public = public

    def give(self, user: str, revision: int) -> str:
        if self._private is None:
            raise StoreError("auth: token signing attempted with verify-only key")
        end_s = int(self._clock.now() + self._ttl_s)
        claims = {"username": user, "revision": revision, "exp": end_s}
        return jwt.encode(claims, self._private, algorithm=self._method)

    def identity(self, token: str, revision: int) -> Identity | None:
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[self._method],
                # The end is compared below, by this world's clock.
                options={"require": ["exp"], "verify_exp": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError:
            return None
        user, given_at, end_s = (claims.get(name) for name in ("username", "revision", "exp"))
        if not isinstance(user, str) or not isinstance(given_at, int) or not isinstance(end_s, int | float):
            return None
        return Identity(user, given_at) if self._clock.now() < end_s else None

    def try_keys(self) -> None:
        """Raises what the library raises for keys that the method cannot use."""
        algorithm = jwt.get_algorithm_by_name(self._method)
        if self._private is not None:
            algorithm.sign(b"", algorithm.prepare_key(self._private))
        algorithm.verify(b"", algorithm.prepare_key(self._public), b"")

    def forget_user(self, user: str) -> None:
        """The change of the revision does it."""

    def forget_all(self) -> None:
        """They end by themselves, or with the next change of the accounts."""


def tokens_of(option: str, world: World, simple_ttl_s: float = DEFAULT_TTL_S) -> Tokens:
    """What --auth-token means: `simple`, or `jwt,sign-method=…,priv-key=FILE[,pub-key=FILE][,ttl=10m]`."""
    kind, *settings = option.split(",")
    if kind == "simple" and not settings:
        return SimpleTokens(world, simple_ttl_s)
    if kind == "jwt":
        return _jwt_tokens(_settings(settings), world)
    raise BadTokenOptions(f"--auth-token={option}: it is simple, or jwt with its options")


def _settings(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in found or name not in ("sign-method", "pub-key", "priv-key", "ttl"):
            raise BadTokenOptions(
                f"--auth-token: {pair!r} is none of sign-method=, pub-key=, priv-key= and ttl=, each given once"
            )
        found[name] = value
    return found


def _jwt_tokens(settings: Mapping[str, str], world: World) -> JwtTokens:
    method = settings.get("sign-method", "")
    if re.fullmatch(r"(HS|RS|PS|ES)(256|384|512)|EdDSA", method) is None:
        raise BadTokenOptions(
            f"--auth-token: sign-method={method} is none of HS256, RS256, PS256, ES256, EdDSA …"
        )
    ttl_s = _seconds(settings.get("ttl", "5m"))
    private, public = (
        _read(settings[name]) if name in settings else None for name in ("priv-key", "pub-key")
    )
    if method.startswith("HS"):
        if not private:
            raise BadTokenOptions(f"--auth-token: {method} needs priv-key=FILE, the common secret")
        return _tried(JwtTokens(world, method, ttl_s, private, private), method)
    return _tried(JwtTokens(world, method, ttl_s, *_key_pair(private, public)), method)


def _tried(tokens: JwtTokens, method: str) -> JwtTokens:
    """With a key that is of another method than the one that was named, nobody could ever log in."""
    try:
        tokens.try_keys()
    except (jwt.InvalidKeyError, TypeError, ValueError, AttributeError) as error:
        raise BadTokenOptions(f"--auth-token: the key is none for {method}: {error}") from error
    return tokens


def _key_pair(private: bytes | None, public: bytes | None) -> tuple[Any, Any]:
    if private is None and public is None:
        raise BadTokenOptions(
            "--auth-token: priv-key=FILE (or pub-key=FILE, to check tokens only) is missing"
        )
    try:
        signs = serialization.load_pem_private_key(private, None) if private is not None else None
        checks = serialization.load_pem_public_key(public) if public is not None else None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadTokenOptions(
            f"--auth-token: a key file is no PEM key without a password: {error}"
        ) from error
    if signs is None:
        return None, checks
    own = signs.public_key()
    if checks is not None and checks != own:
        raise BadTokenOptions("--auth-token: pub-key is not the public part of priv-key")
    return signs, own


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadTokenOptions(f"--auth-token: {path} cannot be read: {error.strerror}") from error


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(duration: str) -> float:
    """A duration as Go writes it: 10m, 1h30m."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise BadTokenOptions(f"--auth-token: ttl={duration} is no duration like 10m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
