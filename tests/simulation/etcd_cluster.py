"""A control plane on three real etcd members, whose members are killed, paused, cut off and wiped under load.

    python -m tests.simulation.etcd_cluster --rounds 200 --seed 7 [--json FILE] [--only KIND[,KIND]]

A round: one fault, chosen by the seed ─▶ it ends ─▶ all members serve again ─▶ writers rest ─▶ the verdict on what
clients were told and watchers saw, the members' hashes, what etcd and both API servers list, and /readyz.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.client.resource_client import ResourceClient
from pilothouse.components.api_server import MASTERS, ServedApi, Serving
from pilothouse.etcd.cluster import binary, members
from pilothouse.etcd.cluster.layout import Home
from pilothouse.etcd.cluster.managed import ManagedCluster
from pilothouse.etcd.contract import Range, StoreError, prefix_end
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, MAINTENANCE
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.world import World
from tests.simulation.load import NAMESPACE, Load
from tests.simulation.relay import Relays
from tests.simulation.verdict import faults_of, fold, settle

log = logging.getLogger(__name__)

_PREFIX = f"/registry/configmaps/{NAMESPACE}/".encode()
_RECOVERY_S = 60.0
_SETTLE_S = 30.0


class Wrong(AssertionError):
    """What must hold does not."""


@dataclass
class Round:
    number: int
    kind: str
    victim: str
    gap_s: float = 0.0
    """The longest time without a successful write, of any client, from the fault to the recovery."""
    recovered_s: float = 0.0
    """From the fault's end until all members serve."""
    writes: int = 0
    lag_s: float = 0.0
    """How late the loop itself was at worst: what the machine adds to every figure."""


@dataclass
class Report:
    rounds: list[Round] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    events: int = 0
    relists: int = 0

    def figures(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"name": "rounds", "value": len(self.rounds), "unit": ""}]
        for kind in sorted({r.kind for r in self.rounds}):
            gaps = sorted(r.gap_s for r in self.rounds if r.kind == kind)
            found += [
                {"name": f"{kind}/rounds", "value": len(gaps), "unit": ""},
                {"name": f"{kind}/gap_p50", "value": round(statistics.median(gaps), 3), "unit": "s"},
                {"name": f"{kind}/gap_max", "value": round(gaps[-1], 3), "unit": "s"},
            ]
        gaps = sorted(r.gap_s for r in self.rounds)
        found += [
            {"name": "all/gap_p50", "value": round(statistics.median(gaps), 3), "unit": "s"},
            {"name": "all/gap_max", "value": round(gaps[-1], 3), "unit": "s"},
            {"name": "all/lag_max", "value": round(max(r.lag_s for r in self.rounds), 3), "unit": "s"},
            {"name": "writes", "value": sum(r.writes for r in self.rounds), "unit": ""},
            {"name": "events", "value": self.events, "unit": ""},
            {"name": "relists", "value": self.relists, "unit": ""},
        ]
        return found


