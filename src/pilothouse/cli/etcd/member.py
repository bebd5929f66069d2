"""`pilothouse etcd member list|add|remove|promote`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pilothouse.cli.etcd import printing, target
from pilothouse.cli.flags import Command, Failure, Flag, Group, Subcommand, UsageError, Values
from pilothouse.cli.kinds import BOOL, STRINGS
from pilothouse.etcd.contract import StoreError

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.client import EtcdClient
    from pilothouse.etcd.cluster.members import MemberState
    from pilothouse.kit.world import World

_MOVING = (
    "start a cluster on another directory with pilothouse up --etcd-members 3 --data-dir NEW, and move the data there "
    "with pilothouse migrate"
)


# -- list -----------------------------------------------------------------------------------------------------

Told = Callable[[dict[str, Any]], str]
"""What is said of a change that was made."""


def _list(values: Values) -> int:
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import members

    as_json = printing.is_json(values)

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        states = await members.survey(client)
        if as_json:
            printing.show_json({"members": [_document(state) for state in states]})
        else:
            headings = ("ID", "NAME", "ROLE", "STATE", "PEER URLS", "CLIENT URLS")
            printing.show_table(headings, [_row(state) for state in states])
        return 0

    return connect.run(values, "member list", work)


def _role(state: MemberState) -> str:
    if state.is_learner:
        return "learner"
    return "leader" if state.is_leader else "voter"


def _state(state: MemberState) -> str:
    if state.status is None:
        return "down" if state.name else "unstarted"
    return "up" if state.is_up else "no leader"


def _row(state: MemberState) -> tuple[str, ...]:
    urls = ",".join(state.peer_urls), ",".join(state.client_urls)
    return (f"{state.id:x}", state.name, _role(state), _state(state), *urls)


def _document(state: MemberState) -> dict[str, Any]:
    return {
        "id": f"{state.id:x}",
        "name": state.name,
        "peerURLs": list(state.peer_urls),
        "clientURLs": list(state.client_urls),
        "isLearner": state.is_learner,
        "isLeader": state.is_leader,
        "state": _state(state),
        **({"error": state.error} if state.error else {}),
    }


# -- add ------------------------------------------------------------------------------------------------------


def _add(values: Values) -> int:
    as_json = printing.is_json(values)
    found = target.find(values)
    name = _one(values, "NAME") if values.arguments else ""
    if isinstance(found, target.Managed):
        if values["peer-urls"]:
            raise UsageError(
                "--peer-urls is for an etcd of your own: a managed cluster chooses the member's ports"
            )
        request = {"do": "add", "name": name, "promote": not values["learner"]}
        done = _ask(found, request)
        _tell(as_json, done, f"Added {done['name']} ({done['id']:x}), which serves on {done['client_url']}.")
        return 0
    _refuse_embedded(found, "another member")
    if not name or not values["peer-urls"]:
        raise UsageError(
            "member add wants a NAME and --peer-urls URL: where the others will find the new member"
        )
    return _add_foreign(values, name, as_json)


def _add_foreign(values: Values, name: str, as_json: bool) -> int:
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import command_line, members

    urls = values["peer-urls"]

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        added = await members.add(client, urls)
        known = [(m.name or name, url) for m in added.members for url in m.peerURLs]
        command = command_line.foreign_command(name, known, urls)
        done = {"name": name, "id": added.member.ID, "command": command}
        text = (
            f"Added {name} ({added.member.ID:x}) as a learner. Start it on its machine, with client URLs, certificates "
            f"and a data directory of its own:\n\n    {command}\n\nand then: pilothouse etcd member promote "
            f"{added.member.ID:x}"
        )
        _tell(as_json, done, text)
        return 0

    return connect.run(values, "member add", work)


# -- remove, promote ------------------------------------------------------------------------------------------


def _remove(values: Values) -> int:
    return _change(
        values,
        "remove",
        "the removal of a member",
        lambda done: f"Removed {_label(done)}, and deleted its data.",
        lambda done: f"Removed {_label(done)}. Its data directory is of no more use: delete it.",
    )


def _promote(values: Values) -> int:
    def told(done: dict[str, Any]) -> str:
        return f"{_label(done)} has a vote."

    return _change(values, "promote", "a promotion", told, told)


def _change(values: Values, do: str, what: str, managed: Told, foreign: Told) -> int:
    as_json = printing.is_json(values)
    wanted = _one(values, "MEMBER")
    found = target.find(values)
    if isinstance(found, target.Managed):
        done = _ask(found, {"do": do, "member": wanted})
        _tell(as_json, done, managed(done))
        return 0
    _refuse_embedded(found, what)
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import members

    change = {"remove": members.remove, "promote": members.promote}[do]

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        state = await change(client, wanted, world)
        done = {"name": state.name, "id": state.id}
        _tell(as_json, done, foreign(done))
        return 0

    return connect.run(values, f"member {do}", work)


def _ask(found: target.Managed, request: dict[str, Any]) -> dict[str, Any]:
    from pilothouse.etcd.cluster import control

    try:
        return control.ask(found.home.directory, request, printing.progress)
    except StoreError as error:
        raise Failure(str(error)) from None


def _refuse_embedded(found: target.Target, what: str) -> None:
    if isinstance(found, (target.Running, target.Stopped)):
        raise Failure(
            f"the embedded store in {found.data_dir} is one node, and has no place for {what}: {_MOVING}"
        )


def _one(values: Values, what: str) -> str:
    if len(values.arguments) != 1:
        raise UsageError(f"one {what} is wanted, not {len(values.arguments)}")
    argument: str = values.arguments[0]
    return argument


def _label(done: dict[str, Any]) -> str:
    return f"{done['name']} ({done['id']:x})" if done["name"] else f"{done['id']:x}"


def _tell(as_json: bool, done: dict[str, Any], text: str) -> None:
    if as_json:
        printing.show_json({**done, "id": f"{done['id']:x}"})
    else:
        print(text)


_GROUPS = (target.GROUP, printing.OUTPUT)
LIST = Command(
    name="etcd member list",
    summary="The members of a cluster.",
    run=_list,
    description="List a cluster's members, what each is, and whether it answers.",
    groups=_GROUPS,
)
ADD = Command(
    name="etcd member add",
    summary="One more, as a learner first.",
    run=_add,
    description=(
        "Add a member. In a cluster that Pilothouse runs, it is started and gets its vote when it has caught up; NAME "
        "may be left out. In another etcd it is added as a learner, and the command to start it is printed."
    ),
    examples="""
        pilothouse etcd member add
        pilothouse etcd member add n4 --endpoints https://10.0.0.1:2379 --peer-urls https://10.0.0.4:2380
    """,
    argument="NAME",
    groups=(
        Group(
            "Member",
            (
                Flag("peer-urls", STRINGS, (), "Where the other members will find it (another etcd only)."),
                Flag("learner", BOOL, False, "Leave it a learner (managed clusters only)."),
            ),
        ),
        *_GROUPS,
    ),
)
REMOVE = Command(
    name="etcd member remove",
    summary="One less.",
    run=_remove,
    description=(
        "Remove a member by name or id. Refused when those that stay would have no quorum; a leader hands over first."
    ),
    argument="MEMBER",
    groups=_GROUPS,
)
PROMOTE = Command(
    name="etcd member promote",
    summary="Give a learner its vote.",
    run=_promote,
    description="Give a learner its vote, as soon as it has caught up with the leader.",
    argument="MEMBER",
    groups=_GROUPS,
)


def _which(values: Values) -> None:
    raise UsageError("pilothouse etcd member wants one of: list, add, remove, promote")


COMMAND = Command(
    name="etcd member",
    summary="The members of a cluster.",
    run=_which,
    description="List a cluster's members, and change them one at a time. Each command has its own --help.",
    subcommands={
        "list": Subcommand(__name__, LIST.summary, "LIST"),
        "add": Subcommand(__name__, ADD.summary, "ADD"),
        "remove": Subcommand(__name__, REMOVE.summary, "REMOVE"),
        "promote": Subcommand(__name__, PROMOTE.summary, "PROMOTE"),
    },
)
