"""Bootstrap tokens: who they let in, what they sign, when they go
(https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/,
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from pilothouse.api import bootstrap_tokens as tokens
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CONFIG_MAPS,
    SECRETS,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.controllers.bootstrap_signer import signs
from pilothouse.kit.world import timestamp
from tests.unit.controllers.certificate_builders import NODE, NODE_USAGES, csr, issued

TOKEN = "abcdef.0123456789abcdef"
CONTENT = "apiVersion: v1\nkind: Config\n"
ON = {
    "controllers": ("*", "bootstrap-signer-controller", "token-cleaner-controller"),
    "server": Options(bootstrap_token_auth=True),
}


def secret(name: str = "bootstrap-token-abcdef", **data: str) -> Obj:
    """A token for everything; `data` by key, - as _; None leaves one out."""
    values: dict[str, Any] = {
        "token_id": "abcdef",
        "token_secret": "0123456789abcdef",
        "usage_bootstrap_authentication": "true",
        "usage_bootstrap_signing": "true",
        **data,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "kube-system"},
        "type": tokens.TYPE,
        "data": {
            key.replace("_", "-"): base64.b64encode(value.encode()).decode()
            for key, value in values.items()
            if value is not None
        },
    }


async def make(lab: Any, made: Obj) -> None:
    await lab.client.create(SECRETS, made, "kube-system")


async def who(lab: Any, token: str) -> UserInfo | None:
    request = Request("GET", "/api", headers={"authorization": f"Bearer {token}"})
    try:
        found: UserInfo = await lab.cluster.api.authenticator.authenticate(request)
    except ApiError as error:
        assert error.code == 401
        return None
    return found


def test_who_sends_one_is_a_bootstrapper(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        groups = "system:bootstrappers:worker,system:bootstrappers:a"
        await make(lab, secret(auth_extra_groups=groups))
        user = await who(lab, TOKEN)
        assert user is not None and user.name == "system:bootstrap:abcdef"
        assert user.groups == (
            "system:bootstrappers",
            "system:bootstrappers:a",
            "system:bootstrappers:worker",
            "system:authenticated",
        )
        assert await who(lab, "abcdef.0123456789abcdeg") is None

    simulate(scenario, **ON)


@pytest.mark.parametrize(
    "changed",
    [
        secret(usage_bootstrap_authentication="false"),
        secret(token_id="abcdeg"),
        secret(token_secret="another"),
        secret(expiration="2020-01-01T00:00:00Z"),
        secret(expiration="tomorrow"),
        secret(auth_extra_groups="system:masters"),
        {**secret(), "type": "Opaque"},
        {
            **secret(),
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system", "finalizers": ["a/b"]},
        },
    ],
)
def test_who_is_not_let_in(simulate: Any, changed: Obj) -> None:
    async def scenario(lab: Any) -> None:
        await make(lab, changed)
        if "finalizers" in changed["metadata"]:
            await lab.client.delete(SECRETS, "bootstrap-token-abcdef", "kube-system")
        assert await who(lab, TOKEN) is None

    simulate(scenario, server=Options(bootstrap_token_auth=True))


def test_they_let_nobody_in_unless_it_is_turned_on(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await make(lab, secret())
        assert await who(lab, TOKEN) is None

    simulate(scenario)


def test_cluster_info_is_signed_with_each_token(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.client.create(
            CONFIG_MAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "cluster-info", "namespace": "kube-public"},
                "data": {"kubeconfig": CONTENT, "jws-kubeconfig-stale1": "x..y"},
            },
            "kube-public",
        )
        await make(lab, secret())
        await make(lab, secret("bootstrap-token-nosign", token_id="nosign", usage_bootstrap_signing=""))
        await lab.wait(2)
        data = (await lab.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
        assert sorted(data) == ["jws-kubeconfig-abcdef", "kubeconfig"]
        assert is_good(data["jws-kubeconfig-abcdef"], CONTENT, "abcdef", "0123456789abcdef")
        await lab.client.patch(CONFIG_MAPS, "cluster-info", {"data": {"kubeconfig": "new"}}, "kube-public")
        await lab.wait(2)
        data = (await lab.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
        assert is_good(data["jws-kubeconfig-abcdef"], "new", "abcdef", "0123456789abcdef")
        await lab.client.delete(SECRETS, "bootstrap-token-abcdef", "kube-system")
        await lab.wait(2)
        data = (await lab.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
        assert data == {"kubeconfig": "new"}

    simulate(scenario, **ON)


def is_good(signature: str, content: str, token_id: str, token_secret: str) -> bool:
    """As a joining machine checks it (RFC 7515)."""
    header, empty, mac = signature.split(".")
    decoded = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    assert decoded == json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode()
    payload = base64.urlsafe_b64encode(content.encode()).rstrip(b"=")
    wanted = hmac.new(token_secret.encode(), header.encode() + b"." + payload, hashlib.sha256).digest()
    return empty == "" and mac == base64.urlsafe_b64encode(wanted).rstrip(b"=").decode()


def test_the_signature_is_upstreams() -> None:
    """The vector of k8s.io/cluster-bootstrap/token/jws."""
    content = "Hello from the other side. I must have called a thousand times."
    wanted = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
    assert tokens.detached_signature(content, "joshua", "my voice is my passcode") == wanted


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        (secret(), True),
        (secret("bootstrap-token-other1"), False),
        (secret("mine"), False),
        (secret(token_secret=""), False),
        (secret(token_id=""), False),
        (secret(usage_bootstrap_signing="yes"), False),
        (secret(expiration="2020-01-01T00:00:00Z"), False),
        (secret(expiration="2030-01-01T00:00:00+02:00"), True),
    ],
)
def test_which_tokens_sign(changed: Obj, good: bool) -> None:
    assert signs(changed, now_s=1_767_225_600.0) is good


def test_a_token_goes_when_it_expires(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await make(lab, secret(expiration=timestamp(lab.world.now() + 600)))
        await make(lab, secret("bootstrap-token-broken", token_id="broken", expiration="2030-01-01"))
        await make(lab, secret("bootstrap-token-always", token_id="always"))
        await lab.wait(5)
        assert await names(lab) == ["bootstrap-token-abcdef", "bootstrap-token-always"]
        await lab.wait(590)
        assert await who(lab, TOKEN) is not None
        await lab.wait(10)
        assert await who(lab, TOKEN) is None
        assert await names(lab) == ["bootstrap-token-always"]

    simulate(scenario, **ON)


async def names(lab: Any) -> list[str]:
    found = await lab.client.list(SECRETS, "kube-system")
    return sorted(s["metadata"]["name"] for s in found["items"])


def test_both_are_off_by_default(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await make(lab, secret(expiration="2020-01-01T00:00:00Z"))
        await lab.wait(5)
        assert await names(lab) == ["bootstrap-token-abcdef"]

    simulate(scenario)


def test_a_machine_joins_with_a_token(simulate: Any) -> None:
    """As kubeadm sets it up: the token asks for a certificate, RBAC approves, the CA signs, and it is a node."""

    async def scenario(lab: Any) -> None:
        group = "system:bootstrappers:kubeadm:default-node-token"
        await make(lab, secret(auth_extra_groups=group))
        for role in (
            "system:node-bootstrapper",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        ):
            await lab.create(
                CLUSTER_ROLE_BINDINGS,
                {
                    "metadata": {"name": f"kubeadm:{role.rpartition(':')[2]}"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
                },
            )
        user = await who(lab, TOKEN)
        assert user is not None
        machine = lab.cluster.client(user.name, user.groups[:-1])
        body = csr("node-csr-x", "kube-apiserver-client-kubelet", NODE_USAGES, **NODE)
        typed = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", **body}
        await machine.create(CERTIFICATE_SIGNING_REQUESTS, typed)
        await lab.wait(5)
        found = await machine.get(CERTIFICATE_SIGNING_REQUESTS, "node-csr-x")
        assert found["spec"]["username"] == "system:bootstrap:abcdef"
        assert [c["reason"] for c in found["status"]["conditions"]] == ["AutoApproved"]
        assert issued(found).subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"

    simulate(scenario, **ON)
