"""KubeSchedulerConfiguration files: read strictly, completed and refused as upstream does it
(https://kubernetes.io/docs/reference/scheduling/config/, k8s.io/kubernetes/pkg/scheduler/apis/config)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pilothouse.api.types import Obj
from pilothouse.scheduler.build import checked
from pilothouse.scheduler.config import defaults, load, plugin_sets
from pilothouse.scheduler.config.load import ConfigError
from pilothouse.scheduler.config.profiles import ProfileError, expanded, weights
from pilothouse.scheduler.plugins import registry

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def parsed(text: str) -> Obj:
    return load.parse((HEAD + text).encode())


# -- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (HEAD + "paralelism: 3\n", 'strict decoding error: unknown field "paralelism"'),
        (
            HEAD + "parallelism: many\n",
            "json: cannot unmarshal string into Go struct field KubeSchedulerConfiguration.parallelism of type int32",
        ),
        (
            HEAD + "parallelism: 1\nparallelism: 2\n",
            'strict decoding error: yaml: unmarshal errors:\n  line 4: key "parallelism" already set in map',
        ),
        (
            "apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n",
            'no kind "KubeSchedulerConfiguration" is registered for version "kubescheduler.config.k8s.io/v1beta3" '
            'in scheme "pkg/scheduler/apis/config/scheme/scheme.go:30"',
        ),
        (
            "kind: KubeSchedulerConfiguration",
            "Object 'apiVersion' is missing in '{\"kind\":\"KubeSchedulerConfiguration\"}'",
        ),
        ("a: 1", "Object 'Kind' is missing in '{\"a\":1}'"),
        # pkg/scheduler/apis/config/scheme/scheme_test.go
        (
            HEAD
            + "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      scoringStrategy:\n"
            + "        requestedToCapacityRatio:\n          shape:\n          - {Score: 2, Utilization: 1}\n",
            "strict decoding error: decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for "
            "plugin NodeResourcesFit: strict decoding error: unknown field "
            '"scoringStrategy.requestedToCapacityRatio.shape[0].Score", unknown field '
            '"scoringStrategy.requestedToCapacityRatio.shape[0].Utilization"',
        ),
        (
            HEAD
            + "profiles:\n- pluginConfig:\n  - name: DefaultPreemption\n    args:\n"
            + "      apiVersion: kubescheduler.config.k8s.io/v1\n      kind: InterPodAffinityArgs\n",
            "decoding .profiles[0].pluginConfig[0]: args for plugin DefaultPreemption were not of type "
            "DefaultPreemptionArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_upstreams_words(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse(text.encode())
    assert str(caught.value) == error


def test_what_is_written_can_be_read_and_says_the_same() -> None:
    """What is empty becomes explicit; --write-config-to, and --config with it."""
    text = load.written(defaults.configuration())
    assert load.written(load.parse(text.encode())) == text
    assert checked(load.parse(text.encode()))


def test_defaults_are_upstreams_but_for_two() -> None:
    """pkg/scheduler/apis/config/v1/defaults_test.go; decision 61 has the two."""
    config = parsed("")
    assert config["parallelism"] == 16
    assert (config["podInitialBackoffSeconds"], config["podMaxBackoffSeconds"]) == (1, 10)
    assert config["clientConnection"]["burst"] == 100
    assert config["leaderElection"]["resourceName"] == "kube-scheduler"
    assert config["profiles"][0]["schedulerName"] == "default-scheduler"
    assert config["percentageOfNodesToScore"] == 100
    assert config["clientConnection"]["qps"] == -1
    assert parsed("percentageOfNodesToScore: 0")["percentageOfNodesToScore"] == 0


def test_args_are_completed_where_they_are_given_and_where_not() -> None:
    """ "NodeResourcesBalancedAllocation: default weight(1) will be set" (scheme_test.go)."""
    config = parsed(
        "profiles:\n- pluginConfig:\n"
        "  - {name: DefaultPreemption, args: {minCandidateNodesPercentage: 50}}\n"
        "  - {name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu}, {name: gpu, weight: 0}]}}\n"
        "  - {name: OutOfTree, args: {foo: bar}}\n"
        "  - {name: InterPodAffinity}\n"
    )
    args = {entry["name"]: entry["args"] for entry in config["profiles"][0]["pluginConfig"]}
    assert args["DefaultPreemption"]["minCandidateNodesAbsolute"] == 100
    assert args["DefaultPreemption"]["minCandidateNodesPercentage"] == 50
    assert args["NodeResourcesBalancedAllocation"]["resources"] == [
        {"name": "cpu", "weight": 1},
        {"name": "gpu", "weight": 1},
    ]
    assert args["OutOfTree"] == {"foo": "bar"}
    assert args["InterPodAffinity"]["hardPodAffinityWeight"] == 1
    assert args["VolumeBinding"]["bindTimeoutSeconds"] == 600


# -- validation -----------------------------------------------------------------------------------------------


def _args(plugin: str, args: str) -> str:
    return f"profiles:\n- pluginConfig:\n  - {{name: {plugin}, args: {args}}}\n"


_AT = "profiles[0].pluginConfig[0].args"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (
            "percentageOfNodesToScore: 101",
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        ("podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            "podInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 1",
            "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "leaderElection: {leaseDuration: 5s, renewDeadline: 10s}",
            'leaderElection.leaseDuration: Invalid value: "10s": LeaseDuration must be greater than RenewDeadline',
        ),
        (
            "leaderElection: {resourceLock: endpoints}",
            'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
        ),
        ("clientConnection: {burst: -1}", "clientConnection.burst: Invalid value: -1: must be non-negative"),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]",
            "profiles[1].schedulerName: Duplicate value: profiles[0].schedulerName",
        ),
        ("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value"),
        (
            "profiles: [{plugins: {queueSort: {enabled: [{name: A}, {name: B}]}}}]",
            "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled",
        ),
        (
            "profiles:\n- schedulerName: a\n- schedulerName: b\n  plugins: {queueSort: {enabled: [{name: Other}]}}",
            'profiles[1].plugins.queueSort: Invalid value: {"enabled":[{"name":"Other"}]}: must be the same for all '
            "profiles",
        ),
        (
            "profiles: [{plugins: {filter: {enabled: [{name: EBSLimits}]}}}]",
            'profiles[0].plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version "v1" '
            '(KubeSchedulerConfiguration is version "kubescheduler.config.k8s.io/v1")',
        ),
        (
            _args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"),
            f"[{_AT}.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as "
            f"minCandidateNodesAbsolute, {_AT}.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the "
            "same time as minCandidateNodesPercentage]",
        ),
        (
            _args("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
            f"{_AT}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            _args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"),
            f"{_AT}.resources[0].weight: Invalid value: 2: must be 1",
        ),
        (
            _args(
                "PodTopologySpread",
                "{defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: X}]}",
            ),
            f'[{_AT}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty, '
            f'{_AT}.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "X": supported values: '
            '"DoNotSchedule", "ScheduleAnyway"]',
        ),
        (
            _args("VolumeBinding", "{bindTimeoutSeconds: -1}"),
            f"{_AT}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            _args("DynamicResources", "{bindingTimeout: 10ms}"),
            f'{_AT}.bindingTimeout: Invalid value: "10ms": must be at least 1 second',
        ),
        (
            "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]",
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "extenders: [{urlPrefix: a, bindVerb: b}, {urlPrefix: c, bindVerb: b}]",
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
        ),
        (
            "extenders: [{urlPrefix: a, managedResources: [{name: cpu}]}]",
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
    ],
)
def test_what_upstream_refuses_is_refused_in_its_words(text: str, error: str) -> None:
    """pkg/scheduler/apis/config/validation/validation_test.go and validation_pluginargs_test.go."""
    with pytest.raises(ProfileError) as caught:
        checked(parsed(text))
    assert str(caught.value) == error


def test_a_shape_for_volumes_needs_its_feature_gate() -> None:
    """StorageCapacityScoring, alpha in 1.36."""
    shaped = parsed(
        _args("VolumeBinding", "{shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}")
    )
    with pytest.raises(ProfileError, match="turn on the feature gate StorageCapacityScoring"):
        checked(shaped)
    assert _arguments(checked(shaped, {"StorageCapacityScoring"}))["shape"][1]["score"] == 10
    unshaped = _arguments(checked(parsed(""), {"StorageCapacityScoring"}))
    assert list(unshaped["shape"]) == [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]
    wrong = parsed(_args("VolumeBinding", "{shape: [{utilization: 0, score: 11}]}"))
    with pytest.raises(ProfileError) as caught:
        checked(wrong, {"StorageCapacityScoring"})
    assert str(caught.value) == f"{_AT}.shape[0].score: Invalid value: 11: not in valid range [0, 10]"


def _arguments(config: Any) -> Any:
    return next(e["args"] for e in config["profiles"][0]["pluginConfig"] if e["name"] == "VolumeBinding")


# -- plugin sets ----------------------------------------------------------------------------------------------


def _points(plugins: Any) -> dict[str, list[str]]:
    """Of a profile with these plugins, where all are upstream's or called Custom…, which may run anywhere."""
    profile = parsed(yaml.safe_dump({"profiles": [{"plugins": plugins}]}))["profiles"][0]
    known = {*plugin_sets.DEFAULTS, "CustomA", "CustomB"}
    return expanded(
        profile, known, lambda name, point: name.startswith("Custom") or point in registry.POINTS[name]
    )


