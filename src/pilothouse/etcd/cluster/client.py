"""A client of etcd's v3 API over several endpoints, which outlives the members that it talks to.

One channel per endpoint. A call goes to the endpoint that answered last:

    call ─▶ connected? ──no──▶ nothing was sent: the next endpoint
                └─yes─▶ sent ──answer──▶ done
                          ├─ refused, broken ──▶ `failures.judge`: again elsewhere, or the caller's error
                          └─ no word for a while ──▶ "how are you?" (Status, answered without the others)
                                  ├─ well ──▶ wait on: the request is slow, not the member
                                  ├─ under another leader now ──▶ it went to the old one, and is lost
                                  └─ no answer (dead, paused, cut off) ──▶ as if the connection had broken

So a member that was paused costs seconds, whatever the request's own time limit is, and a big request may take
all of it. TLS, tokens and keepalive as kube-apiserver's client has them (storagebackend/factory/etcd3.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message

from pilothouse.etcd.cluster.endpoints import Endpoints, target_of
from pilothouse.etcd.cluster.failures import Failure, Verdict, judge
from pilothouse.etcd.cluster.tls import Tls
from pilothouse.etcd.contract import StoreClosed, StoreError, StoreUnavailable
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import AUTH, CLUSTER, KV, LEASE, MAINTENANCE, Method
from pilothouse.kit.backoff import jittered
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_KEEPALIVE_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 10_000
_RECONNECT_MS_MAX = 2_000
"""gRPC's own 2 minutes would leave a member that came back without a client for that long."""
_RETRY_WAIT_S = 0.05
_SLOW_AFTER_S = 0.5
_ALIVE_WITHIN_S = 1.5
"""Together about as long as the others need to elect a leader: with a paused one both begin at the same time."""
_FAILING_DIAL_S = 0.2
"""For a channel that could not connect last time: gRPC goes on trying, whether or not somebody waits."""
_TERM_KNOWN_S = 5.0
"""A term that was heard of before that may have ended long ago."""
_TOKEN_TRIES = 3


class Retry(Enum):
    """Whether a call may be repeated when nobody knows what became of it."""

    SAFE = "safe"
    NEVER = "never"


_SAFE = frozenset(
    method.path
    for method in (
        KV["Range"],
        *(LEASE[n] for n in ("LeaseTimeToLive", "LeaseLeases", "LeaseRevoke", "LeaseKeepAlive")),
        CLUSTER["MemberList"],
        *(MAINTENANCE[n] for n in ("Alarm", "Status", "Hash", "HashKV", "MoveLeader", "Snapshot")),
        *(AUTH[n] for n in ("AuthStatus", "UserGet", "UserList", "RoleGet", "RoleList", "Authenticate")),
    )
)
"""What etcd's own client repeats, but for LeaseGrant: a grant that chose its id would be told that it exists."""

_NEEDS_LEADER = frozenset(
    method.path for methods in (KV, LEASE) for name, method in methods.items() if name != "LeaseKeepAlive"
)
_REQUIRE_LEADER = ("hasleader", "true")
"""api/v3rpc/rpctypes/metadatafields.go: a member without a leader answers "no leader" at once."""

Metadata = tuple[tuple[str, str], ...]


_UNTOLD = -1


class Vital(NamedTuple):
    """What a member says of itself; `leader` is 0 while it knows none, _UNTOLD when this user may not ask."""

    term: int
    leader: int


class Credentials(NamedTuple):
    user: str
    password: str


class Stream:
    """A call that streams; `endpoint` is whom it goes to. Errors are the contract's."""

    def __init__(self, endpoint: str, call: Any) -> None:
        self.endpoint = endpoint
        self._call = call

    async def write(self, message: Message) -> None:
        try:
            await self._call.write(message)
        except asyncio.CancelledError as error:
            raise self._cancelled(error) from error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._error(error) from error

    async def read(self) -> Any:
        """The next message; None at the end."""
        try:
            message = await self._call.read()
        except asyncio.CancelledError as error:
            raise self._cancelled(error) from error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._error(error) from error
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        self._call.cancel()

    def _cancelled(self, error: asyncio.CancelledError) -> BaseException:
        """gRPC says in the same way that the caller was cancelled and that somebody ended the call."""
        if _is_being_cancelled():
            return error
        return StoreUnavailable(f"the stream to {self.endpoint} was broken off")

    async def _error(self, error: Exception) -> StoreError:
        if isinstance(error, grpc.aio.AioRpcError):
            return _verdict_of(error, repeatable=True).error
        return StoreUnavailable(f"the stream to {self.endpoint} has ended: {await self._call.details()}")


