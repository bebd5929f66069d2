"""What an API server asks of the kubelet of a node, whoever it is: logs, commands, and the kubelet's own paths.

`Kubelets` is the door; `up` puts the simulated nodes behind it, in the same process. A failure is an ApiError with
the text that a kubelet would send.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from pilothouse.api.types import Obj


class LogOptions(NamedTuple):
    """v1.PodLogOptions. `since_s` is a time, seconds since 1970."""

    container: str
    follow: bool = False
    previous: bool = False
    since_s: float | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    streams: tuple[str, ...] = ("stdout", "stderr")


class Printed(NamedTuple):
    """What a command prints to its standard output, `after_s` its start."""

    after_s: float
    data: bytes


class Outcome(NamedTuple):
    """What a command does: it prints, and ends after `run_s`."""

    printed: tuple[Printed, ...]
    run_s: float
    exit_code: int


class Answer(NamedTuple):
    """What a kubelet answers on one of its own paths."""

    status: int
    content_type: str
    body: bytes


class ContainerUse(NamedTuple):
    """What a running container uses now: cores times 10⁹, bytes. `started` is a timestamp."""

    container: str
    started: str
    nano_cores: int
    memory: int


class Usages(Protocol):
    """Who knows what containers use; for the resource metrics API."""

    def of(self, pod: Obj, node: Obj | None) -> list[ContainerUse]:
        """One for each container that runs, in the pod's order; `node` is the pod's. Objects are shared."""


class Kubelets(Protocol):
    def reaches(self, node: str) -> bool:
        """Whether the node's kubelet is behind this door."""

    def logs(self, pod: Obj, options: LogOptions) -> AsyncIterator[bytes]:
        """Lines as they come; ends with the container when it follows. The first step refuses, or gives b"" so
        that the asker knows it was not refused."""

    def execute(self, pod: Obj, container: str, command: Sequence[str]) -> Outcome:
        """What `command` in a running container does."""

    def attach(self, pod: Obj, container: str) -> AsyncIterator[bytes]:
        """What a running container prints from now on."""

    def answer(self, node: str, path: str) -> Answer:
        """GET of a path such as /stats/summary."""
