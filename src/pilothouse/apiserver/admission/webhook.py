"""What both plugins that ask webhooks share: which of them a request is for, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic import rules
from pilothouse.apiserver.admission.dynamic.calling import Answer, CallFailed, Rejected, ask
from pilothouse.apiserver.admission.dynamic.expressions import Subject, activation, conditions
from pilothouse.apiserver.admission.dynamic.hooks import Hook, Hooks
from pilothouse.apiserver.admission.dynamic.matching import Matcher, Relevant, Request
from pilothouse.apiserver.admission.dynamic.seen import Seen
from pilothouse.apiserver.admission.dynamic_metrics import CALLING_ERROR, INTERNAL_ERROR, NO_ERROR
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin

Step = Literal["admit", "validate"]


def _rules(hook: Hook) -> tuple[Sequence[Obj], str | None]:
    return hook.config.get("rules") or (), hook.config.get("matchPolicy")


class Webhooks(Plugin):
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))
    resource: ClassVar[Resource]
    """Of the configurations."""
    step: ClassVar[Step]

    def __init__(self, env: Environment) -> None:
        """ValueError for a configuration: none of what it may hold is served."""
        if {*env.configuration.get(self.name, {})} - {"apiVersion", "kind"}:
            raise ValueError(
                f"{self.name}: credentials for webhooks (kubeConfigFile) and static manifests are not served yet: take "
                "them out of --admission-control-config-file"
            )
        self._env = env
        self._hooks = Hooks(env.lister, self.resource)
        self._named = Relevant(env, _rules)
        self._matcher = Matcher(env)
        self.idle: Callable[[], bool] | None = self._hooks.none

    def _relevant(self, a: Attributes) -> list[Hook]:
        return [] if rules.is_exempt(a) else self._named.of(self._hooks.now(), a)

    async def _subject(self, hook: Hook, a: Attributes, request: Request, seen: Seen) -> Subject | None:
        """What the webhook is to be asked about; None for nothing."""
        match = self._matcher.webhook(hook.config, a, request)
        if match is None:
            return None
        subject = Subject(a, request, match, await seen.new(match), await seen.old(match))
        if hook.conditions and not self._meets(hook, subject):
            return None
        return subject

    def _meets(self, hook: Hook, subject: Subject) -> bool:
        a, metrics = subject.a, self._env.metrics
        counted = (hook.name, "webhook", self.step, a.operation)
        verdict = conditions(
            hook.conditions,
            activation(subject, self._env.authorize),
            fails=not hook.ignores_failures,
            on_error=partial(metrics.condition_failed, *counted),
        )
        if verdict.error:
            resource = subject.request.resource
            raise errors.forbidden(resource.group, resource.plural, a.name, verdict.error)
        if not verdict.matches:
            metrics.excluded(*counted)
        return verdict.matches

    async def _ask(self, hook: Hook, subject: Subject) -> Answer | None:
        """Counted. None when the webhook failed and its policy is to ignore that; ApiError otherwise."""
        clock, metrics, operation = self._env.world.clock, self._env.metrics, subject.a.operation
        began_s = clock.monotonic()

        def count(code: int, error_type: str = "") -> None:
            if error_type:
                metrics.rejected(hook.name, self.step, operation, error_type, code)
            spent_s = clock.monotonic() - began_s
            metrics.called(hook.name, self.step, operation, spent_s, code, rejected=bool(error_type))

        try:
            answer = await ask(self._env, hook, subject, mutating=self.step == "admit")
        except CallFailed as failed:
            if not hook.ignores_failures:
                count(failed.code, CALLING_ERROR)
                raise errors.internal(str(failed)) from None
            count(failed.code)
            metrics.failed_open(hook.name, self.step)
            self._failed_open(hook, subject.a)
            return None
        except Rejected as no:
            count(no.code, NO_ERROR)
            raise
        except errors.ApiError:
            count(0, INTERNAL_ERROR)
            raise
        count(200)
        return answer

    def _failed_open(self, hook: Hook, a: Attributes) -> None:
        """Tell the audit event."""
