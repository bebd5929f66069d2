"""Tokens of secrets: their uses are dated, and what nobody uses is retired (KEP-2799,
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#auto-generated-legacy-serviceaccount-token-clean-up).

The simulated cluster begins on 2026-01-01.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.pod_references import config_map_names, secret_names
from pilothouse.api.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.controllers.legacy_serviceaccount_token_cleaner import LegacyTokenCleaner, is_unused

DAY_S = 24 * 3600
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID = "kubernetes.io/legacy-token-invalid-since"
REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)


async def robot(lab: Any, name: str = "robot", *, generated: bool = True) -> str:
    """An account with a token secret NAME-token; its token. `generated`: as clusters before 1.24 made them."""
    account: Obj = {"metadata": {"name": name}}
    if generated:
        account["secrets"] = [{"name": f"{name}-token"}]
    await lab.create(SERVICE_ACCOUNTS, account)
    annotations = {"kubernetes.io/service-account.name": name}
    await lab.create(
        SECRETS,
        {
            "metadata": {"name": f"{name}-token", "annotations": annotations},
            "type": "kubernetes.io/service-account-token",
        },
    )
    await lab.wait(2)
    token: str = base64.b64decode((await lab.get(SECRETS, f"{name}-token"))["data"]["token"]).decode()
    return token


async def use(lab: Any, token: str) -> tuple[str, list[str]]:
    """Who a token's sender is ("" for nobody), and what he is told."""
    request = Request("GET", "/api", headers={"authorization": f"Bearer {token}"})
    try:
        user = await lab.cluster.api.authenticator.authenticate(request)
    except ApiError as error:
        assert error.code == 401
        return "", request.warnings
    await lab.wait(1)
    return user.name, request.warnings


async def labels(lab: Any, name: str = "robot-token") -> dict[str, str]:
    found: dict[str, str] = (await lab.get(SECRETS, name))["metadata"].get("labels") or {}
    return found


