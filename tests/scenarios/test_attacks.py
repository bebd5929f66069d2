"""What hostile and broken clients do to the port, and that it harms nobody else.

Bytes are written by hand: no client library would send most of this.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pilothouse.apiserver import http
from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World
from tests.conftest import TOKENS
from tests.scenarios.processes import ready_line, running

ADMIN = b"Authorization: Bearer admintoken\r\n"
MAPS = b"/api/v1/namespaces/default/configmaps"


class Answer(NamedTuple):
    status: int
    head: str
    body: bytes
    """As much of it as came."""

    @property
    def message(self) -> str:
        text: str = json.loads(self.body)["message"]
        return text


class Target:
    def __init__(self, port: int, data: Path, log: Path) -> None:
        self.port = port
        self.data = data
        self.log = log

    def connect(
        self, *, certificate: tuple[Path, Path] | None = None, buffer_bytes: int = 0
    ) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            context.load_cert_chain(*certificate)
        raw = socket.socket()
        if buffer_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", self.port))
        return context.wrap_socket(raw)

    def send(self, data: bytes, **connection: Any) -> Answer:
        with self.connect(**connection) as sock:
            with contextlib.suppress(ConnectionError):  # it may answer before it has heard everything
                sock.sendall(data)
            return _read(sock)

    def ask(
        self,
        method: bytes,
        path: bytes,
        body: bytes | None = None,
        *,
        content_type: bytes = b"application/json",
        headers: bytes = b"",
        authorization: bytes = ADMIN,
        **connection: Any,
    ) -> Answer:
        head = b"%b %b HTTP/1.1\r\nHost: x\r\n%b%b" % (method, path, authorization, headers)
        if body is not None:
            head += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(body))
        return self.send(head + b"\r\n" + (body or b""), **connection)

    def memory_mb(self) -> float:
        (pid,) = (self.data / "pid").read_text().split()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the server has ended")

    def is_well(self) -> bool:
        return self.ask(b"GET", b"/readyz").body == b"ok"


def _read(sock: ssl.SSLSocket) -> Answer:
    """One answer with a Content-Length, or all until the end."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := sock.recv(65536):
            data += chunk
            head, end, body = data.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                -1,
            )
            if end and 0 <= length <= len(body):
                break
    head, _, body = data.partition(b"\r\n\r\n")
    return Answer(int(head[9:12] or 0), head.decode("latin-1"), body)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = tmp_path_factory.mktemp("attacked")
    (home / "tokens.csv").write_text(TOKENS)
    flags = [f"--data-dir={home / 'data'}", "--secure-port=0", "--bind-address=127.0.0.1"]
    flags.append(f"--token-auth-file={home / 'tokens.csv'}")
    with running("kube-apiserver", *flags, log=home / "log") as process:
        url = ready_line(process, home / "log").split()[4]
        (home / "data" / "pid").write_text(str(process.pid))
        yield Target(int(url.rsplit(":", 1)[1]), home / "data", home / "log")
    assert "Traceback" not in (home / "log").read_text()


# -- bodies ---------------------------------------------------------------------------------------------


def _yaml_bomb() -> bytes:
    lines, before = (
        [b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: bomb}\na: &a [x, x, x, x, x, x, x, x, x]"],
        b"a",
    )
    for name in b"bcdefghijk":
        letter = bytes([name])
        lines.append(letter + b": &" + letter + b" [" + b", ".join([b"*" + before] * 9) + b"]")
        before = letter
    return b"\n".join(lines)


