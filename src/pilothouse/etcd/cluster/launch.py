"""Making a member's process: its directory, its certificates, its command line."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.cluster import command_line
from pilothouse.etcd.cluster.binary import Binary
from pilothouse.etcd.cluster.layout import STARTED, Home, Layout, Member
from pilothouse.etcd.cluster.pki import Pki
from pilothouse.etcd.cluster.supervisor import MemberProcess
from pilothouse.kit.world import World


class Launcher:
    """`durable` False is for data that nobody misses: then etcd need not wait for the disk."""

    def __init__(self, home: Home, world: World, binary: Binary, *, durable: bool) -> None:
        self._home = home
        self._world = world
        self._binary = binary
        self._durable = durable
        self._pki = Pki(home, world)

    def launch(self, member: Member, layout: Layout, peers: Mapping[str, str]) -> MemberProcess:
        """A process that is started and kept running. `peers` are all members' peer URLs by name, its own too."""
        directory = self._home.member(member.name)
        data = directory / "data"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        certificates = command_line.Certificates(
            self._pki.ca, self._pki.server(directory), self._pki.peer(directory)
        )
        flags = command_line.member_flags(member, layout, data, certificates, peers)
        flags += command_line.common_flags(self._binary.version, durable=self._durable)
        process = MemberProcess(self._world, member.name, [str(self._binary.path), *flags], directory)
        process.has_joined = member.stage == STARTED
        process.start()
        return process
