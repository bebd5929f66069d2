"""How a server that we call is named: a URL or a service (k8s.io/apiserver/pkg/util/webhook/validation.go).

Used by webhook configurations and by the conversion of custom resources.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names

URL_FORM = "; desired format: https://host[/path]"


def client_config(config: Obj, path: str) -> f.Errors:
    """A webhook's clientConfig: exactly one of url and service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [f.required(path, "exactly one of url or service is required")]
    if url is not None:
        return webhook_url(url, f"{path}.url")
    return service_reference(service or {}, f"{path}.service")


def webhook_url(url: str, path: str) -> f.Errors:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [f.required(path, f'url must be a valid URL: parse "{url}": {error}{URL_FORM}')]
    errors: f.Errors = []
    if parts.scheme != "https":
        errors.append(f.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{URL_FORM}"))
    user, at, host = parts.netloc.rpartition("@")
    if not host:
        errors.append(f.invalid(path, host, f"host must be provided{URL_FORM}"))
    if at:
        errors.append(f.invalid(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        errors.append(f.invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        errors.append(f.invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return errors


def service_reference(service: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    # Upstream's callers hand name and namespace over in the wrong order, so each is reported as the other.
    if not service.get("namespace"):
        errors.append(f.required(f"{path}.name"))
    if not service.get("name"):
        errors.append(f.required(f"{path}.namespace"))
    errors += port(service.get("port", 0), f"{path}.port")
    url_path = service.get("path")
    if url_path:
        errors += _service_path(url_path, f"{path}.path")
    return errors


def port(number: int, path: str) -> f.Errors:
    if 1 <= number <= 65535:
        return []
    return [f.invalid(path, number, "port is not valid: must be between 1 and 65535, inclusive")]


def _service_path(url_path: str, path: str) -> f.Errors:
    if url_path == "/":
        return []
    if url_path == "//":
        return [f.invalid(path, url_path, "segment[0] may not be empty")]
    errors: f.Errors = []
    if not url_path.startswith("/"):
        errors.append(f.invalid(path, url_path, "must start with a '/'"))
    for i, step in enumerate(url_path[1:].removesuffix("/").split("/")):
        if not step:
            errors.append(f.invalid(path, url_path, f"segment[{i}] may not be empty"))
            continue
        for text in names.is_dns1123_subdomain(step):
            errors.append(f.invalid(path, url_path, f"segment[{i}]: {text}"))
    return errors
