"""Flags as people type them, in the conventions of Kubernetes' own programs."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.cli import kinds, kube_scheduler
from pilothouse.cli.flags import Command, Flag, Group, HelpWanted, UsageError, help_text, no_effect, refused
from pilothouse.kit.durations import show_duration

COMMAND = Command(
    name="try",
    summary="Try flags.",
    run=lambda values: None,
    examples="pilothouse try --name x",
    groups=(
        Group(
            "Flags",
            (
                Flag("name", kinds.STRING, "", "A name."),
                Flag("switch", kinds.BOOL, False, "On or off."),
                Flag("on", kinds.BOOL, True, "On by default."),
                Flag("count", kinds.COUNT, 3, "How many."),
                Flag("v", kinds.INT, 0, "Verbosity.", short="v"),
                Flag("detach", kinds.BOOL, False, "Background.", short="d"),
                Flag("wait", kinds.DURATION, 15.0, "How long."),
                Flag("list", kinds.STRINGS, ("a",), "Several."),
                Flag("map", kinds.MAP, {}, "Pairs."),
                Flag("gates", kinds.BOOL_MAP, {}, "Gates."),
                Flag("ports", kinds.PORT_RANGE, (1, 2), "Ports."),
                Flag("networks", kinds.NETWORKS, "", "Networks."),
                no_effect("cache", kinds.BOOL, True, "there is none"),
                refused("etcd-servers", "leave it out", kinds.STRINGS, ()),
            ),
        ),
    ),
)


@pytest.mark.parametrize(
    ("line", "name", "wanted"),
    [
        ("--name=x", "name", "x"),
        ("--name x", "name", "x"),
        ("-name=x", "name", "x"),
        ("--name=a=b", "name", "a=b"),
        ("--switch", "switch", True),
        ("--switch=false", "switch", False),
        ("--on=f", "on", False),
        ("--on=false", "on", False),
        ("-v=4", "v", 4),
        ("-v 4", "v", 4),
        ("-v4", "v", 4),
        ("--v=4", "v", 4),
        ("-d", "detach", True),
        ("--wait=1m30s", "wait", 90.0),
        ("--wait=1.5h", "wait", 5400.0),
        ("--wait=0", "wait", 0.0),
        ("--wait=250ms", "wait", 0.25),
        ("--list=b,c", "list", ("b", "c")),
        ("--list=b --list c,d", "list", ("b", "c", "d")),
        ("--map=a=1 --map=b=2,c=3", "map", {"a": "1", "b": "2", "c": "3"}),
        ("--gates=A=true,B=false", "gates", {"A": True, "B": False}),
        ("--ports=30000-32767", "ports", (30000, 32767)),
        ("--ports=30000+10", "ports", (30000, 30010)),
        ("--networks=10.96.0.0/16,fd00::/108", "networks", "10.96.0.0/16,fd00::/108"),
        ("--count 2 --count 5", "count", 5),
        ("--etcd-servers=", "etcd-servers", ()),
    ],
)
def test_values_are_read_as_gos_flags_are(line: str, name: str, wanted: Any) -> None:
    values = COMMAND.parse(line.split())
    assert values[name] == wanted
    assert name in values.given


def test_flags_that_are_not_given_have_their_defaults() -> None:
    values = COMMAND.parse([])
    assert values["count"] == 3
    assert values["list"] == ("a",)
    assert not values.given


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--nmae=x", "unknown flag --nmae; did you mean --name?"),
        ("--zzzzzz", "unknown flag --zzzzzz (see: pilothouse try --help)"),
        ("-x", "unknown flag -x"),
        ("--name", "--name needs a value: --name string"),
        ("--count=x", '--count: "x": no whole number'),
        ("--count=-1", "must not be negative"),
        ("--switch=maybe", '--switch: "maybe": neither true nor false'),
        ("--wait=15", "no duration such as 15s or 1m30s"),
        ("--map=a", "a: no KEY=VALUE"),
        ("--ports=9-1", "no range of ports such as 30000-32767"),
        ("--networks=10.0.0.0/8,10.1.0.0/16", "at most one network of each IP family"),
        ("extra", "unexpected argument 'extra': try takes flags only"),
        ("--etcd-servers=https://x:2379", "--etcd-servers is not served yet: leave it out"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_that_helps(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        COMMAND.parse(line.split())
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["--help", "-h", "--name x --help"])
def test_help_is_asked_for_anywhere(line: str) -> None:
    with pytest.raises(HelpWanted):
        COMMAND.parse(line.split())


def test_help_shows_examples_defaults_and_what_has_no_effect() -> None:
    text = help_text(COMMAND, 80)
    assert "Examples:\n  pilothouse try --name x" in text
    assert "--wait duration\n          How long. (default 15s)" in text
    assert "--cache: there is none" in text
    assert "is an error that says what to do:\n  --etcd-servers" in text
    assert max(map(len, text.splitlines())) <= 92


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "15s"), (90, "1m30s"), (3600, "1h0m0s"), (0.5, "500ms"), (0, "0s")]
)
def test_durations_are_shown_as_go_shows_them(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


UPSTREAMS = """
allow-metric-labels allow-metric-labels-manifest authentication-kubeconfig authentication-skip-lookup
authentication-token-webhook-cache-ttl authentication-tolerate-lookup-failure authorization-always-allow-paths
authorization-kubeconfig authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl
bind-address cert-dir client-ca-file config contention-profiling disable-http2-serving disabled-metrics emulated-version
emulation-forward-compatible feature-gates http2-max-streams-per-connection kube-api-burst kube-api-content-type
kube-api-qps kubeconfig leader-elect leader-elect-lease-duration leader-elect-renew-deadline leader-elect-resource-lock
leader-elect-resource-name leader-elect-resource-namespace leader-elect-retry-period log-flush-frequency
log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size log-text-split-stream logging-format master
min-compatibility-version permit-address-sharing permit-port-sharing pod-max-in-unschedulable-pods-duration profiling
requestheader-allowed-names requestheader-client-ca-file requestheader-extra-headers-prefix requestheader-group-headers
requestheader-uid-headers requestheader-username-headers secure-port show-hidden-metrics-for-version tls-cert-file
tls-cipher-suites tls-curve-preferences tls-min-version tls-private-key-file tls-sni-cert-key v version vmodule
write-config-to
"""


def test_every_flag_of_upstreams_scheduler_is_known() -> None:
    """https://kubernetes.io/docs/reference/command-line-tools-reference/kube-scheduler/: accepted, or refused with what
    to do instead."""
    assert set(UPSTREAMS.split()) <= set(kube_scheduler.COMMAND.index)


def test_a_component_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    kube_scheduler.COMMAND.run(kube_scheduler.COMMAND.parse(["--version"]))
    assert capsys.readouterr().out.startswith("Kubernetes v1.36.")
