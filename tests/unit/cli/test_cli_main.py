"""The command as people meet it: help, mistakes, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.cli import kube_apiserver_flags, main
from pilothouse.cli.flags import UsageError, help_text


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    for name in main.names():
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", main.names())
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: pilothouse {name}")
    assert "Examples:\n  pilothouse " in out
    assert "\x1b" not in out


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 0
    assert capsys.readouterr().out.startswith("Pilothouse 0.")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["upp"], "unknown command 'upp'; did you mean 'up'?"),
        (["up", "--nods=3"], "unknown flag --nods; did you mean --nodes?"),
        (["up", "--etcd-servers-overrides=/events#http://a:1"], "--etcd-servers-overrides is not served yet"),
        (["up", "--etcd-servers=127.0.0.1:2379"], "is no URL such as http://127.0.0.1:2379"),
        (["up", "--etcd-cafile=/etc/hosts"], "need --etcd-servers too"),
        (["up", "--etcd-servers=https://h:1", "--etcd-certfile=/etc/hosts"], "go together"),
        (["up", "--ephemeral", "--etcd-servers=https://h:1"], "give one of them"),
        (["up", "--storage-media-type=application/vnd.kubernetes.protobuf"], "objects are written as JSON"),
        (["up", "--endpoint-reconciler-type=master-count"], "choose lease or none"),
        (["up", "--cloud-provider=nowhere"], 'unknown cloud provider "nowhere"'),
        (["kube-scheduler"], "--kubeconfig is needed"),
        (["kube-controller-manager", "--kubeconfig=/nowhere"], '--kubeconfig: "/nowhere": no such file'),
    ],
)
def test_a_wrong_call_exits_2_with_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert text in captured.err
    assert captured.err.count("\n") == 1


def test_down_without_a_cluster_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["down", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"Error: no cluster runs on {tmp_path}; start one with: pilothouse up\n"


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(main, "load", broken)
    assert main.run(["up"]) == 1
    assert capsys.readouterr().err.startswith("Error: unexpected RuntimeError: a bug;")


def test_up_takes_kube_apiservers_flags() -> None:
    up, server = main.load("up"), main.load("kube-apiserver")
    assert set(server.index) <= set(up.index)
    assert "--token-auth-file" in help_text(up, 100)


def test_the_flags_make_the_servers_options(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("t,u,1\n")
    line = (
        f"--data-dir={tmp_path} --secure-port=0 --token-auth-file={tokens} "
        "--runtime-config=api/beta=true,api/alpha=true "
        "--service-account-issuer=https://a --service-account-issuer=https://b --event-ttl=10m --anonymous-auth=false "
        "--authorization-mode=Node,RBAC --max-requests-inflight=7 --min-request-timeout=60"
    )
    serving = kube_apiserver_flags.options(main.load("kube-apiserver").parse(line.split()))
    assert serving.data_dir == tmp_path
    assert serving.bind_address == "0.0.0.0"
    server = serving.server
    assert server.issuers == ("https://a", "https://b")
    assert server.audiences == ("https://a", "https://b")
    assert (server.event_ttl_s, server.requests_inflight_max, server.watch_timeout_s_min) == (600, 7, 60.0)
    assert server.runtime_config == "api/beta=true,api/alpha=true"
    assert not server.anonymous_auth


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--tls-cert-file={file}", "--tls-cert-file and --tls-private-key-file go together"),
        (
            "--authorization-mode=ABAC",
            "'ABAC' is not served; choose from AlwaysAllow, AlwaysDeny, Node, RBAC",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(line: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    values = main.load("up").parse(line.format(file=file).split())
    with pytest.raises(UsageError, match=text):
        kube_apiserver_flags.options(values)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--leader-elect-lease-duration=10s", "must be greater than --leader-elect-renew-deadline"),
        ("--leader-elect-renew-deadline=2s", "1.2 times --leader-elect-retry-period"),
    ],
)
def test_lease_periods_must_fit(line: str, text: str, tmp_path: Path) -> None:
    from pilothouse.cli import component_flags

    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("")
    values = main.load("kube-scheduler").parse([f"--kubeconfig={kubeconfig}", line])
    with pytest.raises(UsageError, match=text):
        component_flags.election(values)
