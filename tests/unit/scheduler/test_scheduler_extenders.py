"""Extenders over HTTP, against a server of our own: what is sent, what follows from the answers
(pkg/scheduler/extender.go, schedule_one.go; test/integration/scheduler/extender/extender_test.go)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest
from aiohttp import web

from pilothouse.api.types import Obj
from pilothouse.scheduler.config.validation import timeout_s
from pilothouse.scheduler.cycle import Unschedulable
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.extenders import asking
from pilothouse.scheduler.extenders.extender import Extender, ExtenderBinder
from pilothouse.scheduler.extenders.http import HttpSender
from pilothouse.scheduler.extenders.wire import ExtenderError
from pilothouse.scheduler.framework import Nomination
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.scheduler.preemption import Candidate
from tests.unit.scheduler import builders as b

Answer = Callable[[Obj], Any]


class Site:
    """A server whose verbs answer as a test says, and that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Obj]] = []
        self.answers: dict[str, Answer] = {}
        self.url = ""
        self._opened: list[Extender] = []

    async def serve(self, request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        body = msgspec.json.decode(await request.read())
        self.asked.append((verb, body))
        answer = self.answers[verb](body)
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def extender(self, verbs: dict[str, Answer] | None = None, **fields: Any) -> Extender:
        """`verbs`: filter, prioritize, preempt, bind, each with its answer."""
        number = len(self._opened)
        config: Obj = {"urlPrefix": f"{self.url}/{number}", "weight": 1, **fields}
        for verb, answer in (verbs or {}).items():
            config[f"{verb}Verb"] = verb
            self.answers[verb] = answer
        made = Extender(config, HttpSender(config, timeout_s(config)))
        self._opened.append(made)
        return made

    async def close(self) -> None:
        for extender in self._opened:
            await extender.close()


def served(body: Callable[[Site], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def main() -> None:
        site = Site()
        app = web.Application()
        app.router.add_post("/{number}/{verb}", site.serve)
        runner = web.AppRunner(app)
        await runner.setup()
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        server = listener._server
        assert isinstance(server, asyncio.Server)
        site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            await body(site)
        finally:
            await site.close()
            await runner.cleanup()

    def test() -> None:
        asyncio.run(main())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


def _only(*names: str) -> Answer:
    """Lets these nodes through, sent whole."""

    def answer(body: Obj) -> Obj:
        items = [node for node in body["Nodes"]["items"] if node["metadata"]["name"] in names]
        return {"Nodes": {"items": items}}

    return answer


@served
async def test_a_filter_gets_the_pod_and_its_nodes_and_narrows_them(site: Site) -> None:
    first = site.extender({"filter": _only("b", "c")})
    pod, table = b.pod("web"), b.table([b.node("a"), b.node("b"), b.node("c", unschedulable=True)])
    assert await asking.decide(b.cycle(pod, table), [first]) == "b"
    verb, body = site.asked[0]
    assert verb == "filter"
    assert body["Pod"]["metadata"]["name"] == "web"
    assert body["NodeNames"] is None
    assert [node["metadata"]["name"] for node in body["Nodes"]["items"]] == ["a", "b"]


@served
async def test_extenders_are_asked_one_after_the_other_about_what_is_left(site: Site) -> None:
    extenders = [site.extender({"filter": _only("a", "b")}), site.extender({"filter": _only("a", "b")})]
    table = b.table([b.node("a"), b.node("b"), b.node("c")])
    await asking.decide(b.cycle(b.pod(), table), extenders)
    assert [len(body["Nodes"]["items"]) for _, body in site.asked] == [3, 2]


@served
async def test_an_extender_with_a_cache_is_sent_names(site: Site) -> None:
    """nodeCacheCapable; names of fields come back in any case, as Go reads them."""
    extender = site.extender({"filter": lambda body: {"nodenames": ["a"]}}, nodeCacheCapable=True)
    assert await asking.decide(b.cycle(b.pod(), b.table([b.node("a"), b.node("b")])), [extender]) == "a"
    assert site.asked[0][1]["NodeNames"] == ["a", "b"]
    assert site.asked[0][1]["Nodes"] is None


@served
async def test_reasons_are_told_and_unresolvable_nodes_are_not_preempted_on(site: Site) -> None:
    """failedAndUnresolvableNodes "takes precedence over FailedNodes" (extender/v1 types.go)."""
    answer = {
        "FailedNodes": {"a": "no licence", "b": "no licence"},
        "FailedAndUnresolvableNodes": {"b": "wrong rack"},
    }
    extender = site.extender({"filter": lambda body: answer})
    table = b.table([b.node("a"), b.node("b"), b.node("c")])
    with pytest.raises(Unschedulable) as caught:
        await asking.decide(b.cycle(b.pod(), table), [extender])
    diagnosis = caught.value.diagnosis
    assert diagnosis.text() == "0/3 nodes are available: 1 no licence, 1 wrong rack."
    assert diagnosis.rejected_by == {"Extender"}
    assert [table.name(row) for row in range(table.size) if diagnosis.resolvable[row]] == ["a"]


@served
async def test_scores_are_added_by_weight_on_our_scale(site: Site) -> None:
    """Extenders score from 0 to 10: times 10, times the weight (MaxNodeScore / MaxExtenderPriority)."""
    answer = [{"Host": "full", "Score": 10}, {"Host": "empty", "Score": 1}]
    extender = site.extender({"prioritize": lambda body: answer}, weight=5)
    table = b.table([b.node("full"), b.node("empty")], [b.pod(requests={"cpu": "3"}, on="full")])
    assert await asking.decide(b.cycle(b.pod(requests={"cpu": "1"}), table), [extender]) == "full"
    assert await extender.scores(pod_info(b.pod()), []) == {"full": 500, "empty": 50}


@served
async def test_who_is_not_interested_is_not_asked(site: Site) -> None:
    """managedResources: requests or limits of containers or init containers (IsInterested)."""
    extender = site.extender({"filter": _only()}, managedResources=[{"name": "example.com/fpga"}])
    table = b.table([b.node("a")])
    assert await asking.decide(b.cycle(b.pod(), table), [extender]) == "a"
    assert not site.asked
    limited = b.pod()
    limited["spec"]["initContainers"] = [{"name": "i", "resources": {"limits": {"example.com/fpga": "1"}}}]
    assert extender.is_interested(pod_info(limited))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (500, "failed filter with extender at URL .*/0/filter, code 500"),
        ({"Error": "out of cheese"}, "out of cheese"),
        ({"NodeNames": ["z"]}, 'claims a filtered node "z" which is not found in the input node list'),
        ("nonsense", "an extender answered with no object"),
    ],
)
def test_an_extender_that_fails_fails_the_pod_unless_it_is_ignorable(answer: Any, text: str) -> None:
    @served
    async def run(site: Site) -> None:
        table = b.table([b.node("a"), b.node("b")])
        strict = site.extender({"filter": lambda body: answer}, nodeCacheCapable=True)
        with pytest.raises(ExtenderError, match=text):
            await asking.decide(b.cycle(b.pod(), table), [strict])
        lax = site.extender({"filter": lambda body: answer}, nodeCacheCapable=True, ignorable=True)
        assert await asking.decide(b.cycle(b.pod(), table), [lax]) in ("a", "b")

    run()


@served
async def test_a_slow_extender_is_given_up(site: Site) -> None:
    """httpTimeout; a prioritize that fails is left out."""
    table = b.table([b.node("a"), b.node("b")])
    slow = site.extender({"filter": lambda body: asyncio.sleep(5, {})}, httpTimeout="50ms")
    with pytest.raises(ExtenderError, match="context deadline exceeded"):
        await asking.decide(b.cycle(b.pod(), table), [slow])
    scoring = site.extender({"prioritize": lambda body: 503})
    assert await asking.decide(b.cycle(b.pod(), table), [scoring]) in ("a", "b")
    config = {"urlPrefix": "http://127.0.0.1:9", "filterVerb": "f"}
    nobody = Extender(config, HttpSender(config, 1))
    with pytest.raises(ExtenderError, match=r'Post "http://127\.0\.0\.1:9/f"'):
        await asking.decide(b.cycle(b.pod(), table), [nobody])
    await nobody.close()


@served
async def test_a_node_that_goes_while_an_extender_thinks_is_not_chosen(site: Site) -> None:
    table = b.table([b.node("a"), b.node("b")])

    def answer(body: Obj) -> Obj:
        table.remove_node("a")
        return {"Nodes": body["Nodes"]}

    extender = site.extender({"filter": answer})
    assert await asking.decide(b.cycle(b.pod(), table), [extender]) == "b"


@served
async def test_an_extender_binds_what_it_is_interested_in(site: Site) -> None:
    extender = site.extender({"bind": lambda body: {"Error": ""}})
    info = pod_info(b.pod("web"))
    cycle = b.cycle(info, b.table([b.node("a")]))
    assert await ExtenderBinder(extender).bind(cycle, "a")
    assert site.asked == [
        ("bind", {"PodName": "web", "PodNamespace": "default", "PodUID": info.uid, "Node": "a"})
    ]
    failing = site.extender({"bind": lambda body: {"Error": "taken"}})
    with pytest.raises(ExtenderError, match="taken"):
        await ExtenderBinder(failing).bind(cycle, "a")
    picky = site.extender({"bind": lambda body: {}}, managedResources=[{"name": "example.com/fpga"}])
    assert not await ExtenderBinder(picky).bind(cycle, "a")


# -- preemption -----------------------------------------------------------------------------------------------


class _Preemption(DefaultPreemption):
    """Without a server: every pod of a lower priority may go."""

    def __init__(self) -> None:
        pass

    def find(self, cycle: Any, diagnosis: Diagnosis) -> tuple[list[Candidate], Nomination]:
        rows = [row for row in range(cycle.table.size) if cycle.table.valid[row]]
        return [Candidate(row, tuple(cycle.table.pods_on(row)), 0) for row in rows], Nomination("")


async def _preempting(site: Site, answer: Answer, **fields: Any) -> tuple[Nomination, str]:
    table = b.table([b.node("a"), b.node("b")], [b.pod("x", on="a"), b.pod("y", on="b")])
    cycle = b.cycle(b.pod(priority=5), table, using=b.profile(_Preemption()))
    cycle.state["DynamicResources"] = True  # as if every PreFilter had run
    diagnosis = Diagnosis(2, table.valid.copy())
    extender = site.extender({"preempt": answer}, **fields)
    nomination = await asking.post_filter(cycle, diagnosis, [extender])
    return nomination, diagnosis.post_filter_message


@served
async def test_an_extender_cuts_the_candidates_of_preemption(site: Site) -> None:
    def keep_b(body: Obj) -> Obj:
        victims = body["NodeNameToVictims"]
        uid = victims["b"]["Pods"][0]["metadata"]["uid"]
        return {"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": uid}], "NumPDBViolations": 0}}}

    nomination, _ = await _preempting(site, keep_b)
    assert nomination.node == "b"
    assert nomination.victims == 1


