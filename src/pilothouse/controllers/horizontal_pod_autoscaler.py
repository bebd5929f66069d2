"""Horizontal pod autoscaler: as many pods as the metrics of an autoscaler ask for (autoscaling/v2;
pkg/controller/podautoscaler/horizontal.go).

    every period:  scale ──▶ pods, metrics ──▶ the most replicas that a metric asks for ──▶ limits ──▶ scale, status

An autoscaler is looked at one period after it was made or changed, and every period from then on; nothing else makes it
come sooner. What was recommended and done lately is remembered here alone: a restart forgets it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from pilothouse.api import labels, quantity
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler, key_of
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.autoscaling import behaviour, replicas, status
from pilothouse.controllers.autoscaling.behaviour import History
from pilothouse.controllers.autoscaling.metrics import MetricsClient
from pilothouse.controllers.autoscaling.observed import Action, Error, Observed
from pilothouse.controllers.autoscaling.proposals import INVALID_TYPE, Named, Proposals, Scaled, Unavailable
from pilothouse.controllers.autoscaling.replicas import Patience, Tolerances
from pilothouse.controllers.autoscaling.targets import Found, NoTarget, Targets
from pilothouse.kit.work_queue import RateLimitedQueue

log = logging.getLogger(__name__)

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SYNC_S = 15.0
_ATTEMPTS, _RETRY_S = 5, 0.01
_SCALE = {"kind": "Scale", "apiVersion": "autoscaling/v1"}
_UNKNOWN_SCALE = "the HPA controller was unable to get the target's current scale: {}"


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """What the flags --horizontal-pod-autoscaler-* say. `to_zero` is the gate HPAScaleToZero."""

    sync_s: float = SYNC_S
    tolerance: float = replicas.TOLERANCE
    downscale_s: float = behaviour.DOWNSCALE_STABILIZATION_S
    patience: Patience = field(default_factory=Patience)
    to_zero: bool = False


class Failed(Exception):
    """This look at an autoscaler led to nothing; what is to be told is told. `spec`: because of what it asks for."""

    def __init__(self, message: str, *, spec: bool = False) -> None:
        super().__init__(message)
        self.spec = spec


class Wanted(NamedTuple):
    """What the metrics ask for. `problem` is that of a metric that could not be had, where others could."""

    replicas: int
    metric: str
    problem: str = ""


class Look:
    """One look at an autoscaler: what its status becomes, and what is told about it."""

    def __init__(self, controller: HorizontalPodAutoscalerController, hpa: Obj) -> None:
        self.hpa = hpa
        self.spec: Obj = hpa["spec"]
        self.namespace: str = hpa["metadata"]["namespace"]
        self.old: Obj = hpa.get("status") or {}
        self.new: Obj = dict(self.old)
        self.metrics: list[Obj] | None = None
        self.action: Action = "none"
        self._controller = controller

    @property
    def conditions(self) -> list[Obj]:
        return self.new.get("conditions") or []

    def condition(self, kind: str, is_true: bool, reason: str, message: str) -> None:
        now = self._controller.world.timestamp()
        self.new["conditions"] = status.with_condition(self.conditions, kind, is_true, reason, message, now)

    def tell(self, kind: str, reason: str, message: str) -> None:
        typed = {"apiVersion": AUTOSCALERS.group_version, "kind": AUTOSCALERS.kind}
        self._controller.recorder.event({**self.hpa, **typed}, kind, reason, message)

    def settle(self, current: int, desired: int, *, rescaled: bool = False) -> None:
        at = self._controller.world.timestamp() if rescaled else ""
        self.new = status.status(self.new, current, desired, self.metrics, at)

    def keep(self, current: int) -> None:
        """Nothing was decided: what was desired before stays."""
        self.settle(current, self.new.get("desiredReplicas", 0))


class HorizontalPodAutoscalerController(Controller):
    name: ClassVar[str] = "horizontalpodautoscaler"

    def __init__(self, env: Environment, settings: Autoscaling | None = None) -> None:
        super().__init__(env)
        self.settings = settings or Autoscaling()
        self._targets = Targets(env.client, env.world)
        self._proposals = Proposals(MetricsClient(env.client, self._targets), self.settings.patience)
        self._observed = Observed(env.metrics)
        self._histories: dict[str, History] = {}
        self._selectors: dict[str, dict[str, labels.Selector]] = {}
        """By namespace and name, of the autoscalers whose target was found: for those that share pods."""

    def setup(self) -> None:
        self._autoscalers = self.informer(AUTOSCALERS)
        self._autoscalers.add_handler(_InAPeriod(self.queue, self.settings.sync_s, self._observed))
        self._pods = self.informer(PODS)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))

    async def reconcile(self, key: str) -> float | None:
        hpa = self._autoscalers.get(key)
        if hpa is None:
            self._forget(key)
            return None
        look, started_s = Look(self, hpa), self.world.clock.monotonic()
        error: Error = "none"
        try:
            await self._scale(look, key)
        except Failed as failed:
            error = "spec" if failed.spec else "internal"
            log.info("%s: %s: %s", self.name, key, failed)
        await self._write(look)
        self._observed.desired(look.namespace, hpa["metadata"]["name"], look.new.get("desiredReplicas", 0))
        self._observed.reconciled(look.action, error, self.world.clock.monotonic() - started_s)
        return self.settings.sync_s

    def _forget(self, key: str) -> None:
        self._histories.pop(key, None)
        namespace, _, name = key.partition("/")
        near = self._selectors.get(namespace, {})
        near.pop(name, None)
        if not near:
            self._selectors.pop(namespace, None)
        self._observed.forget(namespace, name)

    async def _write(self, look: Look) -> None:
        if look.new == look.old:
            return
        typed = {"apiVersion": AUTOSCALERS.group_version, "kind": AUTOSCALERS.kind}
        try:
            await self.client.update(
                AUTOSCALERS, {**look.hpa, **typed, "status": look.new}, subresource="status"
            )
        except (ApiError, ConnectionError) as error:
            if isinstance(error, ApiError) and error.code == 404:
                return
            look.tell("Warning", "FailedUpdateStatus", str(error))
            log.info("%s: failed to update status for %s: %s", self.name, key_of(look.hpa), error)

    # -- one look ---------------------------------------------------------------------------------------

    async def _scale(self, look: Look, key: str) -> None:
        """Failed where nothing could be done, or not all."""
        found = await self._target(look)
        current = found.scale["spec"].get("replicas", 0)
        history = self._histories.setdefault(key, History())
        history.begin(current, self.world.now())
        least, most = look.spec.get("minReplicas") or 0, look.spec["maxReplicas"]
        if look.spec.get("minReplicas") is None:
            least = 1
        problem = reason = ""
        if not current and not self._may_leave_zero(look, least):
            desired = 0
            look.condition(
                status.ACTIVE,
                False,
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            )
        elif current > most:
            desired, reason = most, "Current number of replicas above Spec.MaxReplicas"
        elif current and current < least:
            desired, reason = least, "Current number of replicas below Spec.MinReplicas"
        else:
            wanted = await self._wanted(look, found, current)
            problem = wanted.problem
            up = wanted.replicas > current
            reason = f"{wanted.metric} above target" if up else "All metrics below target"
            desired = self._decided(look, history, least, current, wanted.replicas)
            if not current:
                desired = max(desired, least)
        if desired != current:
            await self._rescale(look, found, current, desired, reason)
            history.note(look.spec.get("behavior"), current, desired, self.world.now())
            look.action = "scale_up" if desired > current else "scale_down"
            self._mark_zero(look, least, current, desired)
        look.settle(current, desired, rescaled=desired != current)
        if problem:
            raise Failed(problem)

    async def _target(self, look: Look) -> Found:
        reference = look.spec["scaleTargetRef"]
        try:
            found = await self._targets.scale(reference, look.namespace)
        except (NoTarget, ApiError, ConnectionError) as error:
            look.tell("Warning", "FailedGetScale", str(error))
            look.condition(status.ABLE, False, "FailedGetScale", _UNKNOWN_SCALE.format(error))
            raise Failed(
                f"failed to query scale subresource for {_told(look)}: {error}",
                spec=reference.get("apiVersion", "").count("/") > 1,
            ) from None
        look.condition(
            status.ABLE,
            True,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )
        return found

    def _decided(self, look: Look, history: History, least: int, current: int, wanted: int) -> int:
        decision = behaviour.decide(
            look.spec, least, current, wanted, history, self.settings.downscale_s, self.world.now()
        )
        look.condition(status.ABLE, True, *decision.able)
        look.condition(status.LIMITED, decision.is_limited, *decision.limited)
        return decision.replicas

    async def _rescale(self, look: Look, found: Found, current: int, desired: int, reason: str) -> None:
        try:
            await self._put_scale(look, found, desired)
        except (ApiError, ConnectionError) as error:
            look.tell("Warning", "FailedRescale", f"New size: {desired}; reason: {reason}; error: {error}")
            look.condition(
                status.ABLE,
                False,
                "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )
            look.keep(current)
            raise Failed(f"failed to rescale {_told(look)}: {error}") from None
        look.condition(
            status.ABLE,
            True,
            "SucceededRescale",
            f"the HPA controller was able to update the target scale to {desired}",
        )
        look.tell("Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")

    async def _put_scale(self, look: Look, found: Found, desired: int) -> None:
        """Again on the newest scale when somebody was faster (retry.DefaultRetry)."""
        scale = found.scale
        for attempt in range(_ATTEMPTS):
            wanted = {**scale, **_SCALE, "spec": {**scale["spec"], "replicas": desired}}
            try:
                await self.client.update(found.resource, wanted, subresource="scale")
            except ApiError as error:
                if error.code != 409 or attempt == _ATTEMPTS - 1:
                    raise
                await self.world.clock.sleep(_RETRY_S)
                name = look.spec["scaleTargetRef"]["name"]
                scale = await self.client.get(found.resource, name, look.namespace, subresource="scale")
            else:
                return

    # -- zero (KEP-2021) --------------------------------------------------------------------------------

    def _may_leave_zero(self, look: Look, least: int) -> bool:
        """Only who was brought to zero here, by a metric that is there without pods."""
        if not self.settings.to_zero or not status.is_true(look.conditions, status.AT_ZERO):
            return False
        return bool(least) or _has_metric_without_pods(look.spec)

    def _mark_zero(self, look: Look, least: int, current: int, desired: int) -> None:
        if not self.settings.to_zero:
            return
        if current and not desired and not least and _has_metric_without_pods(look.spec):
            look.condition(
                status.AT_ZERO, True, "ScaledToZero", "the HPA controller scaled the workload to zero"
            )
        else:
            look.condition(
                status.AT_ZERO,
                False,
                "NotScaledToZero",
                "the HPA controller did not scale the workload to zero",
            )

    # -- metrics ----------------------------------------------------------------------------------------

    async def _wanted(self, look: Look, found: Found, current: int) -> Wanted:
        """The most that a metric asks for. Failed when none can be had, or one cannot and the others would go down:
        it might have asked for more."""
        scaled = self._scaled(look, found.scale)
        metrics, tolerances = look.spec.get("metrics") or [], self._tolerances(look.spec)
        look.metrics = [dict(status.UNKNOWN) for _ in metrics]
        most, of_which, failures = 0, "", []
        for i, metric in enumerate(metrics):
            try:
                named = await self._proposed(look, metric, scaled, tolerances)
            except Unavailable as error:
                look.tell("Warning", error.reason, error.cause)
                failures.append(error)
                continue
            look.metrics[i] = status.metric_status(metric, named.target, named.proposal)
            if not most or named.proposal.replicas > most:
                most, of_which = named.proposal.replicas, named.metric
        problem = _summed_up(failures, len(metrics))
        if len(failures) >= len(metrics) or (failures and most < current):
            if failures:
                why = f"the HPA was unable to compute the replica count: {failures[0].cause}"
                look.condition(status.ACTIVE, False, failures[0].reason, why)
            raise self._uncomputed(look, current, problem)
        look.condition(
            status.ACTIVE,
            True,
            "ValidMetricFound",
            f"the HPA was able to successfully calculate a replica count from {of_which}",
        )
        return Wanted(most, of_which, problem)

    def _uncomputed(self, look: Look, current: int, why: str) -> Failed:
        look.keep(current)
        look.tell("Warning", "FailedComputeMetricsReplicas", why)
        return Failed(f"failed to compute desired number of replicas based on listed metrics: {why}")

    async def _proposed(self, look: Look, metric: Obj, scaled: Scaled, tolerances: Tolerances) -> Named:
        current, started_s = look.old.get("currentReplicas", 0), self.world.clock.monotonic()
        action: Action = "none"
        error: Error = "internal"
        try:
            named = await self._proposals.of(metric, scaled, tolerances, self.world.now())
            error = "none"
            if named.proposal.replicas != current:
                action = "scale_up" if named.proposal.replicas > current else "scale_down"
            return named
        except Unavailable as unavailable:
            error = "spec" if unavailable.reason == INVALID_TYPE else "internal"
            raise
        finally:
            seconds = self.world.clock.monotonic() - started_s
            self._observed.computed(action, error, metric["type"], seconds)

    def _tolerances(self, spec: Obj) -> Tolerances:
        """The autoscaler's own where it has them (KEP-4951)."""
        rules = spec.get("behavior") or {}
        down, up = (self._tolerance(rules.get(key)) for key in ("scaleDown", "scaleUp"))
        return Tolerances(down, up)

    def _tolerance(self, rules: Obj | None) -> float:
        given = (rules or {}).get("tolerance")
        return self.settings.tolerance if given is None else quantity.parse(str(given)).nano / 1e9

    # -- pods -------------------------------------------------------------------------------------------

    def _scaled(self, look: Look, scale: Obj) -> Scaled:
        """The target with its pods. Failed where they are not this autoscaler's alone."""
        observed = scale.get("status") or {}
        current, text = scale["spec"].get("replicas", 0), observed.get("selector", "")
        if not text:
            told = "the HPA target's scale is missing a selector"
            raise self._unselected(look, current, "SelectorRequired", "selector is required", told)
        try:
            selector = labels.parse(text)
        except ValueError as error:
            why = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise self._unselected(look, current, "InvalidSelector", why) from None
        self._selectors.setdefault(look.namespace, {})[look.hpa["metadata"]["name"]] = selector
        near = self._pods.by_index("namespace", look.namespace)
        pods = [pod for pod in near if selector.matches(pod["metadata"].get("labels") or {})]
        sharing = self._autoscalers_of(look.namespace, pods)
        if len(sharing) > 1:
            shown = " ".join(f"{{{name} {look.namespace}}}" for name in sharing)
            why = f"pods by selector {text} are controlled by multiple HPAs: [{shown}]"
            raise self._unselected(look, current, "AmbiguousSelector", why)
        return Scaled(look.namespace, text, pods, current, observed.get("replicas", 0))

    def _unselected(self, look: Look, current: int, reason: str, why: str, told: str = "") -> Failed:
        look.tell("Warning", reason, why)
        condition = "InvalidSelector" if reason == "SelectorRequired" else reason
        look.condition(status.ACTIVE, False, condition, told or why)
        return self._uncomputed(look, current, why)

    def _autoscalers_of(self, namespace: str, pods: Iterable[Obj]) -> list[str]:
        """Names of the autoscalers that control any of these pods, as far as their targets are known."""
        near = self._selectors.get(namespace, {})
        if len(near) < 2:
            return list(near)
        found = {
            name
            for pod in pods
            for name, selector in near.items()
            if selector.matches(pod["metadata"].get("labels") or {})
        }
        return sorted(found)


