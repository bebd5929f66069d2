"""One port for gRPC and HTTP, with TLS and without."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
import pytest

from pilothouse.etcd.contract import Maintenance, Put, StoreError
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.etcd.server.core import Call
from pilothouse.etcd.server.lazy import LazyService, serve_lazily
from pilothouse.etcd.server.options import ServerOptions, TlsFiles
from pilothouse.etcd.server.server import parse_url
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused
from pilothouse.kit.world import World

from .certificates import Ca
from .serving import Client, served

_ANY = "http://127.0.0.1:0"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:2379", "http://127.0.0.1", "ftp://a:1", "http://a:1/path", "http://a:99999"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=url.replace("/", ".")):
        parse_url(url)


async def _get(url: str, tls: ssl.SSLContext | None = None) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=tls or False) as response:
        return response.status, await response.text()


async def test_grpc_and_http_on_one_port() -> None:
    options = ServerOptions(listen_client_urls=(_ANY, _ANY), listen_metrics_urls=())
    async with served(options) as (_, _, server):
        for url in server.urls[:2]:
            async with grpc.aio.insecure_channel(url.removeprefix("http://")) as channel:
                await Client(channel).put(b"a", b"x" * 1_000_000)
                got = await Client(channel).call("Range", pb.RangeRequest(key=b"a"))
                assert got.kvs[0].value == b"x" * 1_000_000
            assert await _get(f"{url}/health") == (200, '{"health":"true","reason":""}')
            assert await _get(f"{url}/readyz") == (200, "ok\n")
            verbose = (await _get(f"{url}/livez?verbose"))[1]
            assert verbose == "[+]serializable_read ok\nok\n"
            version = json.loads((await _get(f"{url}/version"))[1])
            assert version["etcdserver"] == "3.6.0"
        metrics = (await _get(f"{url}/metrics"))[1]
        for line in (
            "etcd_server_has_leader 1.0",
            "etcd_debugging_mvcc_keys_total 1.0",
            "etcd_debugging_mvcc_current_revision 3.0",
            "etcd_server_quota_backend_bytes 2.147483648e+09",
            "etcd_mvcc_put_total 2.0",
            'grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",'
            'grpc_type="unary"} 2.0',
            'etcd_server_version{server_version="3.6.0"} 1.0',
        ):
            assert line in metrics.splitlines()
        assert "etcd_mvcc_db_total_size_in_bytes " in metrics


async def test_health_and_metrics_on_a_port_of_their_own(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with served(ServerOptions(listen_metrics_urls=(url,))):
        assert (await _get(f"{url}/health"))[0] == 200
        assert (await _get(f"{url}/metrics"))[0] == 200
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v3/kv/range", json={}) as response,
        ):
            assert response.status == 404


async def test_a_store_that_refuses_writes_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(ServerOptions(listen_client_urls=(_ANY,))) as (_, backend, server):
        backend._fault = "the disk is full"
        assert await _get(f"{server.urls[0]}/health") == (
            503,
            '{"health":"false","reason":"the disk is full"}',
        )
        assert await _get(f"{server.urls[0]}/readyz") == (
            503,
            "[+]data_corruption ok\n[-]linearizable_read failed: the disk is full\n[+]serializable_read ok\n",
        )


class _Named:
    """A guard that lets one name in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tokens: list[str] = []

    async def check(self, call: Call, request: object) -> None:
        self.tokens.append(call.metadata.get("token", ""))
        if call.common_name != self.name:
            raise Refused("etcdserver: permission denied")


