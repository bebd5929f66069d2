"""What a simulated kubelet answers when the API server asks it (`api.kubelet.Kubelets`).

Its containers print what their plan says, and run no commands: of the few that `behaviour` understands the outcome
is told, all others are refused in plain words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pilothouse.api.errors import bad_request, internal
from pilothouse.api.field import go_quote
from pilothouse.api.kubelet import Answer, LogOptions, Outcome, Printed, Usages
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.kit.world import World, parse_timestamp
from pilothouse.nodes import behaviour, kubelet_paths
from pilothouse.nodes.fleet import Fleet
from pilothouse.nodes.life import containers

_LOOK_S = 0.5
"""How often a follower looks whether the container has ended."""


class _Run(NamedTuple):
    """The run whose lines are asked for; `ended_s` None while it lasts."""

    id: str
    started_s: float
    ended_s: float | None


class _Line(NamedTuple):
    at_s: float
    text: str


class KubeletApi:
    def __init__(self, fleet: Fleet, world: World, usages: Usages) -> None:
        self._fleet = fleet
        self._world = world
        self._usages = usages
        self._meters: dict[str, kubelet_paths.Meter] = {}

    def reaches(self, node: str) -> bool:
        return node in self._fleet.machines

    async def logs(self, pod: Obj, options: LogOptions) -> AsyncIterator[bytes]:
        run = _run_to_show(pod, options.container, previous=options.previous)
        yield b""
        lines = self._lines(pod, options.container, run)
        if options.since_s is not None:
            lines = [line for line in lines if line.at_s >= options.since_s]
        if "stdout" not in options.streams:
            lines = []
        now_s = self._world.now()
        printed = [line for line in lines if line.at_s <= now_s]
        if options.tail_lines is not None:
            printed = printed[len(printed) - min(options.tail_lines, len(printed)) :]
        left = _Limit(options.limit_bytes)
        for line in printed:
            yield left.cut(_text(line, timestamps=options.timestamps))
            if left.reached:
                return
        if not options.follow:
            return
        coming = [line for line in lines if line.at_s > now_s]
        async for line in self._follow(pod, options.container, run, coming):
            yield left.cut(_text(line, timestamps=options.timestamps))
            if left.reached:
                return

    async def attach(self, pod: Obj, container: str) -> AsyncIterator[bytes]:
        run = _run_to_show(_running(pod, container), container, previous=False)
        yield b""
        now_s = self._world.now()
        coming = [line for line in self._lines(pod, container, run) if line.at_s > now_s]
        async for line in self._follow(pod, container, run, coming):
            yield _text(line, timestamps=False)

    def execute(self, pod: Obj, container: str, command: Sequence[str]) -> Outcome:
        _running(pod, container)
        does = behaviour.of_command(list(command))
        if does.run_s is None:
            node = pod["spec"].get("nodeName", "")
            raise bad_request(
                f"pod {pod['metadata']['name']} is on the simulated node {node}: simulated containers run no "
                "commands (only the outcome of true, false, exit, sleep and echo is known)"
            )
        printed = tuple(Printed(line.after_s, f"{line.text}\n".encode()) for line in does.lines)
        return Outcome(printed, does.run_s, does.exit_code)

    def answer(self, node: str, path: str) -> Answer:
        found = self._fleet.machines.node(node)
        pods = self._fleet.pods.of_node(node)
        meter = self._meters.setdefault(node, kubelet_paths.Meter())
        return kubelet_paths.answer(node, found, pods, path, self._world.now(), self._usages, meter)

    # -- lines ------------------------------------------------------------------------------------------

    def _lines(self, pod: Obj, name: str, run: _Run) -> list[_Line]:
        """All that the run prints, also what is to come."""
        for _, container in containers(pod):
            if container["name"] == name:
                does = behaviour.plan(pod, container)
                lines = [_Line(run.started_s + line.after_s, line.text) for line in does.lines]
                return [line for line in lines if run.ended_s is None or line.at_s <= run.ended_s]
        return []

    async def _follow(self, pod: Obj, name: str, run: _Run, coming: list[_Line]) -> AsyncIterator[_Line]:
        """Lines as they come, until the run has ended."""
        while not self._has_ended(pod, name, run):
            now_s = self._world.now()
            while coming and coming[0].at_s <= now_s:
                yield coming.pop(0)
            wait_s = min(coming[0].at_s - now_s, _LOOK_S) if coming else _LOOK_S
            await self._world.clock.sleep(max(wait_s, 0.001))
        for line in coming:
            if line.at_s <= self._world.now():
                yield line

    def _has_ended(self, pod: Obj, name: str, run: _Run) -> bool:
        if run.ended_s is not None:
            return True
        present = self._fleet.pods.find(key_of(pod))
        if present is None or present["metadata"]["uid"] != pod["metadata"]["uid"]:
            return True
        status = _status(present, name)
        return status is None or status.get("containerID", "") != run.id or "running" not in _state(status)


class _Limit:
    """Cuts what is printed after so many bytes."""

    def __init__(self, bytes_max: int | None) -> None:
        self._left = bytes_max

    @property
    def reached(self) -> bool:
        return self._left is not None and self._left <= 0

    def cut(self, text: bytes) -> bytes:
        if self._left is None:
            return text
        text = text[: self._left]
        self._left -= len(text)
        return text


def _text(line: _Line, *, timestamps: bool) -> bytes:
    if not timestamps:
        return f"{line.text}\n".encode()
    at = datetime.fromtimestamp(line.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{at}000Z {line.text}\n".encode()


def _status(pod: Obj, name: str) -> Obj | None:
    status = pod.get("status") or {}
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(group) or ():
            if entry["name"] == name:
                found: Obj = entry
                return found
    return None


def _state(status: Obj) -> Obj:
    """Of a container; a stage may have written none."""
    return status.get("state") or {}


def _running(pod: Obj, name: str) -> Obj:
    """The pod when this container of it runs; else what a kubelet says that finds none in its runtime."""
    status = _status(pod, name)
    if status is None or "running" not in _state(status):
        raise internal(f"unable to upgrade connection: container not found ({go_quote(name)})")
    return pod


def _run_to_show(pod: Obj, name: str, *, previous: bool) -> _Run:
    """The run whose log is meant, or kubelet's refusal (validateContainerLogStatus)."""
    status = _status(pod, name)
    where = f"container {go_quote(name)} in pod {go_quote(pod['metadata']['name'])}"
    if status is None:
        raise bad_request(f"{where} is not available")
    state, last = _state(status), (status.get("lastState") or {}).get("terminated")
    if previous:
        if not last or not last.get("containerID"):
            raise bad_request(f"previous terminated {where} not found")
        return _ended(last)
    if "running" in state:
        return _Run(status.get("containerID", ""), _started(state["running"], pod), None)
    terminated = state.get("terminated") or last
    if terminated:
        if not terminated.get("containerID"):
            raise bad_request(f"{where} is terminated")
        return _ended(terminated)
    reason = (state.get("waiting") or {}).get("reason")
    if reason is None:
        raise bad_request(f"{where} is waiting to start - no logs yet")
    known = {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
    raise bad_request(f"{where} is waiting to start: {known.get(reason, reason)}")


def _started(state: Obj, pod: Obj) -> float:
    return parse_timestamp(state.get("startedAt") or pod["metadata"]["creationTimestamp"])


def _ended(state: Obj) -> _Run:
    return _Run(
        state["containerID"], parse_timestamp(state["startedAt"]), parse_timestamp(state["finishedAt"]) + 1
    )
