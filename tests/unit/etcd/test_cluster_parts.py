"""The decisions of the etcd client: whom to ask, what may be repeated, how far a watch is."""

from __future__ import annotations

import grpc
import pytest

from pilothouse.etcd.cluster.endpoints import Endpoints, target_of
from pilothouse.etcd.cluster.failures import Failure, judge
from pilothouse.etcd.cluster.tally import Tally
from pilothouse.etcd.cluster.versions import sends_progress_in_order
from pilothouse.etcd.cluster.watcher import ClusterWatch
from pilothouse.etcd.contract import (
    Event,
    EventType,
    FutureRevision,
    InvalidRequest,
    KeyValue,
    NoSpace,
    OutcomeUnknown,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    prefix_end,
)

_Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("url", "secure", "target"),
    [
        ("http://127.0.0.1:2379", False, ("127.0.0.1:2379", False)),
        ("https://etcd.example:2379", False, ("etcd.example:2379", True)),
        ("https://[::1]:2379", False, ("[::1]:2379", True)),
        ("127.0.0.1:2379", False, ("127.0.0.1:2379", False)),
        ("127.0.0.1:2379", True, ("127.0.0.1:2379", True)),
        ("unix:///run/etcd.sock", False, ("unix:/run/etcd.sock", False)),
        ("unix://etcd.sock:0", False, ("unix:etcd.sock:0", False)),
    ],
)
def test_urls_of_servers(url: str, secure: bool, target: tuple[str, bool]) -> None:
    assert target_of(url, secure=secure) == target


@pytest.mark.parametrize("url", ["http://127.0.0.1", "ftp://a:1", "http://:2379", "https://a:port", ""])
def test_what_is_no_url_says_how_to_write_one(url: str) -> None:
    with pytest.raises(StoreError, match="http://HOST:PORT"):
        target_of(url)


def test_a_good_endpoint_is_kept() -> None:
    endpoints = Endpoints(["a", "b", "c"])
    assert [endpoints.next(0), endpoints.next(1)] == ["a", "a"]
    endpoints.failed("a", 2)
    assert endpoints.next(2) == "b"
    endpoints.answered("a")
    assert endpoints.next(3) == "b", "no reason to move again"


def test_failed_endpoints_wait_longer_each_time_and_a_second_at_most() -> None:
    endpoints = Endpoints(["a", "b"])
    now = 0.0
    waits = []
    for _ in range(6):
        endpoints.failed("a", now)
        endpoints.failed("b", now)
        endpoints.failed("b", now)
        waits.append(endpoints.wait_s(now))
        now += endpoints.wait_s(now)
        assert endpoints.wait_s(now) == 0
    assert waits == [0.25, 0.5, 1, 1, 1, 1]
    assert endpoints.doubtful("a")
    endpoints.answered("a")
    assert not endpoints.doubtful("a")


def test_when_all_wait_the_one_that_waits_least_is_asked() -> None:
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("a", 0.1)
    endpoints.failed("b", 0.0)
    assert endpoints.next(0.1) == "b"


def test_members_come_and_go() -> None:
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("b", 0)
    endpoints.replace(["b", "c"])
    assert endpoints.urls == ["b", "c"]
    assert endpoints.next(0) == "c", "what is known of b is kept"
    with pytest.raises(StoreError, match="at least one"):
        endpoints.replace([])


