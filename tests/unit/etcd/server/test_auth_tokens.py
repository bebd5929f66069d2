"""Tokens: whose they are, and when they end. Passwords: that they fit, and that their check does not block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.auth.passwords import Passwords, PasswordTooLong
from pilothouse.etcd.server.auth.tokens import BadTokenOptions, Identity, SimpleTokens, tokens_of
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world


def test_a_simple_token_lives_as_long_as_it_is_used() -> None:
    async def main() -> None:
        world = simulated_world(1)
        tokens = SimpleTokens(world, 10)
        token = tokens.give("alice", 3)
        for _ in range(5):
            await world.clock.sleep(9)
            assert tokens.identity(token, 4) == Identity("alice", 4)
        await world.clock.sleep(11)
        assert tokens.identity(token, 4) is None
        tokens.give("bob", 4)
        assert len(tokens) == 1

    run_virtual(main())


def test_the_tokens_of_a_user_end_with_him() -> None:
    tokens = SimpleTokens(World())
    alice, bob = tokens.give("alice", 1), tokens.give("bob", 1)
    tokens.forget_user("alice")
    assert tokens.identity(alice, 1) is None
    assert tokens.identity(bob, 1) is not None
    tokens.forget_all()
    assert tokens.identity(bob, 1) is None
    assert tokens.identity("", 1) is None


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key").write_bytes(private)
    (tmp_path / "pub").write_bytes(public)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "other").write_bytes(
        other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    yield tmp_path


def test_a_jwt_says_the_revision_at_which_it_was_given(keys: Path) -> None:
    async def main() -> None:
        world = simulated_world(1)
        tokens = tokens_of(f"jwt,sign-method=ES256,priv-key={keys}/key,pub-key={keys}/pub,ttl=1m30s", world)
        token = tokens.give("alice", 3)
        assert jwt.decode(token, options={"verify_signature": False})["username"] == "alice"
        assert tokens.identity(token, 8) == Identity("alice", 3)
        checker = tokens_of(f"jwt,sign-method=ES256,pub-key={keys}/pub", world)
        assert checker.identity(token, 8) == Identity("alice", 3)
        with pytest.raises(StoreError, match="verify-only"):
            checker.give("alice", 3)
        await world.clock.sleep(91)
        assert tokens.identity(token, 8) is None

    run_virtual(main())


def test_a_jwt_of_another_key_or_method_is_nobodys(keys: Path) -> None:
    secret = b"a secret that is common to all servers"
    (keys / "secret").write_bytes(secret)
    tokens = tokens_of(f"jwt,sign-method=HS256,priv-key={keys}/secret", World())
    for claims in ({"username": "root", "revision": 1}, {"username": 1, "revision": 1, "exp": 9e9}):
        assert tokens.identity(jwt.encode(claims, secret, "HS256"), 1) is None
    good = {"username": "root", "revision": 1, "exp": 9_000_000_000}
    assert tokens.identity(jwt.encode(good, secret, "HS256"), 1) is not None
    assert tokens.identity(jwt.encode(good, b"another secret of enough bytes for it", "HS256"), 1) is None
    assert tokens.identity(jwt.encode(good, None, "none"), 1) is None
    # The public key, which is no secret, taken for a common secret.
    public = tokens_of(f"jwt,sign-method=ES256,pub-key={keys}/pub", World())
    forged = jwt.encode(good, (keys / "pub").read_bytes().split(b"\n")[1], "HS256")
    assert public.identity(forged, 1) is None


@pytest.mark.parametrize(
    "option",
    [
        "",
        "none",
        "simple,ttl=1m",
        "jwt",
        "jwt,sign-method=none,priv-key=K/key",
        "jwt,sign-method=HS256",
        "jwt,sign-method=ES256",
        "jwt,sign-method=HS256,priv-key=K/key",
        "jwt,sign-method=RS256,priv-key=K/key",
        "jwt,sign-method=EdDSA,pub-key=K/pub",
        "jwt,sign-method=ES256,priv-key=K/missing",
        "jwt,sign-method=ES256,priv-key=K/pub",
        "jwt,sign-method=ES256,priv-key=K/key,pub-key=K/other",
        "jwt,sign-method=ES256,priv-key=K/key,ttl=soon",
        "jwt,sign-method=ES256,priv-key=K/key,priv-key=K/key",
        "jwt,sign-method=ES256,priv-key",
    ],
)
def test_options_that_mean_nothing_are_refused(option: str, keys: Path) -> None:
    with pytest.raises(BadTokenOptions):
        tokens_of(option.replace("K/", f"{keys}/"), World())


async def test_a_password_fits_its_hash_alone() -> None:
    with closing(Passwords(4)) as passwords:
        known = await passwords.hashed("pw")
        assert await passwords.fits("pw", known)
        assert not await passwords.fits("pW", known)
        assert not await passwords.fits("pw", None)
        assert not await passwords.fits("pw", b"")
        assert not await passwords.fits("p" * 73, known)
        with pytest.raises(PasswordTooLong):
            await passwords.hashed("p" * 73)


async def test_hashing_leaves_the_event_loop_to_others() -> None:
    with closing(Passwords(10)) as passwords:
        hashing = asyncio.ensure_future(passwords.hashed("pw"))
        turns = 0
        while not hashing.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 100
        logging.getLogger(__name__).debug("%d turns while one password was hashed", turns)
