"""Authentication enabled: who may do what, in etcd's words (server/etcdserver/apply/apply_auth.go, v3_server.go)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire import methods
from pilothouse.etcd.wire.methods import AUTH, CLUSTER, KV, LEASE, LOCK, MAINTENANCE, WATCH, Method
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from tests.unit.etcd.server.etcd_api import Api, Caller, open_api

DENIED = "etcdserver: permission denied"
NOBODY = "etcdserver: user name is empty"
BAD_TOKEN = "etcdserver: invalid auth token"


async def _fill(api: Api) -> None:
    """root; alice, who reads r/ and writes w/ ; bob, who has nothing."""
    for name in ("root", "alice", "bob"):
        await api(AUTH["UserAdd"], pb.AuthUserAddRequest(name=name, password=f"{name}-pw"))
    await api(AUTH["UserGrantRole"], pb.AuthUserGrantRoleRequest(user="root", role="root"))
    await api(AUTH["RoleAdd"], pb.AuthRoleAddRequest(name="mixed"))
    for access, key in ((pb.Permission.READ, b"r/"), (pb.Permission.WRITE, b"w/")):
        permission = pb.Permission(permType=access, key=key, range_end=key[:-1] + b"0")
        await api(
            AUTH["RoleGrantPermission"], pb.AuthRoleGrantPermissionRequest(name="mixed", perm=permission)
        )
    await api(AUTH["UserGrantRole"], pb.AuthUserGrantRoleRequest(user="alice", role="mixed"))
    await api(KV["Put"], pb.PutRequest(key=b"r/1", value=b"readable"))
    await api(KV["Put"], pb.PutRequest(key=b"secret", value=b"secret"))


@pytest.fixture
async def api() -> Api:
    api = await open_api()
    await _fill(api)
    await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
    return api


async def _refusal(api: Api, method: Method, request: Any) -> str:
    """Why it was refused, "" if it was not."""
    try:
        await api.core.guard.check(Caller(method.path, 0, api.metadata, api.common_name), request)
    except StoreError as error:
        return str(error)
    return ""


def _op(request: Message) -> pb.RequestOp:
    fields = {
        pb.RangeRequest: "request_range",
        pb.PutRequest: "request_put",
        pb.DeleteRangeRequest: "request_delete_range",
        pb.TxnRequest: "request_txn",
    }
    return pb.RequestOp(**{fields[type(request)]: request})


def _txn(*ops: Message, otherwise: tuple[Message, ...] = (), compare: bytes = b"r/1") -> pb.TxnRequest:
    return pb.TxnRequest(
        compare=[pb.Compare(key=compare)],
        success=[_op(op) for op in ops],
        failure=[_op(op) for op in otherwise],
    )


_READ, _WRITE = pb.RangeRequest(key=b"r/1"), pb.PutRequest(key=b"w/1")
_FORBIDDEN = pb.RangeRequest(key=b"secret")


@pytest.mark.parametrize(
    ("method", "request_", "refusal"),
    [
        (KV["Range"], _READ, ""),
        (KV["Range"], pb.RangeRequest(key=b"r/", range_end=b"r0"), ""),
        (KV["Range"], pb.RangeRequest(key=b"r/", range_end=b"s"), DENIED),
        (KV["Range"], pb.RangeRequest(key=b"r/", range_end=b"\0"), DENIED),
        (KV["Range"], pb.RangeRequest(key=b"w/1"), DENIED),
        (KV["Put"], _WRITE, ""),
        (KV["Put"], pb.PutRequest(key=b"r/1"), DENIED),
        (KV["Put"], pb.PutRequest(key=b"w/1", prev_kv=True), DENIED),
        (KV["DeleteRange"], pb.DeleteRangeRequest(key=b"w/", range_end=b"w0"), ""),
        (KV["DeleteRange"], pb.DeleteRangeRequest(key=b"w/1", prev_kv=True), DENIED),
        (KV["Txn"], _txn(_READ, _WRITE), ""),
        (KV["Txn"], _txn(_WRITE, compare=b"w/1"), DENIED),
        (KV["Txn"], _txn(_READ, otherwise=(_FORBIDDEN,)), DENIED),
        (KV["Txn"], _txn(_txn(_WRITE)), ""),
        (KV["Txn"], _txn(_txn(_txn(_FORBIDDEN))), DENIED),
        (KV["Txn"], _txn(pb.PutRequest(key=b"w/1", prev_kv=True)), DENIED),
        (KV["Txn"], _txn(pb.DeleteRangeRequest(key=b"w/1", prev_kv=True)), DENIED),
        (KV["Compact"], pb.CompactionRequest(revision=2), DENIED),
        (WATCH["Watch"], pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"r/1")), ""),
        (WATCH["Watch"], pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"w/1")), DENIED),
        (WATCH["Watch"], pb.WatchRequest(create_request=pb.WatchCreateRequest()), DENIED),
        (WATCH["Watch"], pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=1)), ""),
        (LEASE["LeaseGrant"], pb.LeaseGrantRequest(TTL=10), ""),
        (CLUSTER["MemberList"], pb.MemberListRequest(), ""),
        (CLUSTER["MemberAdd"], pb.MemberAddRequest(), DENIED),
        (MAINTENANCE["Status"], pb.StatusRequest(), DENIED),
        (MAINTENANCE["Alarm"], pb.AlarmRequest(), DENIED),
        (MAINTENANCE["Snapshot"], pb.SnapshotRequest(), DENIED),
        (MAINTENANCE["Defragment"], pb.DefragmentRequest(), DENIED),
        (MAINTENANCE["HashKV"], pb.HashKVRequest(), DENIED),
        (AUTH["UserGet"], pb.AuthUserGetRequest(name="alice"), ""),
        (AUTH["UserGet"], pb.AuthUserGetRequest(name="bob"), DENIED),
        (AUTH["RoleGet"], pb.AuthRoleGetRequest(role="mixed"), ""),
        (AUTH["RoleGet"], pb.AuthRoleGetRequest(role="root"), DENIED),
        (AUTH["UserAdd"], pb.AuthUserAddRequest(name="eve"), DENIED),
        (AUTH["UserChangePassword"], pb.AuthUserChangePasswordRequest(name="alice"), DENIED),
        (AUTH["AuthDisable"], pb.AuthDisableRequest(), DENIED),
        (LOCK["Lock"], pb.LockRequest(name=b"w/lock"), DENIED),
        (LOCK["Unlock"], pb.UnlockRequest(key=b"w/lock/1"), ""),
    ],
)
async def test_what_alice_may_do(api: Api, method: Method, request_: Any, refusal: str) -> None:
    await api.login("alice", "alice-pw")
    assert await _refusal(api, method, request_) == refusal


async def test_every_method_asks_who_calls_but_the_one_that_says_it(api: Api) -> None:
    tables = (methods.KV, WATCH, LEASE, CLUSTER, MAINTENANCE, AUTH, LOCK, methods.ELECTION)
    for method in [method for table in tables for method in table.values()]:
        request = method.request()
        if isinstance(request, pb.WatchRequest):
            request.create_request.key = b"a"
        if isinstance(request, pb.TxnRequest):
            request = _txn(_READ)
        expected = "" if method == AUTH["Authenticate"] else NOBODY
        assert await _refusal(api, method, request) == expected, method.path


async def test_root_may_do_everything(api: Api) -> None:
    await api.login("root", "root-pw")
    tables = (methods.KV, WATCH, LEASE, CLUSTER, MAINTENANCE, AUTH, LOCK, methods.ELECTION)
    for method in [method for table in tables for method in table.values()]:
        assert await _refusal(api, method, method.request()) == "", method.path


async def test_a_lease_belongs_to_who_may_write_all_that_it_holds(api: Api) -> None:
    await api.login("root", "root-pw")
    await api(LEASE["LeaseGrant"], pb.LeaseGrantRequest(ID=5, TTL=100))
    await api(KV["Put"], pb.PutRequest(key=b"w/1", lease=5))
    await api.login("alice", "alice-pw")
    revoke, again = pb.LeaseRevokeRequest(ID=5), pb.PutRequest(key=b"w/2", lease=5)
    assert await _refusal(api, LEASE["LeaseRevoke"], revoke) == ""
    assert await _refusal(api, KV["Put"], again) == ""
    time_to_live = pb.LeaseTimeToLiveRequest(ID=5, keys=True)
    assert await _refusal(api, LEASE["LeaseTimeToLive"], time_to_live) == DENIED
    assert await _refusal(api, LEASE["LeaseTimeToLive"], pb.LeaseTimeToLiveRequest(ID=5)) == ""
    assert await _refusal(api, LEASE["LeaseLeases"], pb.LeaseLeasesRequest()) == DENIED
    await api.login("root", "root-pw")
    await api(KV["Put"], pb.PutRequest(key=b"secret", lease=5))
    await api.login("alice", "alice-pw")
    assert await _refusal(api, LEASE["LeaseRevoke"], revoke) == DENIED
    assert await _refusal(api, LEASE["LeaseKeepAlive"], pb.LeaseKeepAliveRequest(ID=5)) == DENIED
    assert await _refusal(api, KV["Put"], again) == DENIED
    assert await _refusal(api, KV["Txn"], _txn(again)) == DENIED


async def test_a_token_ends_with_the_password_it_was_given_for(api: Api) -> None:
    await api.login("alice", "alice-pw")
    alice = api.metadata
    await api.login("root", "root-pw")
    change = pb.AuthUserChangePasswordRequest(name="alice", password="other")
    await api(AUTH["UserChangePassword"], change)
    api.metadata = alice
    assert await _refusal(api, KV["Range"], _READ) == BAD_TOKEN
    with pytest.raises(StoreError, match="authentication failed, invalid user ID or password"):
        await api.login("alice", "alice-pw")
    await api.login("alice", "other")
    assert await _refusal(api, KV["Range"], _READ) == ""


async def test_a_change_of_rights_counts_at_once(api: Api) -> None:
    await api.login("alice", "alice-pw")
    alice = api.metadata
    await api.login("root", "root-pw")
    await api(AUTH["UserRevokeRole"], pb.AuthUserRevokeRoleRequest(name="alice", role="mixed"))
    root, api.metadata = api.metadata, alice
    assert await _refusal(api, KV["Range"], _READ) == DENIED
    api.metadata = root
    await api(AUTH["UserDelete"], pb.AuthUserDeleteRequest(name="alice"))
    api.metadata = alice
    assert await _refusal(api, KV["Range"], _READ) == BAD_TOKEN


async def test_the_gateways_header_is_a_token_too(api: Api) -> None:
    await api.login("alice", "alice-pw")
    api.metadata = {"authorization": api.metadata["token"]}
    assert await _refusal(api, KV["Range"], _READ) == ""
    api.metadata = {"token": "forged.1"}
    assert await _refusal(api, KV["Range"], _READ) == BAD_TOKEN


def test_a_token_that_is_not_used_ends() -> None:
    async def main() -> None:
        world = simulated_world(1)
        api = await open_api(world, options=ServerOptions(auth_token_ttl_s=60))
        await _fill(api)
        await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
        await api.login("alice", "alice-pw")
        await world.clock.sleep(59)
        assert await _refusal(api, KV["Range"], _READ) == ""
        await world.clock.sleep(61)
        assert await _refusal(api, KV["Range"], _READ) == BAD_TOKEN

    run_virtual(main())


async def test_a_certificate_is_a_user_where_it_counts() -> None:
    api = await open_api(options=ServerOptions(certificates_name_users=True))
    await _fill(api)
    await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
    api.common_name = "alice"
    assert await _refusal(api, KV["Range"], _READ) == ""
    assert await _refusal(api, KV["Range"], _FORBIDDEN) == DENIED
    api.common_name = "stranger"
    assert await _refusal(api, KV["Range"], _READ) == DENIED
    assert await _refusal(api, MAINTENANCE["Status"], pb.StatusRequest()) == "etcdserver: user name not found"
    api.common_name = "alice"
    api.metadata = {"grpcgateway-accept": "*/*"}
    assert await _refusal(api, KV["Range"], _READ) == NOBODY
    await api.login("bob", "bob-pw")
    assert await _refusal(api, KV["Range"], _READ) == DENIED


async def test_a_certificate_is_nobody_where_it_does_not(api: Api) -> None:
    api.common_name = "root"
    assert await _refusal(api, KV["Range"], _READ) == NOBODY


async def test_a_jwt_is_too_old_after_any_change(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"a secret that is common to all servers")
    option = f"jwt,sign-method=HS256,priv-key={secret}"
    api = await open_api(options=ServerOptions(auth_token=option))
    await _fill(api)
    await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
    await api.login("alice", "alice-pw")
    alice = api.metadata
    assert await _refusal(api, KV["Range"], _READ) == ""
    await api.login("root", "root-pw")
    await api(AUTH["RoleAdd"], pb.AuthRoleAddRequest(name="another"))
    api.metadata = alice
    assert await _refusal(api, KV["Range"], _READ) == "etcdserver: revision of auth store is old"


async def test_users_are_there_after_a_restart_and_tokens_are_not(tmp_path: Path) -> None:
    store = await open_backend(World(), SqliteLog(tmp_path))
    api = await open_api(backend=store)
    await _fill(api)
    await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
    await api.login("alice", "alice-pw")
    alice = api.metadata
    await store.close()
    store = await open_backend(World(), SqliteLog(tmp_path))
    api = await open_api(backend=store)
    assert await _refusal(api, KV["Range"], _READ) == NOBODY
    api.metadata = alice
    assert await _refusal(api, KV["Range"], _READ) == BAD_TOKEN
    await api.login("alice", "alice-pw")
    assert await _refusal(api, KV["Range"], _READ) == ""
    await store.close()


async def test_disabled_again_everybody_may_do_everything(api: Api) -> None:
    await api.login("root", "root-pw")
    await api(AUTH["AuthDisable"], pb.AuthDisableRequest())
    api.anonymous()
    assert await _refusal(api, KV["Range"], _FORBIDDEN) == ""
    with pytest.raises(StoreError, match="etcdserver: authentication is not enabled"):
        await api.login("root", "root-pw")
    status = await api(AUTH["AuthStatus"], pb.AuthStatusRequest())
    assert (status.enabled, status.authRevision) == (False, 10)


async def test_changes_at_the_same_time_are_all_kept(api: Api) -> None:
    await api.login("root", "root-pw")
    names = [f"user-{i}" for i in range(10)]
    await asyncio.gather(
        *(api(AUTH["UserAdd"], pb.AuthUserAddRequest(name=name, password="x")) for name in names)
    )
    users = (await api(AUTH["UserList"], pb.AuthUserListRequest())).users
    assert set(names) <= set(users)


async def test_no_secret_is_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api = await open_api()
    await _fill(api)
    await api(AUTH["AuthEnable"], pb.AuthEnableRequest())
    await api.login("alice", "alice-pw")
    with pytest.raises(StoreError):
        await api.login("alice", "wrong-pw")
    assert "'alice'" in caplog.text
    for secret in ("alice-pw", "wrong-pw", api.metadata["token"]):
        assert secret not in caplog.text
