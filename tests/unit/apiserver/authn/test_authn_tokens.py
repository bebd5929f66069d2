"""Service-account tokens, and what is no such token though it looks like one (KEP-1205, RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.served import Api, api

CORE = "/api/v1"
DEFAULT = f"{CORE}/namespaces/default"
ISSUER = "https://kubernetes.default.svc"


class Accounts:
    """Makes accounts, and asks with their tokens."""

    def __init__(self, server: Api) -> None:
        self.server = server
        self._count = 0

    def account(self) -> str:
        self._count += 1
        name = f"robot{self._count}"
        assert self.server.ask("POST", f"{DEFAULT}/serviceaccounts", named(name)).status == 201
        return name

    def token(self, name: str, **spec: Any) -> str:
        made = self.server.ask("POST", f"{DEFAULT}/serviceaccounts/{name}/token", {"spec": spec})
        assert made.status == 201, made.body
        found: str = made.body["status"]["token"]
        return found

    def who(self, token: str) -> Any:
        """The user of a token, None for a 401."""
        answer = self.server.ask(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            {},
            user=None,
            authorization=f"Bearer {token}",
        )
        assert answer.status in (201, 401), answer.body
        return answer.body["status"]["userInfo"] if answer.status == 201 else None

    def is_known(self, token: str) -> bool:
        return self.who(token) is not None

    def signed(self, claims: dict[str, Any]) -> str:
        signer = self.server.served.api.signer
        return signer._sign(claims)


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def pod(name: str, account: str) -> dict[str, Any]:
    spec = {"serviceAccountName": account, "containers": [{"name": "a", "image": "a"}], "nodeName": "n1"}
    return named(name, spec=spec)


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with api() as server:
        made = Accounts(server)
        server.ask("POST", f"{CORE}/nodes", named("n1"))
        yield made


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    parts = (json.dumps(part).encode() for part in (header, claims))
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def test_a_good_token(accounts: Accounts) -> None:
    name = accounts.account()
    user = accounts.who(accounts.token(name))
    assert user["username"] == f"system:serviceaccount:default:{name}"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]


def test_algorithms_that_the_attacker_chooses(accounts: Accounts) -> None:
    claims = claims_of(accounts.token(accounts.account()))
    public = accounts.server.served.api.signer.keys[0].public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    none = unsigned({"alg": "none", "typ": "JWT"}, claims) + b"."
    symmetric = unsigned({"alg": "HS256", "typ": "JWT"}, claims)
    mac = hmac.new(public, symmetric, hashlib.sha256).digest()
    symmetric += b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")
    stranger = jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256")
    for token in (none.decode(), symmetric.decode(), stranger):
        assert not accounts.is_known(token)


def test_a_changed_token(accounts: Accounts) -> None:
    head, claims, signature = accounts.token(accounts.account()).split(".")
    other = unsigned({}, {**claims_of(f"{head}.{claims}.{signature}"), "sub": "admin"}).decode().split(".")[1]
    for token in (
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims}",
        head,
        "..",
        "a.b.c",
    ):
        assert not accounts.is_known(token)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://somewhere.else"},
        {"aud": ["vault"]},
        {"aud": f"{ISSUER}.evil.example"},
        {"aud": []},
        {"exp": 1_600_000_000},
        {"nbf": 4_000_000_000},
        {"kubernetes.io": {}},
        {"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "default"}}},
    ],
    ids=str,
)
def test_claims_that_do_not_fit(accounts: Accounts, change: dict[str, Any]) -> None:
    claims = claims_of(accounts.token(accounts.account()))
    assert accounts.is_known(accounts.signed(claims))
    assert not accounts.is_known(accounts.signed(claims | change))


def test_a_deleted_account_s_token_is_not_its_successor_s(accounts: Accounts) -> None:
    name = accounts.account()
    token = accounts.token(name)
    accounts.server.ask("DELETE", f"{DEFAULT}/serviceaccounts/{name}")
    assert not accounts.is_known(token)
    accounts.server.ask("POST", f"{DEFAULT}/serviceaccounts", named(name))
    assert not accounts.is_known(token)
    assert accounts.is_known(accounts.token(name))


@pytest.mark.parametrize(
    ("kind", "path", "obj"),
    [
        ("Secret", f"{DEFAULT}/secrets", named("bound")),
        ("Node", f"{CORE}/nodes", named("bound")),
    ],
)
def test_a_token_ends_with_what_it_is_bound_to(
    accounts: Accounts, kind: str, path: str, obj: dict[str, Any]
) -> None:
    server, name = accounts.server, accounts.account()
    server.ask("POST", path, obj)
    token = accounts.token(name, boundObjectRef={"apiVersion": "v1", "kind": kind, "name": "bound"})
    assert accounts.is_known(token)
    server.ask("DELETE", f"{path}/bound")
    assert not accounts.is_known(token)
    server.ask("POST", path, obj)
    assert not accounts.is_known(token), "its successor is somebody else"


def test_a_pod_s_token_lives_a_minute_into_its_end(accounts: Accounts) -> None:
    server, name = accounts.server, accounts.account()
    server.ask("POST", f"{DEFAULT}/pods", pod("bound", name) | {"metadata": {
        "name": "bound", "finalizers": ["example.com/hold"],
    }})  # fmt: skip
    token = accounts.token(name, boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "bound"})
    assert accounts.who(token)["extra"]["authentication.kubernetes.io/pod-name"] == ["bound"]
    server.ask("DELETE", f"{DEFAULT}/pods/bound?gracePeriodSeconds=0")
    assert accounts.is_known(token)
    clock = server.served.api.world.clock
    now = clock.now
    try:
        clock.now = lambda: now() + 62  # type: ignore[method-assign]
        assert not accounts.is_known(token)
    finally:
        clock.now = now  # type: ignore[method-assign]


def test_no_token_for_a_pod_of_another_account(accounts: Accounts) -> None:
    server, mine, other = accounts.server, accounts.account(), accounts.account()
    server.ask("POST", f"{DEFAULT}/pods", pod("others", other))
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "others"}
    refused = server.ask(
        "POST", f"{DEFAULT}/serviceaccounts/{mine}/token", {"spec": {"boundObjectRef": bound}}
    )
    assert (refused.status, refused.message) == (
        400,
        f'cannot bind token for serviceaccount "{mine}" to pod running with different serviceaccount name.',
    )


def test_a_secret_s_token_is_good_while_the_secret_holds_it(accounts: Accounts) -> None:
    server, name = accounts.server, accounts.account()
    annotations = {"kubernetes.io/service-account.name": name}
    secret = {
        "metadata": {"name": f"{name}-token", "annotations": annotations},
        "type": "kubernetes.io/service-account-token",
    }
    path = f"{DEFAULT}/secrets"
    made = server.ask("POST", path, secret)
    assert made.status == 201, made.body
    account = server.ask("GET", f"{DEFAULT}/serviceaccounts/{name}").body
    token = server.served.api.signer.legacy(account, made.body)
    assert not accounts.is_known(token), "the secret does not hold it"
    data = {"data": {"token": base64.b64encode(token.encode()).decode()}}
    path += f"/{name}-token"
    assert server.ask("PATCH", path, data, content_type="application/merge-patch+json").status == 200
    assert accounts.who(token)["username"] == f"system:serviceaccount:default:{name}"
    server.ask("DELETE", path)
    assert not accounts.is_known(token)


@pytest.mark.parametrize("header", ["Bearer", "Basic YTpi", "Token x", "x", "", "Bearer  {token}"])
def test_no_bearer_token_is_nobody(accounts: Accounts, header: str) -> None:
    text = header.replace("{token}", accounts.token(accounts.account()))
    answer = accounts.server.ask("GET", f"{DEFAULT}/pods", user=None, authorization=text)
    assert answer.status == 403
    assert 'User "system:anonymous" cannot list' in answer.message


@pytest.mark.parametrize(
    "header", ["bearer {token}", "BEARER {token}", "  Bearer {token}  ", "Bearer {token} x"]
)
def test_ways_to_write_a_bearer_token(accounts: Accounts, header: str) -> None:
    name = accounts.account()
    text = header.replace("{token}", accounts.token(name))
    answer = accounts.server.ask("GET", f"{DEFAULT}/pods", user=None, authorization=text)
    assert f'User "system:serviceaccount:default:{name}" cannot list' in answer.message


def test_who_says_that_he_is_somebody_is_nobody(accounts: Accounts) -> None:
    answer = accounts.server.ask(
        "GET", f"{DEFAULT}/pods", user=None, x_remote_user="admin", x_remote_group="system:masters"
    )
    assert 'User "system:anonymous" cannot list' in answer.message
