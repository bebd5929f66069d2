"""Conversion between versions (validation.validateCustomResourceConversion)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names, webhooks
from pilothouse.api.validation.pem import ca_bundle_error

STRATEGIES = ("None", "Webhook")
REVIEW_VERSIONS = ("v1", "v1beta1")


def validate(
    conversion: Obj | None, path: str, *, need_known_version: bool, allow_invalid_bundle: bool
) -> f.Errors:
    if conversion is None:
        return []
    errors = _strategy(conversion["strategy"], f"{path}.strategy")
    config, at = conversion.get("webhookClientConfig"), f"{path}.webhookClientConfig"
    versions = conversion.get("conversionReviewVersions") or []
    if conversion["strategy"] == "Webhook":
        if config is None:
            errors.append(f.required(at, "required when strategy is set to Webhook"))
        else:
            errors += _client_config(config, at, allow_invalid_bundle)
        return errors + _review_versions(versions, f"{path}.conversionReviewVersions", need_known_version)
    why = "should not be set when strategy is not set to Webhook"
    if config is not None:
        errors.append(f.forbidden(at, why))
    if versions:
        errors.append(f.forbidden(f"{path}.conversionReviewVersions", why))
    return errors


def _strategy(strategy: str, path: str) -> f.Errors:
    if not strategy:
        return [f.required(path)]
    return [] if strategy in STRATEGIES else [f.not_supported(path, strategy, STRATEGIES)]


def _client_config(config: Obj, path: str, allow_invalid_bundle: bool) -> f.Errors:
    errors = webhooks.client_config(config, path)
    if config.get("caBundle") and not allow_invalid_bundle:
        errors += _ca_bundle(config["caBundle"], f"{path}.caBundle")
    return errors


def _ca_bundle(bundle: str, path: str) -> f.Errors:
    why = ca_bundle_error(b64decode(bundle))
    return [f.invalid(path, bundle, f"unable to load root certificates: {why}")] if why else []


def has_invalid_bundle(conversion: Obj | None) -> bool:
    config: Obj = (conversion or {}).get("webhookClientConfig") or {}
    bundle: str = config.get("caBundle") or ""
    return bool(bundle) and bool(ca_bundle_error(b64decode(bundle)))


def has_known_version(versions: Sequence[str]) -> bool:
    """Also when there is none at all."""
    return not versions or any(version in REVIEW_VERSIONS for version in versions)


def _review_versions(versions: Sequence[str], path: str, need_known: bool) -> f.Errors:
    if not versions:
        return [f.required(path)]
    errors: f.Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errors.append(f.invalid(f"{path}[{i}]", version, "duplicate version"))
            continue
        errors += [f.invalid(f"{path}[{i}]", version, text) for text in names.is_dns1035_label(version)]
    if need_known and not has_known_version(versions):
        why = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        errors.append(f.invalid(path, versions, why))
    return errors
