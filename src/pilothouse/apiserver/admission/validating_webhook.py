"""Webhooks that may refuse a request, asked all at once
(k8s.io/apiserver/pkg/admission/plugin/webhook/validating)."""

from __future__ import annotations

import asyncio

from pilothouse.api.resources import VALIDATING_WEBHOOK_CONFIGURATIONS
from pilothouse.apiserver.admission.dynamic.expressions import Subject
from pilothouse.apiserver.admission.dynamic.hooks import Hook
from pilothouse.apiserver.admission.dynamic.matching import request_of
from pilothouse.apiserver.admission.dynamic.seen import Seen
from pilothouse.apiserver.admission.plugin import Attributes
from pilothouse.apiserver.admission.webhook import Webhooks

_FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io/"


class ValidatingAdmissionWebhook(Webhooks):
    name = "ValidatingAdmissionWebhook"
    resource = VALIDATING_WEBHOOK_CONFIGURATIONS
    step = "validate"

    async def validate(self, a: Attributes) -> None:
        hooks = self._relevant(a)
        if not hooks:
            return
        request = request_of(a)
        seen = Seen(self._env, a, request)
        asked: list[tuple[Hook, Subject]] = []
        for hook in hooks:
            subject = await self._subject(hook, a, request, seen)
            if subject is not None:
                asked.append((hook, subject))
        if len(asked) == 1:
            await self._ask(*asked[0])
            return
        # All are asked to the end, whoever refuses first.
        answers = await asyncio.gather(*(self._ask(*one) for one in asked), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _failed_open(self, hook: Hook, a: Attributes) -> None:
        at = sum(key.startswith(_FAILED_OPEN) for key in a.annotations or ())
        a.annotate(f"{_FAILED_OPEN}round_0_index_{at}", hook.name)
