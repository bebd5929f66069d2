"""One seed from beginning to end: bursts of churn and faults, quiet after each, and the judges.

    ┌─ churn and faults, 25 s ─▶ quiet, 90 s ─▶ what could run runs ─┐ twice, then five minutes more:
    └────────────────────────────────────────────────────────────────┘ every pod has been tried again, and says why

Four arrangements, by the seed: one scheduler that is killed and comes again; the same at the mercy of nothing but its
line; two copies of which one leads, is paused and killed; two schedulers of different names side by side.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from pilothouse.api.types import Obj
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.client.leader_election import LeaderElector, LeadershipLost
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.api_server import Serving
from pilothouse.components.scheduler import USER, SchedulerComponent
from pilothouse.etcd.contract import Backend
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.scheduler.config import load
from pilothouse.scheduler.gangs import GATES
from tests.simulation.scheduling import shapes, verdict
from tests.simulation.scheduling.churn import Churn
from tests.simulation.scheduling.hands import Hands
from tests.simulation.scheduling.history import Change, History
from tests.simulation.scheduling.line import Line
from tests.simulation.scheduling.witness import Witness

CHURN_S, QUIET_S, ROUNDS = 25.0, 90.0, 2
FLUSH_S = 330.0
"""Five minutes, after which every pod is tried again, and its back-off."""
_HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
ARRANGEMENTS = ("killed", "alone", "led", "side by side")


@dataclass(slots=True)
class Outcome:
    seed: int
    arrangement: str
    faults: list[str]
    trace: list[str]
    digest: list[tuple[int, str, bytes]]
    counts: dict[str, int]

    def report(self) -> str:
        """What is wrong, and what happened to those that it is about."""
        words = {word.strip(",.") for fault in self.faults for word in fault.split() if "/" in word}
        names = {word.split("/")[1] for word in words if word.count("/") == 1}
        lines = [line for line in self.trace if any(name in line.replace("/", " ").split() for name in names)]
        nodes = [line for line in self.trace if " node n" in line]
        told = sorted({*lines, *nodes}, key=self.trace.index)
        again = f"again with: PILOTHOUSE_SEED={self.seed} python -m tests.simulation.scheduling"
        head = f"seed {self.seed} ({self.arrangement}):"
        return "\n".join([head, *self.faults[:20], "", *told[-200:], again])

    def fingerprint(self) -> str:
        """Of every event of the store, in order: the same for every run of a seed."""
        return hashlib.sha256(repr(self.digest).encode()).hexdigest()


@dataclass(eq=False, slots=True)
class Copy:
    """One process of a scheduler."""

    name: str
    scheduler: str
    line: Line
    task: asyncio.Task[None] | None = None
    witnesses: list[Witness] = field(default_factory=list)
    leads: Callable[[], bool] = lambda: True


class Simulation:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.arrangement = ARRANGEMENTS[seed % len(ARRANGEMENTS)]
        self.world = simulated_world(seed)
        self.trace: list[str] = []
        self.faults: list[str] = []
        self.history = History(self._now_s)
        self.copies: list[Copy] = []
        self.witnesses: list[Witness] = []
        self._lines: list[Line] = []
        self._chance = random.Random(f"chaos {seed}")
        self._made = 0

    def _now_s(self) -> float:
        return self.world.clock.monotonic()

    def _note(self, text: str) -> None:
        self.trace.append(f"{self._now_s():8.3f} {text}")

    # -- schedulers -------------------------------------------------------------------------------------

    def _start(self, scheduler: str, *, faulty: bool) -> None:
        self._made += 1
        name = f"{scheduler.split('-')[0]}-{self._made}"
        info = UserInfo(USER, "", ("system:authenticated",))
        inner = InProcessTransport(self._cluster.api.handle, info, "kube-scheduler")
        line = Line(inner, name, random.Random(f"line {self.seed} {self._made}"), self._note)
        line.faulty = faulty
        self._lines.append(line)
        copy = Copy(name, scheduler, line)
        self._note(f"{name} starts")
        work = self._take_turns(copy) if self.arrangement == "led" else self._work(copy)
        copy.task = asyncio.get_running_loop().create_task(work)
        self.copies.append(copy)

    async def _work(self, copy: Copy) -> None:
        config = load.parse(f"{_HEAD}profiles: [{{schedulerName: {copy.scheduler}}}]\n".encode())
        client = ResourceClient(copy.line)
        component = SchedulerComponent(client, self.world, CollectorRegistry(), config, features=GATES)
        name = f"{copy.name}.{len(copy.witnesses)}"
        witness = Witness(name, component, self._now_s, self._note)
        copy.line.sent = witness.request
        copy.witnesses.append(witness)
        self.witnesses.append(witness)
        await component.run()

    async def _take_turns(self, copy: Copy) -> None:
        while True:
            elector = LeaderElector(
                ResourceClient(copy.line), self.world, name="kube-scheduler", identity=copy.name
            )
            copy.leads = lambda elector=elector: elector.is_leader  # type: ignore[misc]
            try:
                await elector.run(lambda: self._work(copy))
            except LeadershipLost:
                self._note(f"{copy.name} leads no more")

    async def _kill(self, copy: Copy) -> None:
        self._note(f"{copy.name} is killed")
        copy.line.kill()
        self.copies.remove(copy)
        assert copy.task is not None
        copy.task.cancel()
        await asyncio.gather(copy.task, return_exceptions=True)

    async def _chaos(self) -> None:
        """What befalls whole processes."""
        while self.arrangement != "alone":
            await self.world.clock.sleep(2 + self._chance.expovariate(1 / 8))
            copy = self._chance.choice(self.copies)
            if self.arrangement == "led" and self._chance.random() < 0.5:
                leader = next((c for c in self.copies if c.leads()), copy)
                self._note(f"{leader.name} is paused")
                leader.line.hold()
                await self.world.clock.sleep(self._chance.choice((5, 18, 25)))
                self._note(f"{leader.name} goes on")
                leader.line.let_go()
            else:
                await self._kill(copy)
                await self.world.clock.sleep(self._chance.choice((0, 0.5, 4)))
                self._start(copy.scheduler, faulty=True)

    # -- the whole --------------------------------------------------------------------------------------

    async def _open(self, world: World) -> Backend:
        self._backend = await open_backend(world, NoLog())
        return self._backend

    async def run(self) -> Outcome:
        server = Options(runtime_config="scheduling.k8s.io/v1alpha2=true")
        serving = Serving(open_store=self._open)
        options = ClusterOptions(secure_port=None, nodes=0, server=server, serving=serving)
        self._cluster = Cluster(options, self.world)
        await self._cluster.start_server()
        following = asyncio.get_running_loop().create_task(self.history.follow(self._backend))
        self.history.listeners.append(self._seen)
        client = self._cluster.client()
        self._hands = Hands(client, self.history, self.world, random.Random(f"hands {self.seed}"))
        names = shapes.SCHEDULERS[: 2 if self.arrangement == "side by side" else 1]
        churn = Churn(
            client, self.history, self.world, random.Random(f"churn {self.seed}"), self._note, len(names)
        )
        try:
            await churn.begin()
            for name in names:
                self._start(name, faulty=False)
            if self.arrangement == "led":
                self._start(names[0], faulty=False)
            for _ in range(ROUNDS):
                await self._storm(churn)
                await self.world.clock.sleep(QUIET_S)
                self._judge("after the storm", verdict.left_behind(self.history))
            await self.world.clock.sleep(FLUSH_S)
            self._judge_all(names)
        finally:
            for copy in list(self.copies):
                await self._stop(copy)
            await self._hands.stop()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._cluster.stop()
        return Outcome(
            self.seed, self.arrangement, self.faults, self.trace, self.history.digest, self._counts()
        )

    async def _storm(self, churn: Churn) -> None:
        for copy in self.copies:
            copy.line.faulty = True
        self._hands.faulty = True
        chaos = asyncio.get_running_loop().create_task(self._chaos())
        await churn.run(CHURN_S)
        chaos.cancel()
        result = (await asyncio.gather(chaos, return_exceptions=True))[0]
        if isinstance(result, Exception):
            raise result
        self._hands.faulty = False
        wanted = [c.scheduler for c in self.copies]
        for name in shapes.SCHEDULERS[: 2 if self.arrangement == "side by side" else 1]:
            if name not in wanted:  # killed, and the storm ended before it came again
                self._start(name, faulty=False)
        for copy in self.copies:
            copy.line.faulty = False
            copy.line.let_go()
        self._note("the storm is over")

    async def _stop(self, copy: Copy) -> None:
        assert copy.task is not None
        if copy.task.done() and not copy.task.cancelled() and (error := copy.task.exception()) is not None:
            self.faults.append(f"{copy.name} crashed: {error!r}")
        copy.task.cancel()
        await asyncio.gather(copy.task, return_exceptions=True)

    def _judge(self, when: str, found: Iterator[str]) -> None:
        for fault in found:
            self._note(f"FAULT: {fault}")
            self.faults.append(f"{when} ({self._now_s():.0f} s): {fault}")

    def _judge_all(self, names: tuple[str, ...]) -> None:
        history, witnesses = self.history, self.witnesses
        self._judge("at the end", verdict.left_behind(history))
        self._judge("at the end", verdict.told(history, names, self._unknown()))
        self._judge("at the end", verdict.volumes(history))
        for copy in self.copies:
            if copy.witnesses and copy.leads():
                self._judge("at the end", verdict.caches(history, copy.witnesses[-1]))
        self._judge("in the history", verdict.decisions(history, witnesses))
        self._judge("in the history", verdict.landings(history, witnesses))
        self._judge("in the history", verdict.preemptions(history, witnesses))

    def _unknown(self) -> set[str]:
        return {path for line in self._lines for path in line.unknown}

    def _seen(self, change: Change) -> None:
        if change.kind != "pods":
            return
        pod, old = change.new, change.old
        if pod is None:
            self._note(f"pod {change.key} is gone")
            return
        node, before = pod["spec"].get("nodeName"), (old or pod)["spec"].get("nodeName")
        if old is not None and node != before:
            self._note(f"pod {change.key} is on {node}")
        for what in ("nominatedNodeName",):
            if old is not None and pod["status"].get(what) != old["status"].get(what):
                self._note(f"pod {change.key} {what}: {pod['status'].get(what)}")
        said = _scheduled(pod)
        if old is None or said != _scheduled(old):
            self._note(f"pod {change.key} says {said}")

    def _counts(self) -> dict[str, int]:
        """What there was to judge."""
        return {
            "revisions": len(self.history.digest),
            "pods": len({c.new["metadata"]["uid"] for c in self.history.of("pods") if c.new is not None}),
            "decisions": sum(len(w.binds) for w in self.witnesses),
            "preemptions": sum(len(w.preemptions) for w in self.witnesses),
            "waiting": len(verdict.waiting(self.history)),
            "incarnations": len(self.witnesses),
        }


def _scheduled(pod: Obj) -> str:
    conditions = pod["status"].get("conditions") or ()
    found = next((c for c in conditions if c["type"] == "PodScheduled"), None)
    return f"{found['status']} {found.get('reason', '')}: {found.get('message', '')}" if found else ""


def run(seed: int) -> Outcome:
    return run_virtual(Simulation(seed).run())
