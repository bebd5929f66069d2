"""From a profile's plugin sets to the plugins that run at each extension point
(pkg/scheduler/framework/runtime/framework.go NewFramework and expandMultiPointPlugins, pkg/scheduler/profile).

Three rules of precedence: what is enabled at an extension point itself, then what is enabled at `multiPoint`; and what
is disabled at an extension point does not come there by `multiPoint`. At one point run first the plugins that are
enabled both ways, then those of `multiPoint`, then the rest, each part in the order in which it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pilothouse.api.types import Obj
from pilothouse.scheduler.config import defaults, plugin_sets
from pilothouse.scheduler.config.plugin_sets import EVERY
from pilothouse.scheduler.config.structure import MULTI
from pilothouse.scheduler.framework import INTERFACES, Plugin

Extends = Callable[[str, str], bool]
"""Whether a plugin, by name, has something to do at an extension point."""

_IN_ORDER = (
    "preFilter",
    "filter",
    "postFilter",
    "reserve",
    "preScore",
    "score",
    "preBind",
    "bind",
    "postBind",
    "permit",
    "preEnqueue",
    "queueSort",
)
"""As upstream goes through them: which of two mistakes is told first depends on it."""


class ProfileError(ValueError):
    """A profile that cannot be built, in upstream's words."""


def expanded(profile: Obj, known: Collection[str], extends: Extends) -> dict[str, list[str]]:
    """By extension point the names of the plugins that run there, in order. ProfileError."""
    plugins, name = profile["plugins"], profile["schedulerName"]
    for point in _IN_ORDER:
        _check_explicit(point, _names(plugins[point].get("enabled")), known, extends)
    multi = _names(plugins[MULTI].get("enabled"))
    points = {point: _at(point, plugins[point], multi, known, extends) for point in _IN_ORDER}
    sorters = len(points["queueSort"])
    if sorters != 1:
        raise ProfileError(
            f'only one queue sort plugin required for profile with scheduler name "{name}", but got {sorters}'
        )
    if not points["bind"]:
        raise ProfileError(f'at least one bind plugin is needed for profile with scheduler name "{name}"')
    return points


def _names(plugins: Sequence[Obj] | None) -> list[str]:
    return [plugin["name"] for plugin in plugins or ()]


def _interface(point: str) -> str:
    """Upstream's name for what a plugin must be at a point: PreFilterPlugin."""
    return f"{point[0].upper()}{point[1:]}Plugin"


def _check_explicit(point: str, enabled: list[str], known: Collection[str], extends: Extends) -> None:
    interface = _interface(point)
    for number, name in enumerate(enabled):
        if name not in known:
            raise ProfileError(f'{interface} "{name}" does not exist')
        if not extends(name, point):
            raise ProfileError(f'plugin "{name}" does not extend {interface} plugin')
        if name in enabled[:number]:
            raise ProfileError(f'plugin "{name}" already registered as "{interface}"')


def _at(point: str, given: Obj, multi: list[str], known: Collection[str], extends: Extends) -> list[str]:
    explicit = _names(given.get("enabled"))
    disabled = plugin_sets.names(given.get("disabled"))
    if EVERY in disabled:
        return explicit
    overridden: set[str] = set()
    added: list[str] = []
    for name in multi:
        if name not in known:
            raise ProfileError(f'{_interface(point)} "{name}" does not exist')
        if not extends(name, point) or name in disabled:
            continue
        if name in explicit:
            overridden.add(name)
        elif name in added:
            raise ProfileError(f'plugin "{name}" already registered as "{_interface(point)}"')
        else:
            added.append(name)
    first = [name for name in explicit if name in overridden]
    return [*first, *added, *(name for name in explicit if name not in overridden)]


def weights(profile: Obj) -> dict[str, int]:
    """Of scores, by plugin: what `score` says goes before what `multiPoint` says; 0 is 1 (getScoreWeights)."""
    plugins = profile["plugins"]
    found: dict[str, int] = {}
    for point in ("score", MULTI):
        for plugin in plugins[point].get("enabled") or ():
            found.setdefault(plugin["name"], plugin.get("weight") or 1)
    return found


def arguments(profile: Obj) -> dict[str, Obj]:
    """By plugin; one that is enabled without any has its defaults."""
    found: dict[str, Obj] = {}
    for entry in profile["pluginConfig"]:
        if entry["name"] in found:
            raise ProfileError(f"repeated config for plugin {entry['name']}")
        found[entry["name"]] = entry.get("args") or {}
    for name in plugin_sets.enabled_names(profile["plugins"]):
        if name not in found:
            found[name] = defaults.plugin_args(name, {})
    return found


def implementing(
    points: Mapping[str, Sequence[str]], plugins: Mapping[str, Plugin]
) -> dict[type[Plugin], tuple[Plugin, ...]]:
    """The plugins themselves, by interface. One that has nothing to do at a point, as its columns need no
    preparation, is left out there."""
    return {
        interface: tuple(plugins[name] for name in points[point] if isinstance(plugins[name], interface))
        for point, interface in INTERFACES.items()
    }
