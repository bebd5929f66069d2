"""The extension points, and what passes through them (https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/).

    queue      PreEnqueue → QueueSort
    cycle      PreFilter → Filter → (nothing fits: PostFilter) → PreScore → Score → Reserve → Permit
    binding    PreBind → Bind → PostBind          (a refusal from Reserve on: Unreserve)

A plugin is a class that implements one or more of the interfaces below. Where upstream asks a plugin about one
node after the other, here it is asked about all at once: a filter returns masks over the node table's rows, a
score returns one number for each row that is left.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pilothouse.scheduler.hints import ANYTHING, Registration
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.pod_info import PodInfo

if TYPE_CHECKING:
    from pilothouse.scheduler.diagnosis import Diagnosis
    from pilothouse.scheduler.profile import Profile

SCORE_MAX = 100
Rows = NDArray[np.intp]
"""Row numbers of the node table."""


@dataclass(eq=False, slots=True)
class Cycle:
    """One pod's scheduling cycle. `guests` are pods that nodes are nominated for, each as if it were there. `state`
    is where plugins leave things for their later extension points, by plugin name."""

    info: PodInfo
    profile: Profile
    table: NodeTable
    random: random.Random
    guests: Sequence[PodInfo] = ()
    state: dict[str, Any] = field(default_factory=dict)

    def weighty_guests(self) -> list[PodInfo]:
        """Guests that this pod must leave room for: those at least as important."""
        own = self.info
        return [g for g in self.guests if g.priority >= own.priority and g.uid != own.uid]


class Rejection(NamedTuple):
    """Nodes that are out for one reason, in upstream's words. `resolvable`: evicting pods may change it
    (Unschedulable, as against UnschedulableAndUnresolvable)."""

    mask: Mask
    reason: str
    resolvable: bool = True


class PreFilterResult(NamedTuple):
    """`rows`: only these are worth a look (None: all). `refusal`: no node will do, for this reason."""

    rows: Mask | None = None
    refusal: str = ""


Effect = Callable[[], Coroutine[Any, Any, None]]
"""What a PostFilter wants done; NoRoomMade when it could not be."""


class Nomination(NamedTuple):
    """What a PostFilter found: a node to nominate ("": the pod's nomination is void, None: it stays as it is) and
    what must be done to make room there, at the cost of how many `victims`, or why there is none; `final`: no further
    plugin is asked."""

    node: str | None = None
    message: str = ""
    effect: Effect | None = None
    final: bool = False
    victims: int = 0
    leaving: tuple[PodInfo, ...] = ()
    """The victims themselves, for who asks what would be if they were gone."""


class Verdict(NamedTuple):
    """Permit's answer: go on at once, wait for at most `wait_s` until `allow` or `reject` is called, or (with a
    `refusal`) no."""

    wait_s: float = 0.0
    refusal: str = ""


class NoRoomMade(Exception):
    """A PostFilter's effect came to nothing: what the pod was to wait for may never happen."""


class PluginFailed(Exception):
    """A plugin of somebody else's raised: the pod is not scheduled this time, and the scheduler goes on."""


class Plugin(ABC):
    name: ClassVar[str]

    @property
    def itself(self) -> Plugin:
        """What is asked in the end, where another stands before it (`scheduler.timed`): what is remembered of a plugin
        is remembered of this one."""
        return self

    def registrations(self) -> Iterable[Registration]:
        """The events after which a pod that this plugin refused may try again (EnqueueExtensions). Who does not say is
        taken to hope for any."""
        return ANYTHING


class PreEnqueuePlugin(Plugin):
    @abstractmethod
    def pre_enqueue(self, info: PodInfo) -> str:
        """Why the pod may not enter the active queue yet; "" when it may."""


class QueueSortPlugin(Plugin):
    ranked: ClassVar[bool] = False
    """The first number of its keys is all that goes before what QueueRankPlugins say."""

    @abstractmethod
    def sort_key(self, info: PodInfo, since_s: float) -> tuple[float, ...]:
        """Smaller goes first; `since_s` is when the pod came into the queue."""


class QueueRankPlugin(Plugin):
    """Ours, beside upstream's extension points: refines the order of the queue, where its QueueSort plugin allows it.
    It runs wherever the plugin is enabled at all."""

    @abstractmethod
    def rank(self, info: PodInfo) -> float:
        """Asked when a pod comes into the active queue: the smaller goes first among pods of one priority. math.inf
        for a pod that has nothing to say about it."""


class VictimFilterPlugin(Plugin):
    """Ours, beside upstream's extension points: has a say in whom DefaultPreemption may evict. It runs wherever the
    plugin is enabled at all."""

    @abstractmethod
    def protects(self, victim: PodInfo) -> bool:
        """Whether a running pod of lower priority must not be evicted now, whoever wants its room."""


