"""kube-controller-manager's flags: what does not go together is said before anything starts, in upstream's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.cli import main
from pilothouse.cli.kube_controller_manager import COMMAND
from pilothouse.cli.kube_controller_manager_config import NAME, configuration


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--controllers=foo"], '"foo" is not in the list of known controllers'),
        (["--cloud-provider=aws"], '--cloud-provider: "aws" is not built in; say external'),
        (["--allocate-node-cidrs"], "--allocate-node-cidrs needs --cluster-cidr"),
        (
            ["--allocate-node-cidrs", "--cluster-cidr=10.0.0.0/8,fd00::/48", "--node-cidr-mask-size=24"],
            "usage of --node-cidr-mask-size is not allowed with dual-stack clusters",
        ),
        (["--cidr-allocator-type=CloudAllocator"], "--cidr-allocator-type is not served yet"),
        (["--max-endpoints-per-slice=1001"], "cannot be more than 1000, but got 1001"),
        (["--leader-elect-lease-duration=5s"], "must be greater than --leader-elect-renew-deadline"),
    ],
)
def test_what_does_not_go_together(
    flags: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(_KUBECONFIG)
    assert main.run(["kube-controller-manager", f"--kubeconfig={kubeconfig}", *flags]) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def test_the_configuration_that_configz_shows() -> None:
    given = ["--concurrent-gc-syncs=7", "--controllers=*,-job", "--node-monitor-grace-period=1m30s"]
    found = configuration(COMMAND.parse(given), COMMAND)[NAME]
    assert found["GarbageCollectorController"] == {"EnableGarbageCollector": True, "ConcurrentGCSyncs": 7}
    assert found["Generic"]["Controllers"] == ["*", "-job"]
    assert found["NodeLifecycleController"]["NodeMonitorGracePeriod"] == "1m30s"
    assert found["KubeCloudShared"]["CloudProvider"]["Name"] == ""