@pytest.mark.parametrize(
    ("code", "message", "reads", "writes"),
    [
        # never sent, or refused unseen: both may be repeated
        (_Code.UNAVAILABLE, "failed to connect to all addresses", "again", "again"),
        (_Code.UNAVAILABLE, "etcdserver: no leader", "again", "again"),
        (_Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", "again", "again"),
        # on its way: reads are repeated, writes are uncertain
        (_Code.UNAVAILABLE, "Socket closed", "again", OutcomeUnknown),
        (_Code.UNAVAILABLE, "etcdserver: leader changed", "again", OutcomeUnknown),
        (_Code.UNAVAILABLE, "etcdserver: request timed out", "again", OutcomeUnknown),
        (_Code.UNAVAILABLE, "etcdserver: server stopped", "again", OutcomeUnknown),
        (_Code.DEADLINE_EXCEEDED, "Deadline Exceeded", "again", OutcomeUnknown),
        (_Code.UNKNOWN, "raft proposal dropped", "again", OutcomeUnknown),
        (_Code.UNKNOWN, "context deadline exceeded", "again", OutcomeUnknown),
        # an answer is an answer
        (_Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", FutureRevision, ...),
        (_Code.INVALID_ARGUMENT, "etcdserver: key is not provided", InvalidRequest, ...),
        (_Code.INVALID_ARGUMENT, "etcdserver: request is too large", InvalidRequest, InvalidRequest),
        (_Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", NoSpace, NoSpace),
        (_Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", StoreUnavailable, StoreUnavailable),
    ],
)
def test_what_a_failure_means(code: grpc.StatusCode, message: str, reads: object, writes: object) -> None:
    """client/v3/retry.go: isSafeRetryImmutableRPC, isSafeRetryMutableRPC."""
    for repeatable, expected in ((True, reads), (False, reads if writes is ... else writes)):
        verdict = judge(Failure(code, message), repeatable=repeatable)
        assert verdict.again is (expected == "again")
        if expected != "again":
            assert type(verdict.error) is expected
            assert message in str(verdict.error)


def test_what_was_not_sent_may_always_be_repeated() -> None:
    verdict = judge(Failure(_Code.DEADLINE_EXCEEDED, "no connection", sent=False), repeatable=False)
    assert verdict.again
    assert verdict.leave


@pytest.mark.parametrize(
    ("version", "trusted"),
    [
        ("3.4.23", False),
        ("3.4.30", False),
        ("3.4.31", True),
        ("3.5.0", False),
        ("3.5.12", False),
        ("3.5.13", True),
        ("3.6.0", True),
        ("3.6.0-alpha.0", True),
        ("4.0.0", True),
        ("3.3.27", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_which_servers_send_progress_in_order(version: str, trusted: bool) -> None:
    assert sends_progress_in_order(version) is trusted


# -- one watch ------------------------------------------------------------------------------------------------


class _Hub:
    """What a watch tells its hub."""

    def __init__(self) -> None:
        self.drained: list[ClusterWatch] = []
        self.closed: list[ClusterWatch] = []
        self.asked: list[ClusterWatch] = []


def _watch(prefix: bytes, first: int, hub: _Hub | None = None, *, prev: bool = False) -> ClusterWatch:
    hub = hub or _Hub()
    return ClusterWatch(
        prefix,
        prefix_end(prefix),
        first,
        first - 1,
        prev=prev,
        progress_wanted=hub.asked.append,
        drained=hub.drained.append,
        closed=hub.closed.append,
    )


def _put(key: bytes, revision: int) -> Event:
    return Event(EventType.PUT, KeyValue(key, b"v", revision, revision, 1))


def _revisions(events: list[Event]) -> list[int]:
    return [event.kv.mod_revision for event in events]


async def test_a_watch_drops_what_it_was_given_before() -> None:
    watch = _watch(b"a", 5)
    watch.receive([_put(b"a1", 4), _put(b"a1", 5), _put(b"a2", 5), _put(b"a1", 7)])
    watch.receive([_put(b"a1", 7), _put(b"a1", 8)])
    assert watch.progress_revision == 4, "what waits is not delivered"
    assert _revisions(await watch.next()) == [5, 5, 7, 8]
    assert watch.progress_revision == 8
    assert watch.next_revision == 9


async def test_a_notice_comes_after_what_waits() -> None:
    hub = _Hub()
    watch = _watch(b"a", 5, hub)
    watch.request_progress()
    assert hub.asked == [watch]
    watch.receive([_put(b"a", 6)])
    watch.advance(9)
    watch.answer_progress()
    assert _revisions(await watch.next()) == [6]
    assert await watch.next() == []
    assert watch.progress_revision == 9


async def test_nobody_who_did_not_ask_is_told() -> None:
    watch = _watch(b"a", 5)
    watch.advance(9)
    watch.answer_progress()
    watch.fail(StoreUnavailable("x"))
    with pytest.raises(StoreUnavailable):
        await watch.next()


async def test_a_slow_consumer_fills_his_watch_and_is_taken_up_again_when_he_caught_up() -> None:
    hub = _Hub()
    watch = _watch(b"a", 1, hub)
    watch.receive([_put(b"a", n) for n in range(1, 10_001)])
    assert not watch.full
    watch.receive([_put(b"a", 10_001)])
    assert watch.full
    assert hub.drained == []
    assert len(await watch.next()) == 10_001
    assert hub.drained == [watch]
    assert watch.next_revision == 10_002


async def test_big_values_fill_a_watch_too() -> None:
    hub = _Hub()
    watch = _watch(b"a", 1, hub)
    big = bytes(1 << 20)
    for n in range(1, 66):
        watch.receive([Event(EventType.PUT, KeyValue(b"a", big, n, n, 1))])
    assert watch.full
    await watch.next()
    assert not watch.full
    assert hub.drained == [watch]


async def test_the_end_comes_after_what_was_received() -> None:
    hub = _Hub()
    watch = _watch(b"a", 1, hub)
    watch.receive([_put(b"a", 1)])
    watch.fail(StoreUnavailable("lost"))
    watch.receive([_put(b"a", 2)])
    assert _revisions(await watch.next()) == [1]
    with pytest.raises(StoreUnavailable, match="lost"):
        await watch.next()
    watch.close()
    assert hub.closed == [watch]
    with pytest.raises(StoreUnavailable, match="lost"):
        await watch.next()


async def test_a_closed_watch_says_so() -> None:
    watch = _watch(b"a", 1)
    watch.close()
    with pytest.raises(StoreClosed):
        await watch.next()


# -- the tally ------------------------------------------------------------------------------------------------


def test_a_watch_is_as_far_as_the_tally_if_it_has_all_that_was_seen() -> None:
    tally = Tally(11, prev=False)
    pods, nodes = _watch(b"/pods/", 11), _watch(b"/nodes/", 11)
    own = {pods, nodes}
    for watch in own:
        watch.expected = 0
    tally.see([_put(b"/pods/a", 11), _put(b"/leases/x", 12)], own)
    assert not tally.settle(pods), "the event of 11 is still on its way"
    assert pods.progress == 10
    assert tally.settle(nodes)
    assert nodes.progress == 12
    pods.receive([_put(b"/pods/a", 11)])
    assert tally.settle(pods)
    assert pods.progress == 12


async def test_a_watch_that_has_everything_is_served_by_the_tally() -> None:
    tally = Tally(11, prev=True)
    pods = _watch(b"/pods/", 11)
    assert tally.admit(pods)
    before = KeyValue(b"/pods/a", b"old", 1, 1, 1)
    tally.see([_put(b"/pods/a", 11)._replace(prev=before), _put(b"/nodes/a", 12)], {pods})
    tally.settle_all({pods})
    assert await pods.next() == [_put(b"/pods/a", 11)], "without the state before, for which it did not ask"
    assert pods.progress_revision == 12


def test_a_watch_from_before_the_tally_waits_for_its_own_events() -> None:
    tally = Tally(11, prev=False)
    old = _watch(b"/pods/", 5)
    assert not tally.admit(old)
    tally.see([_put(b"/nodes/a", 11)], {old})
    tally.settle_all({old})
    assert old.progress == 4, "who knows what happened between 5 and 10"
    old.receive([_put(b"/pods/a", 10)])
    assert tally.settle(old)
    assert old.progress == 11


def test_a_new_watch_learns_what_the_tally_saw_before() -> None:
    tally = Tally(11, prev=False)
    tally.see([_put(b"/pods/a", 11), _put(b"/nodes/a", 12)], ())
    late = _watch(b"/pods/", 11)
    assert not tally.admit(late)
    assert late.progress == 10
    late.receive([_put(b"/pods/a", 11)])
    assert tally.settle(late)
    assert late.progress == 12


def test_a_watch_that_wants_the_state_before_is_not_served_by_a_tally_without_it() -> None:
    tally = Tally(11, prev=False)
    watch = _watch(b"/pods/", 11, prev=True)
    assert not tally.admit(watch)
    tally.see([_put(b"/nodes/a", 11)], {watch})
    assert not tally.settle(watch)
    assert watch.progress == 11, "but it is told how far it is"
    assert watch not in tally.served


def test_what_was_forgotten_is_not_vouched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.etcd.cluster.tally._REMEMBERED", 3)
    tally = Tally(1, prev=False)
    for revision in range(1, 7):
        tally.see([_put(b"/pods/%d" % revision, revision)], ())
    assert tally.first == 4
    assert not tally.reaches(_watch(b"/pods/", 3))
    assert tally.reaches(_watch(b"/pods/", 4))