def _summed_up(failures: list[Unavailable], count: int) -> str:
    if not failures:
        return ""
    return f"invalid metrics ({len(failures)} invalid out of {count}), first error is: {failures[0]}"


def _has_metric_without_pods(spec: Obj) -> bool:
    return any(metric["type"] in ("Object", "External") for metric in spec.get("metrics") or ())


def _told(look: Look) -> str:
    reference = look.spec["scaleTargetRef"]
    return f"{reference['kind']}/{look.namespace}/{reference['name']}"


class _InAPeriod(Handler):
    """Queues an autoscaler for the next period: of several times the earliest counts, so that changes of it make it
    come no sooner and no later (NewDefaultHPARateLimiter)."""

    def __init__(self, queue: RateLimitedQueue[str], period_s: float, observed: Observed) -> None:
        self._queue = queue
        self._period_s = period_s
        self._observed = observed
        self._known: set[str] = set()

    def on_add(self, obj: Obj) -> None:
        key = key_of(obj)
        self._known.add(key)
        self._observed.autoscalers(len(self._known))
        self._queue.add_after(key, self._period_s)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._queue.add_after(key_of(new), self._period_s)

    def on_delete(self, obj: Obj) -> None:
        key = key_of(obj)
        self._known.discard(key)
        self._observed.autoscalers(len(self._known))
        self._queue.add(key)
