"""Webhooks that may change an object, asked one after the other
(k8s.io/apiserver/pkg/admission/plugin/webhook/mutating).

What one makes of the object, the next one sees. When the object changed, all plugins are asked once more, and of the
webhooks those with reinvocationPolicy IfNeeded that somebody changed something after.
"""

from __future__ import annotations

from copy import deepcopy

import msgspec

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import MUTATING_WEBHOOK_CONFIGURATIONS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.calling import CallFailed
from pilothouse.apiserver.admission.dynamic.expressions import Subject
from pilothouse.apiserver.admission.dynamic.hooks import Hook
from pilothouse.apiserver.admission.dynamic.matching import Request, request_of
from pilothouse.apiserver.admission.dynamic.seen import Seen, same
from pilothouse.apiserver.admission.plugin import Attributes, Reinvoked, Rounds
from pilothouse.apiserver.admission.webhook import Webhooks
from pilothouse.apiserver.endpoints.patch import json_patch

_MUTATION = "mutation.webhook.admission.k8s.io/"
_PATCH = "patch.webhook.admission.k8s.io/"
_FAILED_OPEN = f"failed-open.{_MUTATION}"


class MutatingAdmissionWebhook(Webhooks):
    name = "MutatingAdmissionWebhook"
    resource = MUTATING_WEBHOOK_CONFIGURATIONS
    step = "admit"

    async def admit(self, a: Attributes) -> None:
        hooks = self._relevant(a)
        if not hooks:
            return
        request = request_of(a)
        rounds = a.rounds or Rounds()
        mine = rounds.of(self.name)
        if rounds.again and not same(mine.left, a.obj):
            mine.changed()
        seen = Seen(self._env, a, request)
        for at, hook in enumerate(hooks):
            await self._admit(hook, f"round_{int(rounds.again)}_index_{at}", request, seen, a, rounds, mine)
        mine.left = deepcopy(a.obj) if a.rounds is not None else None

    async def _admit(
        self,
        hook: Hook,
        where: str,
        request: Request,
        seen: Seen,
        a: Attributes,
        rounds: Rounds,
        mine: Reinvoked,
    ) -> None:
        subject = await self._subject(hook, a, request, seen)
        if subject is None or (rounds.again and hook.key not in mine.due):
            return
        changed = False
        try:
            changed = await self._mutated(hook, where, subject, seen)
        finally:
            a.annotate(f"{_MUTATION}{where}", _told(hook, mutated=changed))
        if changed:
            a.rounds = rounds
            rounds.wanted = True
            mine.changed()
        if hook.config.get("reinvocationPolicy") == "IfNeeded":
            mine.eligible.add(hook.key)

    async def _mutated(self, hook: Hook, where: str, subject: Subject, seen: Seen) -> bool:
        """Ask, and do what the webhook wants; whether that changed anything."""
        answer = await self._ask(hook, subject)
        if answer is None:
            subject.a.annotate(f"{_FAILED_OPEN}{where}", hook.name)
        if answer is None or not answer.patch:
            return False
        operations = self._operations(hook, answer.patch)
        if not operations:
            return False
        if subject.obj is None:
            raise errors.internal(
                f"admission webhook {go_quote(hook.name)} attempted to modify the object, which is not supported for "
                "this operation"
            )
        try:
            patched = json_patch.apply(subject.obj, operations)
            changed = not same(patched, subject.obj)
            await seen.put(deepcopy(patched), subject.match)
        except (errors.ApiError, ValueError) as error:
            raise errors.internal(str(error)) from None
        told = {"patch": operations, "patchType": "JSONPatch"}
        subject.a.annotate(f"{_PATCH}{where}", _told(hook, **told))
        return changed

    def _operations(self, hook: Hook, patch: bytes) -> list[Obj]:
        """ApiError for a patch that is none, unless the webhook's failures are to be ignored."""
        try:
            return json_patch.read(patch)[0]
        except errors.ApiError as error:
            why = f"received undecodable patch in webhook response: {error.message}"
            if hook.ignores_failures:
                return []
            raise errors.internal(str(CallFailed(hook, why, 503))) from None


def _told(hook: Hook, **more: object) -> str:
    return msgspec.json.encode({"configuration": hook.configuration, "webhook": hook.name, **more}).decode()