class Simulation:
    def __init__(self, directory: Path, seed: int, etcd: str = "") -> None:
        self.random = Random(seed)
        self.world = World(random=Random(seed + 1))
        self.relays = Relays(self._pids)
        self.cluster = ManagedCluster(
            Home(directory), self.world, binary.find(etcd), log.info, durable=False, peer_url=self.relays.url
        )
        self.servers: dict[str, ServedApi] = {}
        self.clients: dict[str, ResourceClient] = {}
        self.report = Report()
        self._before: dict[str, str] = {}
        self._lag_s = 0.0
        self._lag_task: asyncio.Task[None] | None = None

    async def _measure_lag(self) -> None:
        while True:
            due_s = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self._lag_s = max(self._lag_s, time.monotonic() - due_s)

    def _pids(self) -> dict[str, int]:
        return {name: p.pid for name, p in self.cluster.processes.items() if p.pid is not None}

    async def start(self) -> None:
        await self.cluster.start(3)
        for name in ("a", "b"):
            serving = Serving(listen=False, open_store=self.cluster.open_backend)
            server = ServedApi(serving, World(), new_registry())
            await server.start()
            self.servers[name] = server
            user = UserInfo("kubernetes-admin", "", (MASTERS, "system:authenticated"))
            self.clients[name] = ResourceClient(InProcessTransport(server.api.handle, user, "simulation"))
        self.load = Load(self.clients, self.random)
        self.load.start()
        self._lag_task = asyncio.ensure_future(self._measure_lag())
        await asyncio.sleep(1.0)

    async def stop(self) -> None:
        if self.clients:
            await self.load.stop()
        if self._lag_task is not None:
            self._lag_task.cancel()
        for server in self.servers.values():
            await server.stop()
        await self.cluster.stop()
        await self.relays.close()

    # -- who is who -------------------------------------------------------------------------------------

    async def _leader(self) -> str:
        states = await members.survey(self.cluster.client)
        return next(state.name for state in states if state.is_leader)

    async def _follower(self) -> str:
        states = await members.survey(self.cluster.client)
        return self.random.choice([state.name for state in states if not state.is_leader])

    def _others(self, name: str) -> list[str]:
        return [other for other in self.cluster.processes if other != name]

    # -- faults: each returns its victim when it is over ------------------------------------------------

    async def _kill(self, name: str) -> str:
        self.cluster.processes[name].signal(signal.SIGKILL)
        await asyncio.sleep(3.0)
        return name

    async def _pause(self, name: str) -> str:
        process = self.cluster.processes[name]
        process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self.random.uniform(2.0, 5.0))
        finally:
            process.signal(signal.SIGCONT)
        return name

    async def _cut_off(self, name: str) -> str:
        for other in self._others(name):
            self.relays.cut(name, other)
        try:
            await asyncio.sleep(self.random.uniform(2.5, 5.0))
        finally:
            self.relays.heal()
        return name

    async def _cut_link(self, leader: str) -> str:
        other = self.random.choice(self._others(leader))
        self.relays.cut(leader, other)
        try:
            await asyncio.sleep(self.random.uniform(2.5, 5.0))
        finally:
            self.relays.heal()
        return f"{leader}-{other}"

    async def _wipe(self, name: str) -> str:
        """Its disk is lost: the member is removed and another one added."""
        process = self.cluster.processes[name]
        process.signal(signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, process.directory / "data", True)
        await self._until(
            lambda: _async(process.is_wiped and process.pid is None), "the wiped member is down"
        )
        await self._until(self._has_leader, "the cluster has a leader again")
        await self.cluster.remove(name)
        await self.cluster.add()
        return name

    async def _has_leader(self) -> bool:
        return any(state.is_leader for state in await members.survey(self.cluster.client))

    def kinds(self) -> dict[str, Callable[[], Awaitable[str]]]:
        async def leader(fault: Callable[[str], Awaitable[str]]) -> str:
            return await fault(await self._leader())

        async def follower(fault: Callable[[str], Awaitable[str]]) -> str:
            return await fault(await self._follower())

        return {
            "leader killed": lambda: leader(self._kill),
            "leader paused": lambda: leader(self._pause),
            "leader cut off": lambda: leader(self._cut_off),
            "leader half cut off": lambda: leader(self._cut_link),
            "follower killed": lambda: follower(self._kill),
            "follower paused": lambda: follower(self._pause),
            "follower cut off": lambda: follower(self._cut_off),
            "follower wiped": lambda: follower(self._wipe),
            "leader wiped": lambda: leader(self._wipe),
        }

    # -- a round ----------------------------------------------------------------------------------------

    async def round(self, number: int, kind: str) -> Round:
        began_s, self._lag_s = time.monotonic(), 0.0
        victim = await self.kinds()[kind]()
        over_s = time.monotonic()
        await self._until(self._all_serve, "all members serve")
        result = Round(number, kind, victim, recovered_s=time.monotonic() - over_s)
        await asyncio.sleep(0.3)
        result.gap_s = self._longest_gap(began_s, time.monotonic())
        result.lag_s = self._lag_s
        result.writes = len(self.load.ledger.acknowledged)
        async with self.load.quiet():
            await self._check()
        self.report.rounds.append(result)
        self.report.answers = self.load.ledger.answers
        return result

    def _longest_gap(self, since_s: float, until_s: float) -> float:
        times = [t for t in self.load.ledger.successes_s if since_s - 1.0 <= t <= until_s]
        before = max((t for t in times if t <= since_s), default=since_s)
        points = [before, *(t for t in times if t > since_s), until_s]
        self.load.ledger.successes_s = [t for t in times if t > until_s - 5.0]
        longest_s, at_s = max((b - a, a) for a, b in itertools.pairwise(points))
        log.info("the gap of %.2f s began %.2f s after the fault", longest_s, at_s - since_s)
        return longest_s

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        until_s = time.monotonic() + _RECOVERY_S
        while True:
            try:
                if await holds():
                    return
            except StoreError as error:
                log.debug("not yet %s: %s", what, error)
            if time.monotonic() > until_s:
                raise Wrong(f"{what}: not within {_RECOVERY_S:g} s ({self._reached()})")
            await asyncio.sleep(0.1)

    async def _all_serve(self) -> bool:
        checks = [members.check_health(self.cluster.client, url, 2.0) for url in self.cluster.endpoints]
        return not any(await asyncio.gather(*checks))

    async def _check(self) -> None:
        crash = self.load.crashed()
        if crash:
            raise Wrong(f"a client crashed: {crash}")
        stored = await self._stored()
        newest = max((revision for _, revision in stored.values()), default=0)
        await self._until(lambda: _async(self._all_saw(newest)), f"all watchers see revision {newest}")
        lists = {"etcd": {name: token for name, (token, _) in stored.items()}}
        for name, client in self.clients.items():
            lists[f"server {name}"] = await self._listed(client)
        histories = {watcher.name: list(watcher.history) for watcher in self.load.watchers}
        wrong = faults_of(self.load.ledger, histories, lists, self._before)
        wrong += [f"{w.name} had to list anew: {w.relists}" for w in self.load.watchers if w.relists]
        wrong += await self._members_differ()
        if wrong:
            raise Wrong(f"{len(wrong)} faults, the first: " + "; ".join(wrong[:6]))
        for name, client in self.clients.items():
            await self._until(lambda c=client: _ready(c), f"server {name} is ready")  # type: ignore[misc]
        first = histories[self.load.watchers[0].name]
        self._before = fold(first, self._before)
        self.report.events += len(first)
        settle(self.load.ledger, first)
        for watcher in self.load.watchers:
            del watcher.history[: len(histories[watcher.name])]

    def _reached(self) -> str:
        return ", ".join(f"watcher {w.name} is at {w.newest}" for w in self.load.watchers)

    def _all_saw(self, revision: int) -> bool:
        return all(watcher.newest >= revision for watcher in self.load.watchers)

    async def _stored(self) -> dict[str, tuple[str, int]]:
        """What etcd has: name → token and revision."""
        request = convert.range_message(Range(_PREFIX, prefix_end(_PREFIX)))
        found = convert.range_result_of(await self.cluster.client.call(KV["Range"], request))
        return {
            kv.key[len(_PREFIX) :].decode(): (json.loads(kv.value)["data"].get("token", ""), kv.mod_revision)
            for kv in found.kvs
            if "token" in json.loads(kv.value).get("data", {})
        }

    async def _listed(self, client: ResourceClient) -> dict[str, str]:
        answer = await client.list(CONFIG_MAPS, NAMESPACE)
        return {
            obj["metadata"]["name"]: obj["data"]["token"]
            for obj in answer["items"]
            if "token" in obj.get("data", {})
        }

    async def _members_differ(self) -> list[str]:
        """All members have the same history, by etcd's own hash of it."""
        client = self.cluster.client
        request = convert.range_message(Range(b"health"))
        revision = (await client.call(KV["Range"], request)).header.revision
        hashes = {}
        for url in self.cluster.endpoints:
            # A linearizable read first: the member has applied all there is.
            await client.call(KV["Range"], request, endpoint=url)
            answer = await client.call(
                MAINTENANCE["HashKV"], pb.HashKVRequest(revision=revision), endpoint=url
            )
            hashes[url] = (answer.hash, answer.compact_revision)
        if len({compacted for _, compacted in hashes.values()}) > 1:
            return []  # compacting is not at the same time everywhere
        return [f"members differ at revision {revision}: {hashes}"] if len(set(hashes.values())) > 1 else []