_DEEP = b'{"metadata":{"name":"x"},"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
_MERGED = b"a: &a {x: y}\n" + b"".join(
    b"%c: &%c {<<: [*%c, *%c]}\n" % (n + 1, n + 1, n, n) for n in range(ord("a"), ord("z"))
)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (_DEEP, b"application/json", "invalid character '[' exceeded max depth"),
        (b"[" * (3 * 1024 * 1024 - 10), b"application/json", "invalid character '[' exceeded max depth"),
        (b'{"a":' * 5000, b"application/json", "invalid character '{' exceeded max depth"),
        (_yaml_bomb(), b"application/yaml", "document contains excessive aliasing"),
        (_MERGED, b"application/yaml", "document contains excessive aliasing"),
        (b"a: &a [*a]", b"application/yaml", "anchor value contains itself"),
        (b"[" * 100_000, b"application/yaml", "exceeded maximum nesting depth"),
        (b"a: .inf", b"application/yaml", "json: unsupported value: +Inf"),
        (
            b"\x1f\x8b\x08\x00",
            b"application/json",
            "invalid character '\\x1f' looking for beginning of value",
        ),
        (b"k8s\x00" + b"\x08" * 50, b"application/vnd.kubernetes.protobuf", "proto: "),
    ],
    ids=[
        "deep",
        "open-brackets",
        "open-objects",
        "aliases",
        "merges",
        "itself",
        "deep-yaml",
        "inf",
        "zipped",
        "proto",
    ],
)
def test_bodies_that_are_bombs(target: Target, body: bytes, content_type: bytes, text: str) -> None:
    began_s = time.monotonic()
    answer = target.ask(b"POST", MAPS, body, content_type=content_type, headers=b"Content-Encoding: gzip\r\n")
    assert answer.status == 400
    assert text in answer.message
    assert time.monotonic() - began_s < 5
    applied = target.ask(
        b"PATCH", MAPS + b"/bomb?fieldManager=x", body, content_type=b"application/apply-patch+yaml"
    )
    assert applied.status == 400