class PreFilterPlugin(Plugin):
    @abstractmethod
    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        """Look at the pod alone, before any node."""


class FilterPlugin(Plugin):
    @abstractmethod
    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """Which of the rows in `left` are out. `left` must not be changed; what a mask says of rows outside it
        does not count."""

    def filter_key(self, cycle: Cycle) -> Hashable | None:
        """What of the pod the verdict on a row depends on, when it depends on nothing else but the row: then it is
        asked for by `passes` and remembered until the row changes. None: other rows count too."""
        return None

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        """Which of some rows are not out; for plugins with a `filter_key`."""
        raise NotImplementedError(f"{self.name} has a filter_key and must have passes")

    def passes_one(self, cycle: Cycle, row: int) -> bool:
        """The same for one row, which is what has mostly changed since the last pod: arrays of one are slow."""
        return bool(self.passes(cycle, np.array([row], dtype=np.intp))[0])

    def counts_pods(self, cycle: Cycle) -> bool:
        """Whether other pods' coming or going could change a verdict for this pod. False lets preemption try many
        nodes at once (`scheduler.room`)."""
        return True

    def asks(self, cycle: Cycle) -> Mapping[str, int] | None:
        """The amounts by resource that must be free on a row, if that is all the plugin looks at."""
        return None

    def lacks(self, resource: str) -> str:
        """The reason when one of `asks` is not free."""
        raise NotImplementedError(f"{self.name} has asks and must have lacks")


def has_filter_key(plugin: FilterPlugin) -> bool:
    """Whether there may be one: few plugins have any."""
    return type(plugin.itself).filter_key is not FilterPlugin.filter_key  # type: ignore[attr-defined]


class PostFilterPlugin(Plugin):
    @abstractmethod
    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        """Nothing fits: what could be done about it."""


class PreScorePlugin(Plugin):
    @abstractmethod
    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        """False when this plugin's score would not tell the nodes apart, so that it is left out."""


class ScorePlugin(Plugin):
    @abstractmethod
    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """One number from 0 to SCORE_MAX for each of `rows`."""

    def raw_score(self, cycle: Cycle, rows: Rows) -> Column:
        """What `score` normalizes, for people who ask why (`scheduler.explain`); the same where it does not."""
        return self.score(cycle, rows)

    def score_key(self, cycle: Cycle) -> Hashable | None:
        """As `filter_key`: what of the pod a row's score depends on besides the row. PreScore must then depend on the
        pod alone."""
        return None

    def score_one(self, cycle: Cycle, row: int) -> int:
        """The score of one row; see `passes_one`."""
        return int(self.score(cycle, np.array([row], dtype=np.intp))[0])


class ReservePlugin(Plugin):
    @abstractmethod
    def reserve(self, cycle: Cycle, node: str) -> str:
        """Why not; "" when it is reserved."""

    @abstractmethod
    def unreserve(self, cycle: Cycle, node: str) -> None:
        """Take it back; also called where `reserve` itself refused or never ran."""


class PermitPlugin(Plugin):
    @abstractmethod
    def permit(self, cycle: Cycle, node: str) -> Verdict: ...


class PreBindPlugin(Plugin):
    @abstractmethod
    async def pre_bind(self, cycle: Cycle, node: str) -> None:
        """ApiError or ConnectionError when it cannot be done."""


class BindPlugin(Plugin):
    @abstractmethod
    async def bind(self, cycle: Cycle, node: str) -> bool:
        """Whether it took the pod on; ApiError or ConnectionError when binding failed."""


class PostBindPlugin(Plugin):
    @abstractmethod
    def post_bind(self, cycle: Cycle, node: str) -> None: ...


INTERFACES: Mapping[str, type[Plugin]] = {
    "preEnqueue": PreEnqueuePlugin,
    "queueSort": QueueSortPlugin,
    "preFilter": PreFilterPlugin,
    "filter": FilterPlugin,
    "postFilter": PostFilterPlugin,
    "preScore": PreScorePlugin,
    "score": ScorePlugin,
    "reserve": ReservePlugin,
    "permit": PermitPlugin,
    "preBind": PreBindPlugin,
    "bind": BindPlugin,
    "postBind": PostBindPlugin,
}
"""What a plugin must be to run at an extension point, as a configuration names the points."""


def normalized(scores: Column, *, reverse: bool = False) -> Column:
    """Scores scaled so that the largest becomes SCORE_MAX, or with `reverse` 0 (helper.DefaultNormalizeScore)."""
    most = int(scores.max(initial=0))
    if most == 0:
        return np.full(len(scores), SCORE_MAX, dtype=np.int64) if reverse else scores
    scaled: Column = scores * SCORE_MAX // most
    return SCORE_MAX - scaled if reverse else scaled