async def _async(value: bool) -> bool:
    return value


async def _ready(client: ResourceClient) -> bool:
    try:
        answer = await client.raw("GET", "/readyz")
    except (ApiError, ConnectionError) as error:
        log.debug("not ready: %s", error)
        return False
    return bool(answer == "ok")


def plan(random: Random, kinds: list[str], rounds: int) -> list[str]:
    """Every kind equally often, in an order by the seed."""
    order = [kinds[i % len(kinds)] for i in range(rounds)]
    random.shuffle(order)
    return order


def _in_memory() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="etcd-simulation-", dir=memory if memory.is_dir() else None))


async def run(
    rounds: int, seed: int, *, only: tuple[str, ...] = (), etcd: str = "", say: Callable[[str], None] = print
) -> Report:
    """Wrong with the seed and the round when something does not hold."""
    directory = _in_memory()
    simulation = Simulation(directory, seed, etcd)
    try:
        await simulation.start()
        kinds = [kind for kind in simulation.kinds() if not only or kind in only]
        for number, kind in enumerate(plan(Random(seed), kinds, rounds), 1):
            try:
                result = await simulation.round(number, kind)
            except Exception as error:
                raise Wrong(
                    f"seed {seed}, round {number} ({kind}): {type(error).__name__}: {error}"
                ) from error
            say(
                f"{number:>4} {kind:<20} {result.victim:<6} gap {result.gap_s:5.2f} s  back after "
                f"{result.recovered_s:5.2f} s  {result.writes:>5} writes  lag {result.lag_s:.2f} s"
            )
    finally:
        await simulation.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return simulation.report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--etcd-binary", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("-v", action="count", default=0)
    arguments = parser.parse_args()
    logging.basicConfig(
        level=(logging.ERROR, logging.INFO, logging.DEBUG)[arguments.v],
        format="%(relativeCreated)8d %(levelname).1s %(name)s: %(message)s",
    )
    logging.getLogger("grpc").setLevel(logging.INFO)
    only = tuple(kind for kind in arguments.only.split(",") if kind)
    report = asyncio.run(run(arguments.rounds, arguments.seed, only=only, etcd=arguments.etcd_binary))
    for figure in report.figures():
        print(f"{figure['name']:<30} {figure['value']} {figure['unit']}")
    print("answers:", dict(sorted(report.answers.items())))
    if arguments.json:
        arguments.json.write_text(json.dumps(report.figures(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