def test_patches_that_grow(target: Target) -> None:
    target.ask(b"POST", MAPS, b'{"metadata":{"name":"grown"},"data":{"a":"x"}}')
    patch = [{"op": "add", "path": "/data/a", "value": "x" * 500_000}]
    patch += [{"op": "copy", "from": "/data", "path": f"/data/{n}"} for n in range(40)]
    kind = b"application/json-patch+json"
    answer = target.ask(b"PATCH", MAPS + b"/grown", json.dumps(patch).encode(), content_type=kind)
    assert answer.status == 422
    many = json.dumps([{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001).encode()
    answer = target.ask(b"PATCH", MAPS + b"/grown", many, content_type=kind)
    assert answer.message == "The allowed maximum operations in a JSON patch is 10000, got 10001"
    for _ in range(4):  # each patch nests what is there, so what is stored would go deeper and deeper
        step = b'{"metadata":{"annotations":{"a":"b"}}}'
        assert (
            target.ask(b"PATCH", MAPS + b"/grown", step, content_type=b"application/merge-patch+json").status
            == 200
        )
    revision: dict[str, Any] = {"metadata": {"name": "deep"}, "revision": 1, "data": {"a": 1}}
    path = b"/apis/apps/v1/namespaces/default/controllerrevisions"
    assert target.ask(b"POST", path, json.dumps(revision).encode()).status == 201


def test_too_large_a_body(target: Target) -> None:
    body = b'{"metadata":{"name":"x"},"data":{"a":"' + b"x" * (3 * 1024 * 1024) + b'"}}'
    answer = target.ask(b"POST", MAPS, body)
    assert (answer.status, answer.message) == (413, "Request entity too large: limit is 3145728")


def test_a_stranger_s_body_is_not_read(target: Target) -> None:
    head = (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
        % MAPS
    )
    with target.connect() as sock:
        sock.sendall(head)
        assert _read(sock).status == 403


@pytest.mark.parametrize(
    ("raw", "kept"),
    [(b'"\xff\xfe"', "\ufffd\ufffd"), (b'"\\ud800"', "\ufffd"), (b'"\\u0000"', "\0")],
    ids=["bytes", "surrogate", "nul"],
)
def test_text_that_is_none(target: Target, raw: bytes, kept: str) -> None:
    body = b'{"metadata":{"generateName":"text-"},"data":{"a":%b}}' % raw
    answer = target.ask(b"POST", MAPS, body)
    assert answer.status == 201
    assert json.loads(answer.body)["data"]["a"] == kept
    assert target.ask(b"GET", MAPS).status == 200


# -- paths and names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (MAPS + b"/..", 400, """Name parameter invalid: "..": may not be '..'"""),
        (MAPS + b"/%2e", 400, """Name parameter invalid: ".": may not be '.'"""),
        (MAPS + b"/a%25b", 400, """Name parameter invalid: "a%b": may not contain '%'"""),
        (MAPS + b"/..%2f..%2fsecrets", 404, "the server could not find the requested resource"),
        (MAPS + b"/%00", 404, 'configmaps "\\x00" not found'),
        (MAPS + b"/%ff", 404, 'configmaps "\ufffd" not found'),
        (b"/api//v1/namespaces", 404, "the server could not find the requested resource"),
        (MAPS + b"?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzIn0", 400,
         "invalid continue token: continue key is not valid: ../../secrets"),
        (MAPS + b"?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOjV9", 400,
         "invalid continue token: continue key is not valid: json: cannot unmarshal number into Go struct field "
         "continueToken.start of type string"),
        (MAPS + b"?resourceVersion=%C2%B2", 400,
         'invalid resource version: resourceVersion: Invalid value: "²": strconv.ParseUint: parsing "²": '
         "invalid syntax"),
        (MAPS + b"?resourceVersion=99999999999999999999", 400,
         'invalid resource version: resourceVersion: Invalid value: "99999999999999999999": strconv.ParseUint: '
         'parsing "99999999999999999999": value out of range'),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(target: Target, path: bytes, status: int, text: str) -> None:
    answer = target.ask(b"GET", path)
    assert (answer.status, answer.message) == (status, text)


def test_no_path_goes_round_authorization(target: Target) -> None:
    for path in (
        b"//api/v1/secrets",
        b"/./api/v1/secrets",
        b"/healthz/../api/v1/secrets",
        b"/api/v1/secrets/",
    ):
        anonymous = target.ask(b"GET", path, authorization=b"")
        assert anonymous.status in (401, 403, 404), path
        assert b"items" not in anonymous.body


# -- HTTP -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /api HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ],
    ids=["cl-te", "two-lengths", "negative", "bad-chunk", "folded", "space", "version", "http2", "bytes"],
)
def test_what_is_no_http(target: Target, data: bytes) -> None:
    answer = target.send(data.replace(b"Host: x\r\n", b"Host: x\r\n" + ADMIN))
    assert answer.status == (405 if data.startswith(b"\x00") else 400)
    assert "connection: close" in answer.head.lower()
    assert "aiohttp" not in answer.head + answer.body.decode()


def test_heads(target: Target) -> None:
    assert target.ask(b"GET", b"/api", headers=b"X: " + b"a" * 500_000 + b"\r\n").status == 200
    assert (
        target.ask(b"GET", b"/api", headers=b"".join(b"X-%d: a\r\n" % n for n in range(2000))).status == 200
    )
    long = MAPS + b"?labelSelector=a+in+(" + b",".join(b"v%d" % n for n in range(10_000)) + b")"
    assert target.ask(b"GET", long).status == 200
    one, many = b"X: " + b"a" * 1_100_000 + b"\r\n", (b"X: " + b"a" * 60_000 + b"\r\n") * 40
    for headers in (one, many):
        assert target.ask(b"GET", b"/api", headers=headers).status == 431


def test_a_request_that_never_ends_does_not_hold_the_others_up(target: Target) -> None:
    slow = [target.connect() for _ in range(50)]
    for sock in slow:
        sock.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    began_s = time.monotonic()
    assert target.is_well()
    assert time.monotonic() - began_s < 1
    for sock in slow:
        sock.close()


def test_more_connections_than_the_usual_limit_of_files(target: Target) -> None:
    (pid,) = (target.data / "pid").read_text().split()
    limits = Path(f"/proc/{pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(soft) == min(int(hard), 1 << 20)


def test_old_http(target: Target) -> None:
    answer = target.send(b"GET /api HTTP/1.0\r\n" + ADMIN + b"\r\n")
    assert answer.status == 200
    watch = b"GET %b?watch=true&timeoutSeconds=1 HTTP/1.0\r\n%b\r\n" % (MAPS, ADMIN)
    with target.connect() as sock:
        sock.sendall(watch)
        answer = _read(sock)
    assert answer.status == 200
    assert all(json.loads(line)["type"] == "ADDED" for line in answer.body.splitlines())


# -- who reads nothing ----------------------------------------------------------------------------------


def test_clients_that_read_nothing_cost_little(target: Target) -> None:
    for n in range(20):
        body = json.dumps({"metadata": {"name": f"large{n}"}, "data": {"a": "x" * 500_000}}).encode()
        assert target.ask(b"POST", MAPS, body).status == 201
    before_mb = target.memory_mb()
    deaf = [target.connect(buffer_bytes=4096) for _ in range(40)]
    for sock in deaf:
        sock.sendall(b"GET %b?watch=true HTTP/1.1\r\nHost: x\r\n%b\r\n" % (MAPS, ADMIN))
    greedy = target.connect(buffer_bytes=4096)
    greedy.settimeout(1)
    with contextlib.suppress(OSError):
        for _ in range(3000):
            greedy.sendall(b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n%b\r\n" % ADMIN)
    began_s = time.monotonic()
    for n in range(20):
        patch = b'{"data":{"n":"%d"}}' % n
        answer = target.ask(
            b"PATCH", MAPS + b"/large%d" % n, patch, content_type=b"application/merge-patch+json"
        )
        assert answer.status == 200
    assert time.monotonic() - began_s < 10
    assert target.memory_mb() - before_mb < 150
    for sock in (*deaf, greedy):
        sock.close()
    for n in range(20):
        target.ask(b"DELETE", MAPS + b"/large%d" % n)


# -- who one is -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(target: Target) -> Authority:
    return Authority(target.data / "pki", World())


@pytest.mark.parametrize(
    ("user", "groups", "status", "text"),
    [
        ("root", ("system:masters",), 200, ""),
        ("carol", ("dev",), 403, 'User "carol" cannot list'),
        ("", ("system:masters",), 401, "Unauthorized"),
    ],
)
def test_client_certificates(
    target: Target,
    authority: Authority,
    tmp_path: Path,
    user: str,
    groups: tuple[str, ...],
    status: int,
    text: str,
) -> None:
    pair = _certificate(authority, tmp_path, user, groups)
    answer = target.ask(b"GET", MAPS, authorization=b"", certificate=pair)
    assert answer.status == status
    assert text in (answer.message if status >= 400 else "")


def _certificate(
    authority: Authority, directory: Path, user: str, groups: tuple[str, ...]
) -> tuple[Path, Path]:
    if user:
        made = authority.client(f"test-{user}", user, groups)
        return made.certificate, made.key
    made = authority.client("test-template", "somebody", groups)
    template = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    organizations = x509.Name([a for a in template.subject if a.oid == x509.NameOID.ORGANIZATION_NAME])
    builder = x509.CertificateBuilder(
        template.issuer, organizations, template.public_key(), x509.random_serial_number(),
        template.not_valid_before_utc, template.not_valid_after_utc, list(template.extensions),
    )  # fmt: skip
    nameless = builder.sign(authority._key, template.signature_hash_algorithm)  # type: ignore[arg-type]
    path = directory / "nameless.crt"
    path.write_bytes(nameless.public_bytes(serialization.Encoding.PEM))
    return path, made.key


@pytest.mark.parametrize("kind", ["stranger", "server"])
def test_certificates_that_prove_nothing(
    target: Target, authority: Authority, tmp_path: Path, kind: str
) -> None:
    """Another CA of the same name; the right CA, but not for clients."""
    if kind == "stranger":
        pair = Authority(tmp_path, World()).client("root", "root", ("system:masters",))
    else:
        pair = authority.server("test-server", ["localhost"])
    try:
        answer = target.ask(b"GET", MAPS, authorization=b"", certificate=(pair.certificate, pair.key))
    except (ssl.SSLError, ConnectionError):
        return  # refused in the handshake
    assert answer.status in (0, 401)


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        (b"Impersonate-Group: system:masters\r\n", 400, "without impersonating a user name"),
        (b"Impersonate-Uid: 1\r\n", 400, "without impersonating a user name"),
        (b"Impersonate-Extra-A: b\r\n", 400, "without impersonating a user name"),
        (b"Impersonate-User: \xff\r\n", 403, 'User "\ufffd" cannot list'),
        (b"Impersonate-User: bob\r\nImpersonate-User: admin\r\n", 403, 'User "bob" cannot list'),
        (b"Impersonate-User: bob\r\nImpersonate-Group: system:masters\r\n", 200, ""),
        (b"Impersonate-User: system:anonymous\r\n", 403, 'User "system:anonymous" cannot list'),
    ],
)
def test_impersonation(target: Target, headers: bytes, status: int, text: str) -> None:
    answer = target.ask(b"GET", MAPS, headers=headers)
    assert answer.status == status
    assert text in (answer.message if status >= 400 else "")


def test_only_who_may_impersonate(target: Target) -> None:
    alice = b"Authorization: Bearer alicetoken\r\n"
    answer = target.ask(b"GET", MAPS, authorization=alice, headers=b"Impersonate-User: admin\r\n")
    assert answer.status == 403
    assert 'User "alice" cannot impersonate resource "users" in API group ""' in answer.message


def test_what_proxies_say_is_ignored(target: Target) -> None:
    headers = b"X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\nX-Forwarded-User: admin\r\n"
    assert (
        'User "system:anonymous" cannot list'
        in target.ask(b"GET", MAPS, headers=headers, authorization=b"").message
    )


@pytest.mark.parametrize(
    "authorization",
    [
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Authorization: Bearer " + b"a" * 500_000 + b"\r\n",
        b"Authorization: Bearer a.b.c\r\n",
        b"Authorization: Bearer x\r\nAuthorization: Bearer admintoken\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.!!!\r\n",
    ],
)
def test_wrong_tokens(target: Target, authorization: bytes) -> None:
    answer = target.ask(b"GET", MAPS, authorization=authorization)
    assert answer.status == 401


def test_who_asks_without_a_name_reaches_little(target: Target) -> None:
    reached = {
        path: target.ask(b"GET", path, authorization=b"").status
        for path in (
            b"/healthz", b"/livez", b"/readyz", b"/version",
            b"/", b"/api", b"/apis", b"/metrics", b"/openapi/v2", b"/openid/v1/jwks", b"/api/v1/namespaces",
        )
    }  # fmt: skip
    assert [path for path, status in reached.items() if status == 200] == [
        b"/healthz",
        b"/livez",
        b"/readyz",
        b"/version",
    ]


# -- what others can see --------------------------------------------------------------------------------


def test_old_tls_is_refused(target: Target) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{target.port}", "-tls1_1"],
        input=b"", capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert done.returncode != 0


def test_no_secret_is_in_the_log_and_no_file_is_for_others(target: Target) -> None:
    secret = b'{"metadata":{"name":"s"},"stringData":{"password":"correct horse"}}'
    assert target.ask(b"POST", b"/api/v1/namespaces/default/secrets", secret).status == 201
    target.ask(b"PUT", b"/api/v1/namespaces/default/secrets/s", secret.replace(b'"s"', b'"other"'))
    log = target.log.read_text()
    for text in ("correct horse", "admintoken", "alicetoken"):
        assert text not in log
    shared = [p for p in target.data.rglob("*") if stat.S_IMODE(p.stat().st_mode) & 0o077 and p.name != "pid"]
    assert shared == []


def test_it_is_well_after_all_this(target: Target) -> None:
    assert target.is_well()
    assert target.memory_mb() < 1000


def test_the_bounds_are_upstreams() -> None:
    assert (http.HEAD_BYTES_MAX, http.BODY_BYTES_MAX) == (1024 * 1024, 3 * 1024 * 1024)
    assert (http.HEAD_TIMEOUT_S, http.IDLE_TIMEOUT_S) == (32, 90)