def test_the_default_plugins_run_where_upstreams_do() -> None:
    """pkg/scheduler/apis/config/testing/defaults ExpandedPluginsV1, with 1.36's gates."""
    points = _points(None)
    assert points["filter"] == [
        "NodeUnschedulable",
        "NodeName",
        "TaintToleration",
        "NodeAffinity",
        "NodePorts",
        "NodeResourcesFit",
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
        "NodeDeclaredFeatures",
    ]
    assert points["score"] == [
        "TaintToleration",
        "NodeAffinity",
        "NodeResourcesFit",
        "VolumeBinding",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
        "NodeResourcesBalancedAllocation",
        "ImageLocality",
    ]
    assert points["postFilter"] == ["DynamicResources", "DefaultPreemption"]
    assert points["queueSort"] == ["PrioritySort"]
    assert points["bind"] == ["DefaultBinder"]


def test_a_disabled_star_leaves_a_point_to_what_is_enabled_there() -> None:
    """ "no scoring scheduler" of https://kubernetes.io/docs/reference/scheduling/config/#multiple-profiles."""
    points = _points({"score": {"disabled": [{"name": "*"}]}, "preScore": {"disabled": [{"name": "*"}]}})
    assert points["score"] == points["preScore"] == []
    assert "NodeResourcesFit" in points["filter"]