class EtcdClient:
    """Use from one event loop, and close at the end. `endpoints` are URLs: http, https, unix.

    Every method raises the contract's errors: `StoreUnavailable` when no endpoint answered in `timeout_s`,
    `OutcomeUnknown` for a write that may have been done.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: Tls | None,
        world: World,
        *,
        credentials: Credentials | None = None,
        timeout_s: float = 30.0,
        dial_timeout_s: float = 5.0,
    ) -> None:
        self.timeout_s = timeout_s
        self._world = world
        self._tls = tls
        self._dial_timeout_s = dial_timeout_s
        self._credentials = credentials
        self._token = ""
        self._endpoints = Endpoints(list(endpoints))
        self._channels: dict[tuple[str, bool], Any] = {}
        """By URL, and whether it is the one for streams."""
        self._probes: dict[str, asyncio.Task[Vital | None]] = {}
        self._term = 0
        """Raft's term, by the last answer, and when that was."""
        self._term_heard_s = 0.0
        self._closed = False
        for url in endpoints:
            target_of(url, secure=tls is not None)

    # -- endpoints --------------------------------------------------------------------------------------

    @property
    def endpoints(self) -> list[str]:
        return self._endpoints.urls

    @property
    def current(self) -> str:
        """The endpoint that the next call is tried on."""
        return self._endpoints.next(self._now())

    async def set_endpoints(self, urls: Sequence[str]) -> None:
        """The members changed; connections to those that stay are kept."""
        self._endpoints.replace(list(urls))
        gone = [key for key in self._channels if key[0] not in urls]
        await asyncio.gather(*(self._channels.pop(key).close() for key in gone))

    def leave(self, endpoint: str) -> None:
        """It is not to be asked for a while."""
        self._endpoints.failed(endpoint, self._now())

    async def vital(self, endpoint: str) -> Vital | None:
        """How the member is, None if it does not answer; asked once for all who want to know at the same time."""
        probe = self._probes.get(endpoint)
        if probe is None:
            probe = asyncio.get_running_loop().create_task(self._probe(endpoint), name=f"probe {endpoint}")
            self._probes[endpoint] = probe
            probe.add_done_callback(lambda _: self._probes.pop(endpoint, None))
        return await asyncio.shield(probe)

    async def _probe(self, endpoint: str) -> Vital | None:
        request, limit_s = pb.StatusRequest(), _ALIVE_WITHIN_S
        try:
            status = await self.call(MAINTENANCE["Status"], request, timeout_s=limit_s, endpoint=endpoint)
        except StoreUnavailable:
            return None
        except StoreError as error:
            log.debug("%s is alive, and says: %s", endpoint, error)
            return Vital(self._term, _UNTOLD)
        return Vital(status.raftTerm, status.leader)

    # -- calls ------------------------------------------------------------------------------------------

    async def call(
        self,
        method: Method,
        request: Message,
        *,
        timeout_s: float | None = None,
        endpoint: str | None = None,
        retry: Retry | None = None,
        require_leader: bool | None = None,
    ) -> Any:
        """The response message. With `endpoint` that one alone is asked, once. `retry` and `require_leader` are by
        the method if they are not given: reads are repeated, writes not."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        until_s = self._now() + limit_s
        repeatable = method.path in _SAFE if retry is None else retry is Retry.SAFE
        needs_leader = method.path in _NEEDS_LEADER if require_leader is None else require_leader
        tokens_left = _TOKEN_TRIES
        while True:
            url = endpoint or await self._next_endpoint(until_s)
            try:
                if not endpoint and self._endpoints.doubtful(url) and await self.vital(url) is None:
                    raise _not_sent(f"the etcd member at {url} does not answer")
                return await self._attempt(url, method, request, until_s, needs_leader, repeatable)
            except _CallFailed as failed:
                if self._closed:
                    raise StoreClosed from None
                verdict = judge(failed.failure, repeatable=repeatable)
            if verdict.leave and not endpoint:
                log.debug("%s is left for another: %s", url, verdict.error)
                self.leave(url)
            if verdict.new_token and self._credentials and tokens_left:
                tokens_left -= 1
                self._token = ""
                continue
            if verdict.new_token or not verdict.again or endpoint:
                raise verdict.error
            if self._now() + _RETRY_WAIT_S >= until_s:
                raise StoreUnavailable(
                    f"no etcd member of {', '.join(self.endpoints)} answered in {limit_s:g} s, the last said: "
                    f"{verdict.error}"
                ) from verdict.error
            await self._world.clock.sleep(jittered(_RETRY_WAIT_S, 0.1, self._world.random))

    async def _next_endpoint(self, until_s: float) -> str:
        """Waits for one that may be asked, but never longer than the call has."""
        now_s = self._now()
        wait_s = min(self._endpoints.wait_s(now_s), until_s - now_s - 2 * _RETRY_WAIT_S)
        if wait_s > 0:
            await self._world.clock.sleep(wait_s)
        return self._endpoints.next(self._now())

    async def _attempt(
        self,
        url: str,
        method: Method,
        request: Message,
        until_s: float,
        needs_leader: bool,
        repeatable: bool,
    ) -> Any:
        channel = await self._connected(url, until_s)
        metadata = await self._metadata(url, method, needs_leader)
        limit_s = max(until_s - self._now(), 0.001)
        try:
            call, answer = _begin(channel, method, request, limit_s, metadata)
        except grpc.aio.UsageError as error:
            raise _not_sent(_NO_MEMBER) from error
        response = await self._watched(url, call, answer, method, repeatable)
        self._endpoints.answered(url)
        self._term, self._term_heard_s = max(self._term, response.header.raft_term), self._now()
        return response

    async def _watched(
        self, url: str, call: Any, answer: asyncio.Future[Any], method: Method, repeatable: bool
    ) -> Any:
        """The answer; a member that does not answer is asked how it is."""
        term = self._term if self._now() - self._term_heard_s < _TERM_KNOWN_S else 0
        try:
            while True:
                done, _ = await asyncio.wait((answer,), timeout=_SLOW_AFTER_S)
                if done:
                    return answer.result()
                if method.path == MAINTENANCE["Status"].path:
                    continue
                vital = await self.vital(url)
                reason = _lost(url, vital, term, repeatable)
                if reason and not answer.done():
                    raise _CallFailed(Failure(grpc.StatusCode.UNAVAILABLE, reason))
                term = term or (vital.term if vital else 0)
        finally:
            if not answer.done():
                call.cancel()
                answer.cancel()
                await asyncio.wait((answer,))
            if not answer.cancelled():
                answer.exception()  # who asked may have been cancelled, and does not take it

    async def _connected(self, url: str, until_s: float, *, streams: bool = False) -> Any:
        """A channel with a connection: what goes wrong before there is one was certainly not sent."""
        channel = self._channel(url, streams)
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return channel
        failing = state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        dial_s = _FAILING_DIAL_S if failing else self._dial_timeout_s
        limit_s = max(min(dial_s, until_s - self._now()), 0.001)
        try:
            # Not asyncio.wait_for: Python 3.11's can lose a cancellation, and the watches' helpers would never end.
            async with asyncio.timeout(limit_s):
                await _ready(channel, state)
        except TimeoutError as error:
            raise _not_sent(f"no connection to etcd at {url} within {limit_s:.3g} s") from error
        return channel

    def _channel(self, url: str, streams: bool) -> Any:
        if self._closed:
            raise StoreClosed
        channel = self._channels.get((url, streams))
        if channel is None:
            channel = self._channels[url, streams] = self._open(url, streams)
        return channel

    def _open(self, url: str, streams: bool) -> Any:
        target = target_of(url, secure=self._tls is not None)
        options: list[tuple[str, Any]] = [
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", int(self._dial_timeout_s * 1000)),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS_MAX),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if streams:
            # A small window: etcd puts events together for a reader who is behind, but one by one into a wide one.
            options.append(("grpc.http2.bdp_probe", 0))
        if not target.secure:
            return grpc.aio.insecure_channel(target.name, options=options)
        tls = self._tls or Tls()
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        return grpc.aio.secure_channel(target.name, tls.credentials(), options=options)

    # -- streams ----------------------------------------------------------------------------------------

    async def stream(
        self, method: Method, *, endpoint: str | None = None, require_leader: bool = True
    ) -> Stream:
        """A call on which both sides stream, to a member that is connected. It is the caller's to notice that it
        ended, to `leave` the endpoint, and to open another."""
        until_s = self._now() + self.timeout_s
        url, channel, metadata = await self._prepare(method, endpoint, until_s, require_leader)
        try:
            return Stream(url, _kind(channel.stream_stream, method)(metadata=metadata))
        except grpc.aio.UsageError as error:
            raise StoreUnavailable(_NO_MEMBER) from error

    async def responses(
        self, method: Method, request: Message, *, endpoint: str | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Any]:
        """The messages of a call on which the server streams; `timeout_s` (None: no limit) is for all of them."""
        until_s = self._now() + (timeout_s or self.timeout_s)
        url, channel, metadata = await self._prepare(method, endpoint, until_s, False)
        try:
            stream = Stream(
                url, _kind(channel.unary_stream, method)(request, metadata=metadata, timeout=timeout_s)
            )
        except grpc.aio.UsageError as error:
            raise StoreUnavailable(_NO_MEMBER) from error
        try:
            while (message := await stream.read()) is not None:
                yield message
        finally:
            stream.cancel()

    async def _prepare(
        self, method: Method, endpoint: str | None, until_s: float, needs_leader: bool
    ) -> tuple[str, Any, Metadata]:
        while True:
            url = endpoint or await self._next_endpoint(until_s)
            try:
                channel = await self._connected(url, until_s, streams=method.request_streams)
                return url, channel, await self._metadata(url, method, needs_leader)
            except _CallFailed as failed:
                error = judge(failed.failure, repeatable=True).error
            self.leave(url)
            if endpoint or self._now() + _RETRY_WAIT_S >= until_s:
                raise error

    # -- tokens -----------------------------------------------------------------------------------------

    async def _metadata(self, url: str, method: Method, needs_leader: bool) -> Metadata:
        metadata: Metadata = (_REQUIRE_LEADER,) if needs_leader else ()
        if self._credentials is not None and method.path != AUTH["Authenticate"].path:
            if not self._token:
                self._token = await self._authenticate(url, self._credentials)
            metadata += (("token", self._token),) if self._token else ()
        return metadata

    async def _authenticate(self, url: str, credentials: Credentials) -> str:
        """A token; none is needed where authentication is not enabled."""
        request = pb.AuthenticateRequest(name=credentials.user, password=credentials.password)
        try:
            answer = await self.call(AUTH["Authenticate"], request, endpoint=url)
        except StoreUnavailable as error:
            raise _not_sent(str(error)) from error
        except StoreError as error:
            if str(error) == "etcdserver: authentication is not enabled":
                return ""
            raise
        return str(answer.token)

    def renew_token(self) -> None:
        """The next call gets a new one."""
        self._token = ""

    # -- the end ----------------------------------------------------------------------------------------

    async def close(self) -> None:
        self._closed = True
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels))

    def _now(self) -> float:
        return self._world.clock.monotonic()


class _CallFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _lost(url: str, vital: Vital | None, term: int, repeatable: bool) -> str:
    """Why no answer is to be expected; "" if there may be one. A follower hands a write to its leader once: when
    another was elected meanwhile, etcd itself would say so only after some seconds more."""
    if vital is None:
        return f"the etcd member at {url} does not answer"
    if not vital.leader:
        return f"the etcd member at {url} knows no leader" if repeatable else ""
    if term and vital.term > term:
        return "the etcd cluster elected another leader meanwhile"
    return ""


_NO_MEMBER = "the connection was closed: this is no member any more"


def _closed_under_way() -> _CallFailed:
    """The channel was closed, for its member was removed or the client is being closed."""
    return _CallFailed(Failure(grpc.StatusCode.CANCELLED, _NO_MEMBER))


def _not_sent(message: str) -> _CallFailed:
    return _CallFailed(Failure(grpc.StatusCode.UNAVAILABLE, message, sent=False))


def _kind(invocation: Any, method: Method) -> Any:
    """The method as a callable of one of gRPC's four kinds."""
    return invocation(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )


