"""Errors that the API answers with, each a `metav1.Status`.

    ApiError                     any Status with a code of 400 or more
    (constructors below)         one per upstream constructor in k8s.io/apimachinery/pkg/api/errors

Server and clients share the class: the server raises it, a transport turns it into an answer, a client turns
the answer into it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.api import field
from pilothouse.api.types import Obj


class ApiError(Exception):
    """An answer that is a failure Status. `details` is the Status' details or None."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Obj | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def status(self) -> Obj:
        """The `metav1.Status` body."""
        body: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body

    @classmethod
    def from_status(cls, body: Obj, code: int = 0) -> ApiError:
        return cls(
            body.get("code") or code or 500,
            body.get("reason", ""),
            body.get("message", ""),
            body.get("details"),
        )


def qualified(group: str, resource: str) -> str:
    """`deployments.apps`, or `pods` for the core group."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str = "", **more: Any) -> Obj:
    """In upstream's details `kind` holds the resource for most errors, the kind for Invalid."""
    details: Obj = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details.update(more)
    return details


def not_found(group: str, resource: str, name: str) -> ApiError:
    message = f"{qualified(group, resource)} {field.go_quote(name)} not found"
    return ApiError(404, "NotFound", message, _details(group, resource, name))


def already_exists(group: str, resource: str, name: str) -> ApiError:
    message = f"{qualified(group, resource)} {field.go_quote(name)} already exists"
    return ApiError(409, "AlreadyExists", message, _details(group, resource, name))


def generated_name_conflict(group: str, resource: str, name: str) -> ApiError:
    """No attempt at a generated name found a free one: try again in a second."""
    error = already_exists(group, resource, name)
    error.message += ", the server was not able to generate a unique name for the object"
    assert error.details is not None
    error.details["retryAfterSeconds"] = 1
    return error


def conflict(group: str, resource: str, name: str, why: str) -> ApiError:
    message = f"Operation cannot be fulfilled on {qualified(group, resource)} {field.go_quote(name)}: {why}"
    return ApiError(409, "Conflict", message, _details(group, resource, name))


OPTIMISTIC_LOCK = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def invalid(group: str, kind: str, name: str, errors: Sequence[field.FieldError]) -> ApiError:
    causes = [{"reason": e.type.value, "message": e.body(), "field": e.field} for e in errors]
    message = f"{qualified(group, kind)} {field.go_quote(name)} is invalid"
    if errors:
        message += ": " + field.aggregate(errors)
    details = _details(group, kind, name)
    if causes:
        details["causes"] = causes
    return ApiError(422, "Invalid", message, details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, resource: str, name: str, why: str) -> ApiError:
    """The general form of NewForbidden; authorization has its own sentence as `why`."""
    if resource:
        subject = qualified(group, resource)
        message = (
            f"{subject} {field.go_quote(name)} is forbidden: {why}"
            if name
            else f"{subject} is forbidden: {why}"
        )
    else:
        message = f"forbidden: {why}"
    return ApiError(403, "Forbidden", message, _details(group, resource, name))


def method_not_supported() -> ApiError:
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def resource_not_found() -> ApiError:
    """A path that names no resource we serve."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def internal(message: str) -> ApiError:
    return ApiError(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )


def too_many_requests(message: str, retry_after_s: int) -> ApiError:
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    return ApiError(429, "TooManyRequests", message, details)


def timeout(message: str) -> ApiError:
    return ApiError(504, "Timeout", f"Timeout: {message}", {})


def request_too_large(message: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(message: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(message: str) -> ApiError:
    return ApiError(406, "NotAcceptable", message)


def service_unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)
