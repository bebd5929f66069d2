"""Tokens asked for and reviewed (registry/core/serviceaccount/storage, registry/authentication/tokenreview)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Api

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture(scope="module")
def account(api: Api) -> str:
    assert api("POST", ACCOUNTS, {"metadata": {"name": "robot"}}).code == 201
    return "robot"


def requested(api: Api, account: str, **spec: Any) -> Any:
    answer = api("POST", f"{ACCOUNTS}/{account}/token", {"spec": spec})
    assert answer.code == 201
    return answer.body


def reviewed(api: Api, token: str, *audiences: str) -> Any:
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    return api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body).body["status"]


def test_a_token_request_has_an_owner_and_a_uid(api: Api, account: str) -> None:
    meta = requested(api, account)["metadata"]
    assert meta["uid"]
    assert meta["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:expirationSeconds": {}}}
    assert meta["managedFields"][0]["subresource"] == "token"


def test_nobodys_token(api: Api) -> None:
    assert reviewed(api, "nope") == {"user": {}, "error": "invalid bearer token"}


def test_a_token_for_others(api: Api, account: str) -> None:
    token = requested(api, account)["status"]["token"]
    assert reviewed(api, token, "x")["error"] == (
        '[invalid bearer token, token audiences ["https://kubernetes.default.svc"] is invalid for the target '
        'audiences ["x"]]'
    )
    assert reviewed(api, token)["authenticated"] is True


def test_a_token_of_an_account_that_is_gone(api: Api) -> None:
    api("POST", ACCOUNTS, {"metadata": {"name": "brief"}})
    token = requested(api, "brief")["status"]["token"]
    api("DELETE", f"{ACCOUNTS}/brief")
    assert reviewed(api, token)["error"] == '[invalid bearer token, serviceaccounts "brief" not found]'


def test_a_token_for_another_accounts_pod(api: Api, account: str) -> None:
    spec = {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}
    pod = {"metadata": {"name": "bound"}, "spec": spec}
    assert api("POST", "/api/v1/namespaces/default/pods", pod).code == 201
    api("POST", ACCOUNTS, {"metadata": {"name": "other"}})
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "bound"}
    answer = api("POST", f"{ACCOUNTS}/other/token", {"spec": {"boundObjectRef": ref}})
    assert (answer.code, answer.message) == (
        400,
        'cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.',
    )