@served
async def test_what_an_extender_says_of_preemption_is_checked(site: Site) -> None:
    """callExtenders: no candidate left, no victim on a node, a pod that is not there."""
    nomination, message = await _preempting(site, lambda body: {"NodeNameToMetaVictims": {}})
    assert nomination.node != "a"
    assert "preemption: no candidate node for preemption" in message
    _, message = await _preempting(site, lambda body: {"NodeNameToMetaVictims": {"a": {"Pods": []}}})
    assert 'preemption: expected at least one victim pod on node "a"' in message
    elsewhere = {"NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "nobody"}]}}}
    _, message = await _preempting(site, lambda body: elsewhere, nodeCacheCapable=True)
    assert "claims to preempt pod (UID: nobody) on node: a, but the pod is not found on that node" in message
    assert site.asked[-1][1]["NodeNameToVictims"] is None
    assert set(site.asked[-1][1]["NodeNameToMetaVictims"]) == {"a", "b"}
    nomination, _ = await _preempting(site, lambda body: 500, ignorable=True)
    assert nomination.node in ("a", "b")


def test_tls_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(
        ValueError, match="specifying a root certificates file with the insecure flag is not allowed"
    ):
        HttpSender({"urlPrefix": "https://x", "tlsConfig": {"insecure": True, "caData": "YQ=="}}, 1)
    with pytest.raises(ValueError, match="open /nowhere: No such file or directory"):
        HttpSender({"urlPrefix": "https://x", "tlsConfig": {"caFile": "/nowhere"}}, 1)
