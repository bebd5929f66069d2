"""Service accounts, their token secrets and the root CA (k8s.io/kubernetes/pkg/controller/serviceaccount,
pkg/controller/certificates/rootcacertpublisher)."""

from __future__ import annotations

import base64
from typing import Any

from pilothouse.api.resources import CONFIG_MAPS, NAMESPACES, RESOURCE_QUOTAS, SECRETS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj

CA = "kube-root-ca.crt"
TYPE = "kubernetes.io/service-account-token"
NAME = "kubernetes.io/service-account.name"
UID = "kubernetes.io/service-account.uid"


def token_secret(name: str, account: str, data: Obj | None = None) -> Obj:
    return {"metadata": {"name": name, "annotations": {NAME: account}}, "type": TYPE, "data": data or {}}


def test_the_default_account_comes_back(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        first = await lab.get(SERVICE_ACCOUNTS, "default")
        await lab.delete(SERVICE_ACCOUNTS, "default")
        await lab.wait(2)
        assert (await lab.get(SERVICE_ACCOUNTS, "default"))["metadata"]["uid"] != first["metadata"]["uid"]

    simulate(scenario)


def test_an_account_refused_by_a_quota_is_made_later(simulate: Any) -> None:
    """Only a namespace that is going makes trying again pointless."""

    async def scenario(lab: Any) -> None:
        hard = {"hard": {"count/serviceaccounts": "0"}}
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": hard})
        await lab.wait(5)
        await lab.delete(SERVICE_ACCOUNTS, "default")
        await lab.wait(5)
        assert not await lab.exists(SERVICE_ACCOUNTS, "default")
        await lab.delete(RESOURCE_QUOTAS, "q")
        await lab.wait(60)
        assert await lab.exists(SERVICE_ACCOUNTS, "default")

    simulate(scenario)


def test_the_root_ca_is_restored_in_all_its_parts(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        wanted = await lab.get(CONFIG_MAPS, CA)
        assert wanted["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
        described = wanted["metadata"]["annotations"]
        for spoilt in (
            {"data": {"ca.crt": "forged"}},
            {"data": {"more": "keys"}},
            {"metadata": {"annotations": {"kubernetes.io/description": None}}},
        ):
            await lab.patch(CONFIG_MAPS, CA, spoilt)
            await lab.wait(2)
            found = await lab.get(CONFIG_MAPS, CA)
            assert (found["data"], found["metadata"]["annotations"]) == (wanted["data"], described)
        await lab.patch(CONFIG_MAPS, CA, {"metadata": {"labels": {"mine": "yes"}}, "data": {"more": "keys"}})
        await lab.wait(2)
        assert (await lab.get(CONFIG_MAPS, CA))["metadata"]["labels"] == {"mine": "yes"}
        await lab.delete(CONFIG_MAPS, CA)
        await lab.wait(2)
        assert (await lab.get(CONFIG_MAPS, CA))["data"] == wanted["data"]

    simulate(scenario)


def test_every_new_namespace_has_both(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": "new"}})
        await lab.wait(2)
        await lab.client.get(SERVICE_ACCOUNTS, "default", "new")
        await lab.client.get(CONFIG_MAPS, CA, "new")

    simulate(scenario)


def test_a_token_secret_is_filled(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        account = await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}})
        await lab.create(SECRETS, token_secret("t", "robot"))
        await lab.wait(2)
        found = await lab.get(SECRETS, "t")
        assert sorted(found["data"]) == ["ca.crt", "namespace", "token"]
        assert base64.b64decode(found["data"]["namespace"]) == b"default"
        assert found["metadata"]["annotations"][UID] == account["metadata"]["uid"]

    simulate(scenario)


def test_what_is_filled_in_already_stays(simulate: Any) -> None:
    """A namespace or token that is there is not replaced; a wrong CA is."""

    async def scenario(lab: Any) -> None:
        await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}})
        mine = base64.b64encode(b"mine").decode()
        await lab.create(
            SECRETS, token_secret("t", "robot", {"namespace": mine, "token": mine, "ca.crt": mine})
        )
        await lab.wait(2)
        data = (await lab.get(SECRETS, "t"))["data"]
        assert (data["namespace"], data["token"]) == (mine, mine)
        assert base64.b64decode(data["ca.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")

    simulate(scenario)


def test_secrets_go_with_their_account_and_references_with_their_secret(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(
            SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}, "secrets": [{"name": "t"}, {"name": "u"}]}
        )
        await lab.create(SECRETS, token_secret("t", "robot"))
        await lab.create(SECRETS, token_secret("u", "robot"))
        await lab.wait(2)
        await lab.delete(SECRETS, "t")
        await lab.wait(2)
        assert (await lab.get(SERVICE_ACCOUNTS, "robot"))["secrets"] == [{"name": "u"}]
        await lab.delete(SERVICE_ACCOUNTS, "robot")
        await lab.wait(2)
        assert not await lab.exists(SECRETS, "u")

    simulate(scenario)


def test_only_the_account_that_a_secret_is_for_stops_naming_it(simulate: Any) -> None:
    """Another may mount it, and says so."""

    async def scenario(lab: Any) -> None:
        named = {"secrets": [{"name": "t"}]}
        await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}, **named})
        await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "other"}, **named})
        await lab.create(SECRETS, token_secret("t", "robot"))
        await lab.wait(2)
        await lab.delete(SECRETS, "t")
        await lab.wait(2)
        assert "secrets" not in await lab.get(SERVICE_ACCOUNTS, "robot")
        assert (await lab.get(SERVICE_ACCOUNTS, "other"))["secrets"] == named["secrets"]

    simulate(scenario)


def test_the_secret_of_an_account_that_was_replaced_goes(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}})
        stale = token_secret("t", "robot")
        stale["metadata"]["annotations"][UID] = "another"
        await lab.create(SECRETS, stale)
        await lab.wait(2)
        assert not await lab.exists(SECRETS, "t")

    simulate(scenario)