def _begin(
    channel: Any, method: Method, request: Message, limit_s: float, metadata: Metadata
) -> tuple[Any, asyncio.Future[Any]]:
    """The call and its answer to come. UsageError when the channel is closed."""
    if method.request_streams:
        call = _kind(channel.stream_stream, method)(timeout=limit_s, metadata=metadata)
        return call, asyncio.ensure_future(_first_answer(call, request))
    call = _kind(channel.unary_unary, method)(request, timeout=limit_s, metadata=metadata)
    return call, asyncio.ensure_future(_answer(call))


async def _first_answer(call: Any, request: Message) -> Any:
    """One request and its answer on a call that streams."""
    try:
        await call.write(request)
        response = await call.read()
    except asyncio.CancelledError:
        if _is_being_cancelled():
            raise
        raise _closed_under_way() from None
    except grpc.aio.AioRpcError as error:
        raise _CallFailed(_failure_of(error)) from error
    except asyncio.InvalidStateError as error:
        raise _CallFailed(Failure(await call.code(), await call.details() or str(error))) from error
    if response is grpc.aio.EOF:
        raise _CallFailed(Failure(grpc.StatusCode.UNAVAILABLE, "the stream ended without an answer"))
    call.cancel()
    return response


async def _answer(call: Any) -> Any:
    try:
        return await call
    except asyncio.CancelledError:
        if _is_being_cancelled():
            raise
        raise _closed_under_way() from None
    except grpc.aio.AioRpcError as error:
        raise _CallFailed(_failure_of(error)) from error


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failure_of(error: grpc.aio.AioRpcError) -> Failure:
    return Failure(error.code(), error.details() or error.code().name)


def _verdict_of(error: grpc.aio.AioRpcError, *, repeatable: bool) -> Verdict:
    return judge(_failure_of(error), repeatable=repeatable)


async def _ready(channel: Any, state: grpc.ChannelConnectivity) -> None:
    """Until there is a connection; _CallFailed as soon as one could not be made."""
    while state is not grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.SHUTDOWN:
            raise _not_sent(_NO_MEMBER)
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise _not_sent("failed to connect to the etcd member")
