"""Plugins of other packages: docs/scheduler-plugins.md as it stands, by real entry points, and what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pilothouse.api.types import Obj
from pilothouse.client.informer import Informers
from pilothouse.kit.world import simulated_world
from pilothouse.scheduler import build
from pilothouse.scheduler.config import load
from pilothouse.scheduler.config.profiles import ProfileError
from pilothouse.scheduler.cycle import Unschedulable, decide, scores
from pilothouse.scheduler.framework import PluginFailed
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.per_node import per_node
from pilothouse.scheduler.profile import Profile
from tests.unit.scheduler import builders as b

PAGE = Path(__file__).parents[3] / "docs" / "scheduler-plugins.md"
HEAD = b"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def _handle() -> Handle:
    """As far as making plugins needs one."""
    nobody = cast("Any", None)
    world = simulated_world(1)
    return Handle(nobody, Informers(nobody, world), world, nobody, Nominator())


def _profile(config: Obj, **plugins: Any) -> Profile:
    return build.profiles(build.checked(config), _handle(), plugins)["default-scheduler"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's modules, installed as a package is: with metadata that importlib finds."""
    for block in _blocks("python"):
        match = re.match(r"# (\w+\.py)\n", block)
        assert match is not None
        (tmp_path / match[1]).write_text(block)
    info = tmp_path / "site_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: site-plugins\nVersion: 1.0\n")
    points = "RackPower = rack_power:make\nQuietZones = quiet_zones:QuietZones\n"
    (info / "entry_points.txt").write_text(f"[{build.ENTRY_POINTS}]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))


def _watts(obj: Obj, watts: int) -> Obj:
    obj["metadata"]["annotations"] = {"example.com/watts": str(watts)}
    return obj


@pytest.mark.usefixtures("installed")
def test_the_pages_plugin_of_functions_does_what_the_page_says() -> None:
    profile = _profile(load.parse(_blocks("yaml")[0].encode()))
    assert "RackPower" in [plugin.name for plugin in profile.filter]
    assert profile.weight(profile.score[-1]) == 3
    table = b.table([_watts(b.node("weak"), 100), _watts(b.node("strong"), 900)])
    assert decide(b.cycle(_watts(b.pod(), 60), table, using=profile)) == "strong"
    with pytest.raises(Unschedulable) as caught:
        decide(b.cycle(_watts(b.pod(), 2000), table, using=profile))
    assert str(caught.value) == "0/2 nodes are available: 2 Insufficient power."


@pytest.mark.usefixtures("installed")
def test_the_pages_plugin_on_columns_does_what_the_page_says() -> None:
    config = load.parse(HEAD + b"profiles: [{plugins: {multiPoint: {enabled: [{name: QuietZones}]}}}]")
    profile = _profile(config)
    table = b.table([b.node("hush", labels={"example.com/quiet": "true"}), b.node("loud")])
    for _ in range(5):
        assert decide(b.cycle(b.pod(labels={"noisy": "true"}), table, using=profile)) == "loud"
    quiet = profile.score[-1]
    there = b.table([b.node("a"), b.node("b")], [b.pod(on="a")])
    assert list(quiet.score(b.cycle(b.pod(), there), np.arange(2))) == [0, 100]


def test_every_other_plugin_of_the_profile_runs_too() -> None:
    config = load.parse(HEAD + b"profiles: [{plugins: {filter: {enabled: [{name: Mine}]}}}]")
    mine = _profile(config, Mine=lambda args, handle: per_node("Mine", filter=lambda pod, node: None))
    assert [plugin.name for plugin in mine.filter][-1] == "Mine"
    assert "NodeResourcesFit" in [plugin.name for plugin in mine.filter]


def test_what_cannot_be_made_is_told_in_upstreams_words() -> None:
    config = load.parse(HEAD + b"profiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]")
    where = "initializing profiles: creating profile for scheduler name default-scheduler: "
    with pytest.raises(ProfileError) as unknown:
        _profile(config)
    assert str(unknown.value) == f'{where}ScorePlugin "Mine" does not exist'
    with pytest.raises(ProfileError) as filters:
        _profile(config, Mine=lambda args, handle: per_node("Mine", filter=lambda pod, node: ""))
    assert str(filters.value) == f'{where}plugin "Mine" does not extend ScorePlugin plugin'

    def picky(args: Obj, handle: Handle) -> Any:
        raise ValueError("watts: Required value")

    with pytest.raises(ProfileError) as refused:
        _profile(config, Mine=picky)
    assert str(refused.value) == f'{where}initializing plugin "Mine": watts: Required value'
    with pytest.raises(ProfileError) as taken:
        _profile(config, NodeName=picky)
    assert str(taken.value) == "a plugin named NodeName already exists"


def test_fit_args_are_checked_when_the_plugin_is_made() -> None:
    """As upstream, whose table of validations misses NodeResourcesFitArgs."""
    text = b"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]"
    with pytest.raises(ProfileError) as caught:
        _profile(load.parse(HEAD + text))
    assert str(caught.value) == (
        "initializing profiles: creating profile for scheduler name default-scheduler: initializing plugin "
        '"NodeResourcesFit": scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", '
        '"MostAllocated", "RequestedToCapacityRatio"'
    )


def test_a_function_that_raises_or_scores_wildly_fails_the_pod_and_names_itself() -> None:
    def broken(pod: Obj, node: Obj) -> int:
        raise KeyError("watts")

    table = b.table([b.node("a"), b.node("b")])
    for score, text in (
        (broken, 'running Score plugin "Mine" on node a'),
        (lambda pod, node: 101, "invalid score 101"),
    ):
        cycle = b.cycle(b.pod(), table, using=b.profile(per_node("Mine", score=score)))
        with pytest.raises(PluginFailed, match=text):
            scores(cycle, np.arange(2))