async def test_tls_tells_the_guard_who_calls(tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    certificate, key = ca.issue("server")
    options = ServerOptions(
        listen_client_urls=("https://127.0.0.1:0",), tls=TlsFiles(certificate, key, ca.file)
    )
    async with served(options) as (plain, _, server):
        guard = server.service.core.guard = _Named("alice")
        address = server.urls[0].removeprefix("https://")
        for name, allowed in (("alice", True), ("bob", False)):
            mine, my_key = ca.issue(name)
            credentials = grpc.ssl_channel_credentials(
                ca.file.read_bytes(), my_key.read_bytes(), mine.read_bytes()
            )
            async with grpc.aio.secure_channel(address, credentials) as channel:
                client = Client(channel)
                if allowed:
                    await client.put(b"a")
                else:
                    refused = await client.refusal("Put", pb.PutRequest(key=b"a"))
                    assert refused == ("PERMISSION_DENIED", "etcdserver: permission denied")
                answer = await client.watch().create(b"a")
                assert answer.canceled is not allowed
                reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
                assert answer.cancel_reason == ("" if allowed else reason)
            tls = ssl.create_default_context(cafile=str(ca.file))
            tls.load_cert_chain(mine, my_key)
            assert (await _get(f"{server.urls[0]}/health", tls))[0] == 200
        assert set(guard.tokens) == {""}
        refused = await plain.refusal("Put", pb.PutRequest(key=b"a"))
        assert refused[0] == "PERMISSION_DENIED"


async def test_a_client_without_a_certificate_stays_outside(tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    certificate, key = ca.issue("server")
    options = ServerOptions(
        listen_client_urls=("https://127.0.0.1:0",), tls=TlsFiles(certificate, key, ca.file)
    )
    async with served(options) as (_, _, server):
        credentials = grpc.ssl_channel_credentials(ca.file.read_bytes())
        async with grpc.aio.secure_channel(server.urls[0].removeprefix("https://"), credentials) as channel:
            assert (await Client(channel).refusal("Put", pb.PutRequest(key=b"a")))[0] == "UNAVAILABLE"
        tls = ssl.create_default_context(cafile=str(ca.file))
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await _get(f"{server.urls[0]}/health", tls)


async def test_https_needs_a_certificate() -> None:
    with pytest.raises(ValueError, match="needs --cert-file and --key-file"):
        async with served(ServerOptions(listen_client_urls=("https://127.0.0.1:0",))):
            pass


async def test_an_address_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {url}: .*; choose other URLs"):
            async with served(ServerOptions(listen_client_urls=(url,))):
                pass


async def _answer_to(address: str, *pieces: bytes) -> bytes:
    """What comes back, up to a blank line, for bytes that come one piece after the other."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            for _ in range(20):  # so that it goes out, and is read, alone
                await asyncio.sleep(0)
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    finally:
        writer.close()


async def test_a_request_letter_by_letter() -> None:
    """ "P" begins PUT, POST and HTTP/2's preface."""
    body = b"POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    async with served(ServerOptions(listen_client_urls=(_ANY,))) as (_, _, server):
        answer = await _answer_to(server.urls[0], *(body[i : i + 1] for i in range(len(body))))
        assert answer.startswith(b"HTTP/1.1 400")
        assert (await _answer_to(server.urls[0], b"\x16\x03\x01\x02")).startswith(b"HTTP/1.0 400")


async def test_who_does_not_say_what_he_wants_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.etcd.server.port._FIRST_BYTES_S", 0.05)
    monkeypatch.setattr("pilothouse.etcd.server.http2.connection._PREFACE_S", 0.05)
    async with served(ServerOptions(listen_client_urls=(_ANY,))) as (_, _, server):
        for piece in (b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", b"PRI", b"PRI * HTTP/2.0\r\n"):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await _answer_to(server.urls[0], piece)


# -- the JSON gateway -----------------------------------------------------------------------------------------


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _post(url: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


async def test_the_json_gateway() -> None:
    """The examples of https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/."""
    async with served(ServerOptions(listen_client_urls=(_ANY,))) as (_, _, server):
        url = f"{server.urls[0]}/v3"
        status, answer = await _post(f"{url}/kv/put", {"key": _b64(b"foo"), "value": _b64(b"bar")})
        assert (status, answer["header"]["revision"]) == (200, "2")
        _, answer = await _post(f"{url}/kv/range", {"key": _b64(b"foo")})
        assert answer["count"] == "1"
        assert answer["kvs"] == [
            {
                "key": _b64(b"foo"),
                "create_revision": "2",
                "mod_revision": "2",
                "version": "1",
                "value": _b64(b"bar"),
            }
        ]
        txn = {
            "compare": [{"target": "CREATE", "key": _b64(b"foo"), "createRevision": "2"}],
            "success": [{"requestPut": {"key": _b64(b"foo"), "value": _b64(b"bar")}}],
        }
        _, answer = await _post(f"{url}/kv/txn", txn)
        assert answer["succeeded"] is True
        assert answer["responses"] == [{"response_put": {"header": {"revision": "3"}}}]
        assert await _post(f"{url}/kv/put", {}) == (
            400,
            {
                "error": "etcdserver: key is not provided",
                "code": 3,
                "message": "etcdserver: key is not provided",
            },
        )
        assert (await _post(f"{url}/kv/put", {"key": "%"}))[0] == 400
        assert (await _post(f"{url}/kv/put", [1]))[0] == 400
        assert (await _post(f"{url}/lease/revoke", {"ID": 5}))[0] == 404


async def test_a_watch_through_the_gateway() -> None:
    async with served(ServerOptions(listen_client_urls=(_ANY,))) as (_, backend, server):
        body = {"create_request": {"key": _b64(b"foo")}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{server.urls[0]}/v3/watch", json=body) as response,
        ):
            created = json.loads(await response.content.readline())
            assert created["result"]["created"] is True
            await backend.put(Put(b"foo", b"bar"))
            (event,) = json.loads(await response.content.readline())["result"]["events"]
            assert event["kv"]["value"] == _b64(b"bar")
        async with asyncio.timeout(5):
            while backend._watches:
                await backend.put(Put(b"x", b""))


# -- a socket that loads the service when it is asked ----------------------------------------------------------


async def test_a_lazy_service_starts_with_its_first_connection(tmp_path: Path) -> None:
    path = tmp_path / "etcd.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # what a kill -9 leaves
    backend = await open_backend(World(), NoLog())
    service = serve_lazily(path, backend, cast(Maintenance, backend), World(), ServerOptions())
    await service.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert service._service is None
    second = LazyService(path, lambda: asyncio.sleep(0))  # type: ignore[arg-type,return-value]
    with pytest.raises(OSError, match="another process serves it"):
        await second.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await asyncio.gather(*(Client(channel).put(b"%d" % n) for n in range(5)))
    assert backend.revision == 6
    await service.stop()
    assert not path.exists()
    await backend.close()


def test_a_control_plane_that_nobody_asks_loads_nothing_for_it() -> None:
    code = (
        "import sys, pilothouse.components.api_server, pilothouse.etcd.server.lazy; "
        "print([m for m in ('grpc', 'google.protobuf') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


async def test_a_service_that_cannot_start_ends_the_connection_and_is_tried_again(tmp_path: Path) -> None:
    tries = []

    async def make() -> Any:
        tries.append(1)
        raise StoreError("no")

    service = LazyService(tmp_path / "etcd.sock", make)
    await service.start()
    for _i in range(2):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "etcd.sock")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert len(tries) == 2
    await service.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b"null",
        b"[]",
        b'"x"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"key":{}}',
        b"\xff",
        b'{"limit":1e400}',
    ],
)
async def test_bodies_that_are_no_messages(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        served(ServerOptions(listen_client_urls=(_ANY,))) as (_, _, server),
        aiohttp.ClientSession() as s,
    ):
        for path in ("kv/range", "kv/txn", "watch", "maintenance/snapshot"):
            async with s.post(f"{server.urls[0]}/v3/{path}", data=body) as response:
                if (path, body) == ("watch", b'{"key":{}}') or (path, b"limit" in body) == ("watch", True):
                    continue  # fields that a watch does not have
                if response.status == 200:
                    assert path in ("kv/txn", "maintenance/snapshot")
                    continue
                assert (response.status, (await response.json())["code"]) == (400, 3)
    assert not caplog.records


async def test_many_messages_in_a_body_take_no_more_time_than_their_bytes() -> None:
    async with (
        served(ServerOptions(listen_client_urls=(_ANY,))) as (_, _, server),
        aiohttp.ClientSession() as s,
    ):
        body = b"{}" * 300_000 + b"!"
        async with s.post(f"{server.urls[0]}/v3/lease/keepalive", data=body) as response:
            assert response.status == 400


async def test_a_transaction_in_a_transaction_ten_thousand_times_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = b""
    for _ in range(10_000):
        op = b"\x22" + _varint(len(message)) + message
        message = b"\x12" + _varint(len(op)) + op
    options = ServerOptions(listen_client_urls=(_ANY,))
    async with served(options) as (client, _, server), aiohttp.ClientSession() as session:
        txn = client._channel.unary_unary("/etcdserverpb.KV/Txn")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await txn(message, timeout=10)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        body = '{"success":[{"request_txn":' * 10_000 + "{}" + "}]}" * 10_000
        async with session.post(f"{server.urls[0]}/v3/kv/txn", data=body) as response:
            assert response.status == 400
        await client.put(b"a")
    assert not caplog.records


def _varint(n: int) -> bytes:
    out = bytearray()
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])
