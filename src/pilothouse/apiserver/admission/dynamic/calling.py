"""One webhook asked: an AdmissionReview goes out, and what comes back is checked
(k8s.io/apiserver/pkg/admission/plugin/webhook/request, errors; https://kubernetes.io/docs/reference/access-authn-authz/
extensible-admission-controllers/#webhook-request-and-response).

    CallFailed    it could not be asked or made no sense: failurePolicy decides
    ApiError      it refused, or the server cannot go on: the request fails
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import msgspec

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic import request as requests
from pilothouse.apiserver.admission.dynamic.expressions import Subject
from pilothouse.apiserver.admission.dynamic.hooks import Hook
from pilothouse.apiserver.admission.plugin import Environment
from pilothouse.apiserver.webhook_client import WebhookError

GROUP = "admission.k8s.io"
_TIMEOUT_S = 10
_DRY_RUN_SAFE = ("None", "NoneOnDryRun")
_VERSIONS = ("v1", "v1beta1")


class CallFailed(Exception):
    """`failed calling webhook "x": …`, and the code that metrics count."""

    def __init__(self, hook: Hook, why: str, code: int) -> None:
        super().__init__(f"failed calling webhook {go_quote(hook.name)}: {why}")
        self.code = code


class Rejected(errors.ApiError):
    """The webhook's no."""


class Answer(NamedTuple):
    """A yes. `patch` is a JSON patch, or b""."""

    patch: bytes


async def ask(env: Environment, hook: Hook, subject: Subject, *, mutating: bool) -> Answer:
    """Raises CallFailed, Rejected (the webhook's no) or another ApiError."""
    if subject.a.dry_run and hook.config.get("sideEffects") not in _DRY_RUN_SAFE:
        raise errors.bad_request(f"admission webhook {go_quote(hook.name)} does not support dry run")
    known = [v for v in hook.config.get("admissionReviewVersions") or ("v1",) if v in _VERSIONS]
    if not known:
        why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        raise CallFailed(hook, why, 400)
    uid = env.world.uid()
    review: Obj = {
        "kind": "AdmissionReview",
        "apiVersion": f"{GROUP}/{known[0]}",
        "request": _request(uid, subject),
    }
    timeout_s = float(hook.config.get("timeoutSeconds") or _TIMEOUT_S)
    body = msgspec.json.encode(review)
    try:
        answer = msgspec.json.decode(await env.post(hook.config["clientConfig"], body, timeout_s))
    except WebhookError as error:
        raise CallFailed(hook, f"failed to call webhook: {error}", error.code) from None
    except msgspec.DecodeError as error:
        raise CallFailed(hook, f"failed to call webhook: couldn't decode the answer: {error}", 503) from None
    try:
        response = _checked(answer, uid, known[0], mutating=mutating)
        patch = base64.b64decode(response.get("patch") or "", validate=True)
    except (ValueError, binascii.Error) as error:
        raise CallFailed(hook, f"received invalid webhook response: {error}", 503) from None
    _tell(subject, hook, response)
    if not response.get("allowed"):
        raise rejection(hook.name, response.get("status"))
    return Answer(patch)


def _request(uid: str, subject: Subject) -> Obj:
    described = requests.described(subject.a, subject.request, subject.match)
    at_end = {key: described.pop(key) for key in ("dryRun", "options")}
    return {"uid": uid, **described, "object": subject.obj, "oldObject": subject.old, **at_end}


def _checked(answer: Any, uid: str, version: str, *, mutating: bool) -> Obj:
    """The response of a review. ValueError in upstream's words (VerifyAdmissionResponse)."""
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise ValueError("webhook response was absent")
    if version == "v1beta1":
        # Never held to more: its webhooks were there before the rules.
        return response
    if response.get("uid", "") != uid:
        raise ValueError(
            f"expected response.uid={go_quote(uid)}, got {go_quote(str(response.get('uid', '')))}"
        )
    found = (answer.get("apiVersion") or "", answer.get("kind") or "")
    if found != (f"{GROUP}/v1", "AdmissionReview"):
        wanted = f"{GROUP}/v1, Kind=AdmissionReview"
        raise ValueError(f"expected webhook response of {wanted}, got {found[0]}, Kind={found[1]}")
    _check_patch(response, mutating=mutating)
    return response


def _check_patch(response: Obj, *, mutating: bool) -> None:
    patch, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if patch:
            raise ValueError("validating webhook may not return response.patch")
        if kind is not None:
            raise ValueError("validating webhook may not return response.patchType")
        return
    if patch and kind is None:
        raise ValueError("webhook returned response.patch but not response.patchType")
    if not patch and kind is not None:
        raise ValueError("webhook returned response.patchType but not response.patch")
    if kind is not None and kind != "JSONPatch":
        raise ValueError(f"webhook returned invalid response.patchType of {go_quote(str(kind))}")


def _tell(subject: Subject, hook: Hook, response: Obj) -> None:
    """Warnings go to the client, annotations to the audit event; both also with a no."""
    for key, value in (response.get("auditAnnotations") or {}).items():
        subject.a.annotate(f"{hook.name}/{key}", value)
    subject.a.warnings.extend(str(text) for text in response.get("warnings") or ())


def rejection(hook: str, status: Obj | None) -> Rejected:
    """A webhook's no as the client gets it (errors.ToStatusErr)."""
    given = status or {}
    reason = str(given.get("reason") or "")
    said = given.get("message") or reason
    denied = f"admission webhook {go_quote(hook)} denied the request"
    message = f"{denied}: {said}" if said else f"{denied} without explanation"
    return Rejected(max(400, int(given.get("code") or 0)), reason, message, given.get("details"))
