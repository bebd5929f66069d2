"""An etcd cluster that is run for the user: members that are real etcd processes below one data directory.

    start   the state file says which members there are; each is started and kept running; ready when all serve,
            or when a quorum does and the rest takes too long
    add     ports and certificates ─▶ remembered (joining) ─▶ member add, as a learner ─▶ its process
            ─▶ in sync: promoted ─▶ remembered (started)
    remove  refused if it would cost the quorum ─▶ the leader hands over ─▶ member remove ─▶ its process ends
            ─▶ its directory is deleted ─▶ forgotten

What was begun when the process was killed is finished or undone by the next start: a member that joins and is no
member of the cluster is forgotten, one that is, is started. A member whose data was wiped is never started on an
empty directory: under its old id it would have forgotten votes that it gave.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pilothouse.etcd.cluster import command_line, members
from pilothouse.etcd.cluster.backend import ClusterBackend, open_cluster
from pilothouse.etcd.cluster.binary import Binary
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.cluster.control import ControlServer, Say
from pilothouse.etcd.cluster.layout import JOINING, STARTED, Home, Layout, Member
from pilothouse.etcd.cluster.pki import Pki
from pilothouse.etcd.cluster.ports import free_ports, is_free
from pilothouse.etcd.cluster.supervisor import MemberProcess, end_left_over, why_wiped
from pilothouse.etcd.cluster.tls import Tls
from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import CLUSTER
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

MEMBERS_MAX = 7
"""More only make writes slower (https://etcd.io/docs/v3.6/faq/#what-is-maximum-cluster-size)."""
_REQUEST_TIMEOUT_S = 5.0
_STATUS_TIMEOUT_S = 1.0
_START_TIMEOUT_S = 60.0
_STRAGGLERS_S = 15.0
_POLL_S = 0.05
_ENDS_MAX = 4
"""So often a process may end before its start is given up."""

OnChange = Callable[[tuple[str, ...]], Awaitable[None]]


class ManagedCluster:
    """Use from one event loop, in the main thread. `say` gets lines for people while things take time. With
    `peer_url` members know each other by other URLs than those they listen on (a relay between them)."""

    def __init__(
        self,
        home: Home,
        world: World,
        binary: Binary,
        say: Say,
        *,
        durable: bool = True,
        peer_url: Callable[[Member], str] = lambda member: member.peer_url,
    ) -> None:
        self.home = home
        self.processes: dict[str, MemberProcess] = {}
        self.on_change: list[OnChange] = []
        """Told the client URLs whenever they are others."""
        self._world = world
        self._binary = binary
        self._say = say
        self._durable = durable
        self._peer_url = peer_url
        self._layout = Layout("", ())
        self._pki: Pki | None = None
        self._client: EtcdClient | None = None
        self._changing = asyncio.Lock()
        asked = {
            "add": self._asked_to_add,
            "remove": self._asked_to_remove,
            "promote": self._asked_to_promote,
        }
        self._control = ControlServer(home.directory, asked)

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self._layout.endpoints

    @property
    def tls(self) -> Tls:
        return Tls(self.home.ca, self.home.client_certificate, self.home.client_key)

    @property
    def client(self) -> EtcdClient:
        assert self._client is not None, "the cluster is not started"
        return self._client

    async def open_backend(self, world: World) -> ClusterBackend:
        """The store on these members; it follows their changes, and is the caller's to close."""
        client = EtcdClient(self.endpoints, self.tls, world)
        try:
            backend = await open_cluster(world, client)
        except BaseException:
            await client.close()
            raise
        self.on_change.append(client.set_endpoints)
        return backend

    # -- start and stop ---------------------------------------------------------------------------------

    async def start(self, count: int = 0) -> None:
        """Serves when it returns. `count` members if the cluster is new; 0 takes what there is. StoreError says which
        member does not start, and why."""
        self._pki = Pki(self.home, self._world)
        self._layout = self._remembered(count)
        try:
            await self._start_members()
        except BaseException:
            await self.stop()
            raise

    def _remembered(self, count: int) -> Layout:
        layout = self.home.read()
        if layout is None or not layout.members:
            layout = self._new(count)
            self.home.write(layout)
        elif count not in (0, len(layout.members)):
            self._say(
                f"The etcd cluster in {self.home.data_dir} has {len(layout.members)} members, and --etcd-members "
                f"{count} does not change that: use pilothouse etcd member add and remove"
            )
        return layout

    def _new(self, count: int) -> Layout:
        if not 1 <= count <= MEMBERS_MAX:
            raise StoreError(
                f"an etcd cluster has 1 to {MEMBERS_MAX} members, not {count}: 3 outlive the loss of one"
            )
        ports = free_ports(self._world.random, 2 * count)
        names = [f"m{number}" for number in range(1, count + 1)]
        return Layout(
            f"pilothouse-{self._world.suffix(10)}",
            tuple(Member(name, ports[2 * i], ports[2 * i + 1]) for i, name in enumerate(names)),
        )

    async def _start_members(self) -> None:
        for member in self._layout.members:
            await end_left_over(self._directory(member) / "pid", self._world)
        self._replace_taken_client_ports()
        self._client = EtcdClient(self.endpoints, self.tls, self._world, timeout_s=_REQUEST_TIMEOUT_S)
        ready = [member for member in self._layout.members if self._may_start(member)]
        later = [m for m in self._layout.members if m.stage == JOINING or not is_free(m.peer_port)]
        first = [member for member in ready if member not in later]
        voters = sum(not member.is_learner for member in self._layout.members)
        if len(first) < members.quorum(voters):
            raise StoreError(self._why_not_enough(first))
        self._say(f"Starting etcd {self._binary.text}: {len(first)} members")
        peers = {member.name: self._peer_url(member) for member in self._layout.members}
        for member in first:
            self._launch(member, peers)
        await self._until_serving(first, voters)
        await self._remember_ids()
        for member in later:
            await self._start_later(member)
        await self._control.start()

    def _replace_taken_client_ports(self) -> None:
        for member in self._layout.members:
            if not is_free(member.client_port):
                taken = {port for m in self._layout.members for port in (m.client_port, m.peer_port)}
                (port,) = free_ports(self._world.random, 1, taken)
                self._say(
                    f"Port {member.client_port} of {member.name} is taken by now: it serves clients on {port}"
                )
                self._remember(replace(member, client_port=port))

    def _may_start(self, member: Member) -> bool:
        if member.stage != STARTED or (self._directory(member) / "data" / "member" / "wal").is_dir():
            return True
        self._say(why_wiped(member.name))
        return False

    def _why_not_enough(self, first: list[Member]) -> str:
        missing = []
        for member in self._layout.members:
            if member not in first and member.stage != JOINING:
                port_taken = not is_free(member.peer_port)
                why = (
                    f"its port {member.peer_port} is taken by another program"
                    if port_taken
                    else "its data is gone"
                )
                missing.append(f"{member.name} ({why})")
        return (
            f"the etcd cluster in {self.home.data_dir} has no quorum without {', '.join(missing)}: free the port, or "
            "restore a snapshot into another --data-dir"
        )

    async def _start_later(self, member: Member) -> None:
        """One that has not joined yet, or whose peers must learn its new port first."""
        known = {m.peer_urls: m for m in await members.list_members(self.client)}
        found = known.get((self._peer_url(member),))
        if found is None:
            self._forget(member)
            return
        if member.stage != JOINING and not is_free(member.peer_port):
            (port,) = free_ports(self._world.random, 1)
            self._say(
                f"Port {member.peer_port} of {member.name} is taken by now: its peers find it on {port}"
            )
            member = self._remember(replace(member, peer_port=port))
            request = pb.MemberUpdateRequest(ID=found.id, peerURLs=[self._peer_url(member)])
            await self.client.call(CLUSTER["MemberUpdate"], request)
        member = self._remember(replace(member, id=found.id))
        if self._may_start(member):
            peers = {m.name or member.name: m.peer_urls[0] for m in await members.list_members(self.client)}
            self._launch(member, peers)
        if member.stage == JOINING:
            await self._until_learner_serves(member)
            self._remember(replace(member, stage=STARTED))
            self._say(
                f"{member.name} is a learner: pilothouse etcd member promote {member.name} gives it a vote"
            )

    def _launch(self, member: Member, peers: Mapping[str, str]) -> None:
        assert self._pki is not None
        directory = self._directory(member)
        data = directory / "data"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        certificates = command_line.Certificates(
            self._pki.ca, self._pki.server(directory), self._pki.peer(directory)
        )
        flags = command_line.member_flags(member, self._layout, data, certificates, peers)
        flags += command_line.common_flags(self._binary.version, durable=self._durable)
        process = MemberProcess(
            self._world, member.name, command_line.full_command(self._binary, flags), directory
        )
        process.has_joined = member.stage == STARTED
        self.processes[member.name] = process
        process.start()

    async def _until_serving(self, wanted: list[Member], voters: int) -> None:
        began_s = self._world.clock.monotonic()
        told = 0
        while True:
            up = [m for m, is_up in zip(wanted, await self._which_serve(wanted), strict=True) if is_up]
            if len(up) > told and len(up) < len(wanted):
                told = len(up)
                self._say(f"etcd: {told} of {len(wanted)} members serve")
            waited_s = self._world.clock.monotonic() - began_s
            enough = len(up) >= members.quorum(voters)
            if len(up) == len(wanted):
                return
            down = [self.processes[m.name] for m in wanted if m not in up]
            if enough and waited_s > _STRAGGLERS_S:
                self._say(f"etcd serves without {_why_down(down)}")
                return
            hopeless = len(wanted) - sum(p.ends >= _ENDS_MAX for p in down) < members.quorum(voters)
            if hopeless or waited_s > _START_TIMEOUT_S:
                raise StoreError(f"etcd does not start: {_why_down(down)}")
            await self._world.clock.sleep(_POLL_S)

    async def _which_serve(self, wanted: list[Member]) -> list[bool]:
        return list(await asyncio.gather(*(self._serves(member) for member in wanted)))

    async def _serves(self, member: Member) -> bool:
        try:
            status = await members.status_of(self.client, member.client_url, _STATUS_TIMEOUT_S)
        except StoreError as error:
            log.debug("%s does not serve yet: %s", member.name, error)
            return False
        return bool(status.leader)

    async def _remember_ids(self) -> None:
        """Who the members are by etcd's own count; somebody else's `etcdctl member remove` is followed."""
        found = {self._peer_url_of(m): m for m in await members.list_members(self.client)}
        for member in self._layout.members:
            known = found.get(self._peer_url(member))
            if known is not None and member.stage != JOINING:
                self._remember(replace(member, id=known.id, stage=STARTED, is_learner=known.is_learner))
            elif known is None and member.stage == STARTED:
                self._say(
                    f"{member.name} was removed from the cluster by somebody else: it is forgotten here, too"
                )
                await self._end(member)
                self._forget(member)

    @staticmethod
    def _peer_url_of(member: members.MemberState) -> str:
        return member.peer_urls[0] if member.peer_urls else ""

    async def stop(self) -> None:
        """End every member; what was acknowledged is on their disks."""
        await self._control.stop()
        leader = await self._leading_process()
        if self._client is not None:
            await self._client.close()
            self._client = None
        await asyncio.gather(*(p.stop() for p in self.processes.values() if p is not leader))
        if leader is not None:
            await leader.stop()
        self.processes.clear()

    async def _leading_process(self) -> MemberProcess | None:
        """The leader ends last: it would wait seconds for somebody to take over from it, and they end, too."""
        if self._client is None:
            return None
        for member in self._layout.members:
            try:
                status = await members.status_of(self.client, member.client_url, _STATUS_TIMEOUT_S)
            except StoreError as error:
                log.debug("%s does not say who leads: %s", member.name, error)
                continue
            leader = next((m for m in self._layout.members if m.id == status.leader), None)
            return self.processes.get(leader.name) if leader is not None else None
        return None

    # -- changes ----------------------------------------------------------------------------------------

    async def add(self, name: str = "", *, promote: bool = True, say: Say | None = None) -> Member:
        """One more member; it has a vote when this returns, unless `promote` is off. Refused with the reason; what
        fails half-way is undone."""
        say = say or self._say
        async with self._changing:
            member = self._one_more(name)
            reason = members.why_not_add(await members.survey(self.client))
            if reason:
                raise members.ChangeRefused(reason)
            self._remember(member)
            try:
                member = await self._join(member, say)
            except BaseException:
                await asyncio.shield(self._undo(member))
                raise
            if promote:
                say(f"{member.name} catches up with the leader")
                await members.promote(self.client, f"{member.id:x}", self._world)
                member = self._remember(replace(member, is_learner=False))
                say(f"{member.name} has a vote")
            await self._changed()
            return member

    def _one_more(self, name: str) -> Member:
        if len(self._layout.members) >= MEMBERS_MAX:
            raise members.ChangeRefused(
                f"the cluster has {MEMBERS_MAX} members: more only make writes slower; remove one first"
            )
        names = {member.name for member in self._layout.members}
        if name in names:
            raise members.ChangeRefused(
                f"there is a member {name} already: remove it first, or choose another name"
            )
        if (name and not (name.isidentifier() or name.replace("-", "").isalnum())) or name == "pki":
            raise members.ChangeRefused(f"{name!r} is no name for a member: use letters, digits and dashes")
        chosen = name or next(f"m{n}" for n in range(1, MEMBERS_MAX + 2) if f"m{n}" not in names)
        taken = {port for m in self._layout.members for port in (m.client_port, m.peer_port)}
        client_port, peer_port = free_ports(self._world.random, 2, taken)
        member = Member(chosen, client_port, peer_port, JOINING, is_learner=True)
        if self._directory(member).exists():
            self._set_aside(self._directory(member))
        return member

    async def _join(self, member: Member, say: Say) -> Member:
        added = await members.add(self.client, [self._peer_url(member)])
        member = self._remember(replace(member, id=added.member.ID))
        say(f"{member.name} ({member.id:x}) is a learner")
        self._launch(member, {m.name or member.name: m.peerURLs[0] for m in added.members})
        await self._until_learner_serves(member)
        return self._remember(replace(member, stage=STARTED))

    async def _until_learner_serves(self, member: Member) -> None:
        process = self.processes[member.name]
        until_s = self._world.clock.monotonic() + _START_TIMEOUT_S
        while not await self._serves(member):
            if process.ends >= _ENDS_MAX or self._world.clock.monotonic() > until_s:
                raise StoreError(f"the new member does not start: {_why_down([process])}")
            await self._world.clock.sleep(_POLL_S)

    async def _undo(self, member: Member) -> None:
        """Take back a member that has not come up. What cannot be undone now is by the next start."""
        try:
            listed = await members.list_members(self.client)
            for found in listed:
                if self._peer_url_of(found) == self._peer_url(member):
                    await members.remove_by_id(self.client, found.id)
            await self._end(member)
            self._forget(member)
            await asyncio.to_thread(shutil.rmtree, self._directory(member), True)
        except StoreError as error:
            log.warning("the addition of %s is not undone: %s", member.name, error)

    async def promote(self, wanted: str) -> members.MemberState:
        """Give a learner its vote, when it has caught up."""
        async with self._changing:
            state = await members.promote(self.client, self._id_of(wanted), self._world)
            own = next((m for m in self._layout.members if self._peer_url(m) in state.peer_urls), None)
            if own is not None:
                self._remember(replace(own, is_learner=False))
            return state

    async def remove(self, wanted: str, *, say: Say | None = None) -> members.MemberState:
        """A member less, by name or id; its data is deleted. Refused with the reason."""
        say = say or self._say
        async with self._changing:
            state = await members.remove(self.client, self._id_of(wanted))
            say(f"{state.label} is no member any more")
            own = next((m for m in self._layout.members if self._peer_url(m) in state.peer_urls), None)
            if own is not None:
                await self._end(own)
                self._forget(own)
                await asyncio.to_thread(shutil.rmtree, self._directory(own), True)
            await self._changed()
            return state

    def _id_of(self, wanted: str) -> str:
        """A member that never started is known by name here only."""
        own = self._layout.member(wanted)
        return f"{own.id:x}" if own is not None and own.id else wanted

    async def _changed(self) -> None:
        await self.client.set_endpoints(self.endpoints)
        for tell in self.on_change:
            await tell(self.endpoints)

    async def _end(self, member: Member) -> None:
        process = self.processes.pop(member.name, None)
        if process is not None:
            await process.stop()

    # -- what is remembered -----------------------------------------------------------------------------

    def _directory(self, member: Member) -> Path:
        return self.home.member(member.name)

    def _remember(self, member: Member) -> Member:
        if member.stage == STARTED and member.name in self.processes:
            self.processes[member.name].has_joined = True
        changed = self._layout.with_member(member)
        if changed != self._layout:
            self._layout = changed
            self.home.write(changed)
        return member

    def _forget(self, member: Member) -> None:
        self._layout = self._layout.without(member.name)
        self.home.write(self._layout)

    def _set_aside(self, directory: Path) -> None:
        """What lies where a new member shall live may be somebody's last copy."""
        aside = directory.with_name(f"{directory.name}.{self._world.suffix()}.old")
        directory.rename(aside)
        self._say(f"{directory} holds data of an earlier member: it is {aside} now, and may be deleted")

    # -- the control socket -----------------------------------------------------------------------------

    async def _asked_to_add(self, request: Mapping[str, Any], say: Say) -> dict[str, Any]:
        member = await self.add(
            str(request.get("name", "")), promote=bool(request.get("promote", True)), say=say
        )
        return {"name": member.name, "id": member.id, "client_url": member.client_url}

    async def _asked_to_promote(self, request: Mapping[str, Any], say: Say) -> dict[str, Any]:
        state = await self.promote(str(request["member"]))
        return {"name": state.name, "id": state.id}

    async def _asked_to_remove(self, request: Mapping[str, Any], say: Say) -> dict[str, Any]:
        state = await self.remove(str(request["member"]), say=say)
        return {"name": state.name, "id": state.id}


def _why_down(processes: list[MemberProcess]) -> str:
    return "; ".join(f"{p.name} says: {p.last_words} (its log is {p.log_path})" for p in processes)