def test_enabled_plugins_come_behind_and_take_their_place_when_reconfigured() -> None:
    """mergePlugins: "ReorderDefaultPlugins", "InsertAfterDefaultPlugins2" (default_plugins_test.go)."""
    points = _points({"score": {"enabled": [{"name": "CustomA"}, {"name": "NodeAffinity", "weight": 5}]}})
    assert points["score"][0] == "NodeAffinity"  # at the point itself, and at multiPoint: first
    assert points["score"][-1] == "CustomA"
    assert points["score"].count("NodeAffinity") == 1


def test_multi_point_rules_of_precedence() -> None:
    """https://kubernetes.io/docs/reference/scheduling/config/#multipoint: specific points before multiPoint, and
    what a point disables does not come there by multiPoint."""
    plugins = {
        "multiPoint": {"enabled": [{"name": "CustomA", "weight": 3}, {"name": "CustomB"}]},
        "score": {"enabled": [{"name": "CustomA", "weight": 7}], "disabled": [{"name": "CustomB"}]},
        "queueSort": {"disabled": [{"name": "CustomA"}, {"name": "CustomB"}]},
    }
    points = _points(plugins)
    assert points["score"][0] == "CustomA"
    assert "CustomB" not in points["score"]
    assert points["filter"][-2:] == ["CustomA", "CustomB"]
    found = weights(parsed(yaml.safe_dump({"profiles": [{"plugins": plugins}]}))["profiles"][0])
    assert (found["CustomA"], found["CustomB"], found["TaintToleration"]) == (7, 1, 3)


@pytest.mark.parametrize(
    ("plugins", "error"),
    [
        ({"filter": {"enabled": [{"name": "Typo"}]}}, 'FilterPlugin "Typo" does not exist'),
        ({"multiPoint": {"enabled": [{"name": "Typo"}]}}, 'PreFilterPlugin "Typo" does not exist'),
        (
            {"filter": {"enabled": [{"name": "ImageLocality"}]}},
            'plugin "ImageLocality" does not extend FilterPlugin plugin',
        ),
        (
            {"filter": {"enabled": [{"name": "CustomA"}, {"name": "CustomA"}]}},
            'plugin "CustomA" already registered as "FilterPlugin"',
        ),
        (
            {"bind": {"disabled": [{"name": "*"}]}},
            'at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
        ),
        (
            {"queueSort": {"disabled": [{"name": "PrioritySort"}]}},
            'only one queue sort plugin required for profile with scheduler name "default-scheduler", but got 0',
        ),
    ],
)
def test_sets_that_make_no_profile(plugins: Obj, error: str) -> None:
    with pytest.raises(ProfileError) as caught:
        _points(plugins)
    assert str(caught.value) == error


def test_our_own_plugins_run_behind_upstreams_unless_they_are_disabled() -> None:
    """docs/scheduling/README.md#configuration."""

    def multi(plugins: Any) -> list[str]:
        profile = parsed(yaml.safe_dump({"profiles": [{"plugins": {"multiPoint": plugins}}]}))["profiles"][0]
        shown = [plugin["name"] for plugin in profile["plugins"]["multiPoint"]["enabled"]]
        assert not set(shown) & (set(plugin_sets.OWN) - {"Deadlines"}), "the document is upstream's"
        return [
            plugin["name"] for plugin in plugin_sets.with_own(profile)["plugins"]["multiPoint"]["enabled"]
        ]

    custom = {"enabled": [{"name": "CustomA"}]}
    assert multi(custom) == [*plugin_sets.DEFAULTS, *plugin_sets.OWN, "CustomA"]
    assert set(plugin_sets.OWN) - set(multi(custom | {"disabled": [{"name": "Deadlines"}]})) == {"Deadlines"}
    assert multi(custom | {"disabled": [{"name": "*"}]}) == ["CustomA"]
    named = {"enabled": [{"name": "Deadlines"}]}
    assert multi(named).count("Deadlines") == 1