def test_a_use_is_dated_once_a_day(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        token = await robot(lab)
        assert await labels(lab) == {}
        await use(lab, token)
        assert await labels(lab) == {LAST_USED: "2026-01-01"}
        version = (await lab.get(SECRETS, "robot-token"))["metadata"]["resourceVersion"]
        await use(lab, token)
        assert (await lab.get(SECRETS, "robot-token"))["metadata"]["resourceVersion"] == version
        pass_days(lab, 1)
        await use(lab, token)
        assert await labels(lab) == {LAST_USED: "2026-01-02"}

    simulate(scenario, **FEW)


def test_whose_token_was_made_by_an_older_cluster_is_warned(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        told = (
            "Use tokens from the TokenRequest API or manually created secret-based tokens instead of "
            "auto-generated secret-based tokens."
        )
        assert await use(lab, await robot(lab)) == ("system:serviceaccount:default:robot", [told])
        own = await robot(lab, "own", generated=False)
        assert await use(lab, own) == ("system:serviceaccount:default:own", [])

    simulate(scenario)


def test_a_token_marked_invalid_is_refused_while_it_is(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        token = await robot(lab)
        await lab.patch(SECRETS, "robot-token", {"metadata": {"labels": {INVALID: "2026-01-01"}}})
        assert (await use(lab, token))[0] == ""
        why = (
            "[invalid bearer token, the token in secret default/robot-token for service account default/robot has "
            "been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or "
            f"remove the '{INVALID}' label from the secret to temporarily allow use of this token]"
        )
        review = await lab.create(REVIEWS, {"spec": {"token": token}})
        assert review["status"]["error"] == why
        await lab.wait(1)
        assert (await labels(lab))[LAST_USED] == "2026-01-01", "its use is dated all the same"
        await lab.patch(SECRETS, "robot-token", {"metadata": {"labels": {INVALID: None}}})
        assert (await use(lab, token))[0] == "system:serviceaccount:default:robot"

    simulate(scenario)


def test_such_a_token_is_for_the_api_server_alone(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        token = await robot(lab)
        review = await lab.create(REVIEWS, {"spec": {"token": token, "audiences": ["vault"]}})
        assert "authenticated" not in review["status"]

    simulate(scenario)


def test_since_when_uses_are_dated(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        async def since() -> str:
            found = await lab.client.get(CONFIG_MAPS, TRACKING, "kube-system")
            return str(found["data"]["since"])

        assert await since() == "2026-01-01"
        pass_days(lab, 2)
        await lab.client.patch(CONFIG_MAPS, TRACKING, {"data": {"since": "long ago"}}, "kube-system")
        await lab.wait(60)
        assert await since() == "2026-01-03"
        await lab.client.delete(CONFIG_MAPS, TRACKING, "kube-system")
        await lab.wait(1200)
        with pytest.raises(ApiError):
            await since()
        await lab.wait(900)
        assert await since() == "2026-01-03"

    simulate(scenario, **FEW)


FEW = {"nodes": 0, "controllers": ("serviceaccount-token-controller",)}
"""Of a cluster whose clock is put forward: nothing in it minds."""


def pass_days(lab: Any, days: float) -> None:
    lab.world.clock._epoch_s += days * DAY_S


async def sweep(lab: Any) -> None:
    """One round of the cleaner, under its own account, with a clean-up period of ten days."""
    informers = Informers(lab.client, lab.world)
    client = lab.cluster._account_client("legacy-service-account-token-cleaner")
    recorder = EventRecorder(client, "test", lab.world)
    env = Environment(client, informers, lab.world, recorder, CollectorRegistry())
    cleaner = LegacyTokenCleaner(env, clean_up_s=10 * DAY_S)
    cleaner.setup()
    informers.start()
    await informers.synced()
    assert await cleaner.reconcile("round") == DAY_S
    await informers.stop()
    await lab.wait(1)


def test_what_nobody_uses_is_marked_and_goes_later(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        token = await robot(lab)
        await robot(lab, "own", generated=False)
        await use(lab, token)
        pass_days(lab, 10.5)
        await sweep(lab)
        assert INVALID not in await labels(lab), "uses were not dated for a whole period yet"
        pass_days(lab, 1)
        await sweep(lab)
        assert (await labels(lab))[INVALID] == "2026-01-12"
        assert (await use(lab, token))[0] == ""
        pass_days(lab, 10)
        await sweep(lab)
        assert await lab.exists(SECRETS, "robot-token"), "somebody tried to use it"
        pass_days(lab, 1)
        await sweep(lab)
        assert await lab.names(SECRETS) == ["own-token"]
        await lab.wait(1)
        assert "secrets" not in await lab.get(SERVICE_ACCOUNTS, "robot")

    simulate(scenario, **FEW)


def test_what_is_used_or_mounted_stays(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        token = await robot(lab, "used")
        await robot(lab, "mounted")
        volume = {"name": "v", "secret": {"secretName": "mounted-token"}}
        spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [volume]}
        await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}})
        await lab.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
        pass_days(lab, 15)
        await use(lab, token)
        await sweep(lab)
        assert INVALID not in await labels(lab, "used-token")
        assert INVALID not in await labels(lab, "mounted-token")

    simulate(scenario, **FEW)


@pytest.mark.parametrize(
    ("labels", "unused"),
    [
        ({}, True),
        ({LAST_USED: "2026-05-31"}, True),
        ({LAST_USED: "2026-06-01"}, False),
        ({LAST_USED: "last week"}, False),
        ({LAST_USED: "2026-5-3"}, False),
    ],
)
def test_when_a_token_is_unused(labels: dict[str, str], unused: bool) -> None:
    since_s = 1_780_272_000.0  # 2026-06-01
    meta = {"creationTimestamp": "2026-05-01T00:00:00Z", "labels": labels}
    assert is_unused({"metadata": meta}, since_s) is unused
    young = {**meta, "creationTimestamp": "2026-06-01T00:00:00Z"}
    assert not is_unused({"metadata": young}, since_s)
    assert not is_unused({"metadata": {**meta, "deletionTimestamp": "2026-05-02T00:00:00Z"}}, since_s)


def test_what_a_pod_refers_to() -> None:
    """pkg/api/v1/pod VisitPodSecretNames, VisitPodConfigmapNames."""
    container = {
        "envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "m1"}}],
        "env": [
            {"name": "a", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
            {"name": "b", "valueFrom": {"configMapKeyRef": {"name": "m2", "key": "k"}}},
            {"name": "c", "value": "v"},
        ],
    }
    volumes: list[Obj] = [
        {"secret": {"secretName": "s3"}},
        {"configMap": {"name": "m3"}},
        {"projected": {"sources": [{"secret": {"name": "s4"}}, {"configMap": {"name": "m4"}}, {}]}},
        {"csi": {"nodePublishSecretRef": {"name": "s5"}}},
        {"azureFile": {"secretName": "s6"}},
        {"rbd": {"secretRef": {"name": "s7"}}},
        {"emptyDir": {}},
    ]
    for part in ("containers", "initContainers", "ephemeralContainers"):
        pod = {"spec": {part: [container], "volumes": volumes, "imagePullSecrets": [{"name": "s8"}, {}]}}
        assert secret_names(pod) == {f"s{n}" for n in range(1, 9)}
        assert config_map_names(pod) == {f"m{n}" for n in range(1, 5)}
