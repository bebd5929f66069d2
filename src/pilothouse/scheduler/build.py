"""From a configuration to profiles with their plugins (pkg/scheduler/profile NewMap).

Plugins are our own, by `plugins.registry`, or somebody else's: those handed in, and the entry points of the group
`pilothouse.scheduler_plugins`, looked for when a configuration names a plugin that is none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import entry_points

from pilothouse.api import field
from pilothouse.api.types import Obj
from pilothouse.scheduler.config import defaults
from pilothouse.scheduler.config import profiles as plan
from pilothouse.scheduler.config.plugin_sets import enabled_names, with_own
from pilothouse.scheduler.config.profiles import ProfileError
from pilothouse.scheduler.config.validation import timeout_s, validate
from pilothouse.scheduler.extenders.extender import NAME as EXTENDER
from pilothouse.scheduler.extenders.extender import Extender, ExtenderBinder
from pilothouse.scheduler.extenders.http import HttpSender
from pilothouse.scheduler.framework import INTERFACES, Plugin
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import ANYTHING
from pilothouse.scheduler.plugins import registry
from pilothouse.scheduler.profile import Profile

ENTRY_POINTS = "pilothouse.scheduler_plugins"

Factory = Callable[[Obj, Handle], Plugin]
"""Makes a plugin of its arguments, {} when it has none. ValueError when they are wrong."""


def checked(config: Obj, features: Collection[str] = ()) -> Obj:
    """The configuration with the defaults of the gates that are on. ProfileError when it is not valid."""
    config = defaults.with_features(config, features)
    errors = validate(config, features)
    if errors:
        raise ProfileError(field.aggregate(errors))
    return config


def extenders(config: Obj) -> list[Extender]:
    """ProfileError for TLS settings that cannot be used."""
    found = []
    for each in config.get("extenders") or ():
        try:
            found.append(Extender(each, HttpSender(each, timeout_s(each))))
        except ValueError as error:
            raise ProfileError(f"extender {each['urlPrefix']}: {error}") from error
    return found


def profiles(
    config: Obj,
    handle: Handle,
    more: Mapping[str, Factory] | None = None,
    extenders: Sequence[Extender] = (),
) -> dict[str, Profile]:
    """Profiles by scheduler name; `more` are plugins that are no entry points. ProfileError in upstream's words."""
    found: dict[str, Profile] = {}
    foreign = out_of_tree(config, more or {})
    ask = registry.questions(handle)
    for each in config["profiles"]:
        name = each["schedulerName"]
        try:
            found[name] = _extended(_profile(each, config, handle, ask, foreign), extenders)
        except ValueError as error:
            raise ProfileError(
                f"initializing profiles: creating profile for scheduler name {name}: {error}"
            ) from error
    return found


def _extended(profile: Profile, extenders: Sequence[Extender]) -> Profile:
    """An extender that binds goes before the plugins that do; nobody knows what would change its mind."""
    if extenders:
        binders = [ExtenderBinder(extender) for extender in extenders if extender.does("bind")]
        profile.bind = (*binders, *profile.bind)
        profile.registrations[EXTENDER] = ANYTHING
    return profile


def _profile(
    profile: Obj, config: Obj, handle: Handle, ask: registry.Questions, foreign: Mapping[str, Factory]
) -> Profile:
    profile = with_own(profile)
    arguments = plan.arguments(profile)
    plugins: dict[str, Plugin] = {}
    for name in enabled_names(profile["plugins"]):
        try:
            made = _make(name, arguments.get(name, {}), config, handle, ask, foreign)
        except ValueError as error:
            raise ProfileError(f'initializing plugin "{name}": {error}') from error
        if made is not None:
            plugins[name] = made
    points = plan.expanded(profile, plugins, lambda name, point: _extends(plugins[name], name, point))
    share = profile.get("percentageOfNodesToScore")
    return Profile(
        plugins.values(),
        plan.weights(profile),
        profile["schedulerName"],
        points=plan.implementing(points, plugins),
        percentage=config["percentageOfNodesToScore"] if share is None else share,
    )


def _make(
    name: str,
    args: Obj,
    config: Obj,
    handle: Handle,
    ask: registry.Questions,
    foreign: Mapping[str, Factory],
) -> Plugin | None:
    """None for a plugin that nobody knows."""
    if name in registry.names():
        return registry.make(name, _with_ignored(name, args, config), ask, handle)
    return foreign[name](args, handle) if name in foreign else None


def _with_ignored(name: str, args: Obj, config: Obj) -> Obj:
    """Resources that an extender looks after, and asks the scheduler not to (buildExtenders)."""
    if name != "NodeResourcesFit":
        return args
    ignored = [
        resource["name"]
        for extender in config.get("extenders") or ()
        for resource in extender.get("managedResources") or ()
        if resource.get("ignoredByScheduler")
    ]
    return {**args, "ignoredResources": [*(args.get("ignoredResources") or ()), *ignored]}


def _extends(plugin: Plugin, name: str, point: str) -> bool:
    points = registry.POINTS.get(name)
    return point in points if points is not None else isinstance(plugin, INTERFACES[point])


def out_of_tree(config: Obj, more: Mapping[str, Factory]) -> dict[str, Factory]:
    """The plugins that a configuration names and that are none of ours. ProfileError when one has a name of ours."""
    _refuse_taken(more)
    wanted = {name for each in config["profiles"] for name in enabled_names(each["plugins"])}
    found = {name: make for name, make in more.items() if name in wanted}
    missing = wanted - registry.names() - found.keys()
    if missing:
        installed = entry_points(group=ENTRY_POINTS)
        _refuse_taken(installed.names)
        found |= {name: installed[name].load() for name in missing & installed.names}
    return found


def _refuse_taken(names: Collection[str]) -> None:
    for name in sorted(registry.names() & set(names)):
        raise ProfileError(f"a plugin named {name} already exists")
