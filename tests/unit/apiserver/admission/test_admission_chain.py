"""Which plugins run, in which order (pkg/kubeapiserver/options/plugins.go)."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.api.resources import CONFIG_MAPS, PODS
from pilothouse.apiserver.admission import configuration
from pilothouse.apiserver.admission.chain import chain
from pilothouse.apiserver.admission.metrics import AdmissionMetrics
from tests.admission import Bench, attributes, pod, refusal

ON = [
    "NamespaceLifecycle", "LimitRanger", "ServiceAccount", "TaintNodesByCondition", "PodSecurity", "Priority",
    "DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection",
    "PersistentVolumeClaimResize", "RuntimeClass", "CertificateApproval", "CertificateSigning",
    "ClusterTrustBundleAttest", "CertificateSubjectRestriction", "DefaultIngressClass", "PodTopologyLabels",
    "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
    "ResourceQuota",
]  # fmt: skip


def test_the_default_plugins_in_upstreams_order() -> None:
    assert chain(Bench().env()).names == ON


def test_plugins_come_and_go_by_upstreams_names() -> None:
    made = chain(
        Bench().env(), ("NodeRestriction", "PodSecurity"), ("ServiceAccount", "MutatingAdmissionWebhook")
    )
    assert made.names[:4] == ["NamespaceLifecycle", "LimitRanger", "NodeRestriction", "TaintNodesByCondition"]
    assert "ServiceAccount" not in made.names


@pytest.mark.parametrize(
    ("enable", "disable", "text"),
    [
        (("Foo",), (), "admission plugin 'Foo' is not known"),
        ((), ("Foo",), "admission plugin 'Foo' is not known"),
        (("ImagePolicyWebhook",), (), "is not served yet"),
        (
            ("LimitRanger",),
            ("LimitRanger",),
            "LimitRanger in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (("EventRateLimit",), (), "EventRateLimit needs limits in --admission-control-config-file"),
    ],
)
def test_names_that_make_no_sense(enable: tuple[str, ...], disable: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chain(Bench().env(), enable, disable)


async def test_a_write_asks_only_those_whom_it_concerns() -> None:
    made = chain(Bench().env(), disable=("NamespaceLifecycle",))
    asked = made._of(attributes("CREATE", {"metadata": {"name": "m"}}, resource=CONFIG_MAPS))
    calls = [*asked.mutating.calls, *asked.validating.calls]
    assert [call.plugin for call in calls if not call.idle] == ["ResourceQuota"]
    asked = made._of(attributes("DELETE", None, pod(), resource=PODS))
    assert all(call.idle for call in (*asked.mutating.calls, *asked.validating.calls))


async def test_a_name_to_come_is_told_by_what_it_is_made_from() -> None:
    """admission.NewForbidden: names are generated after mutating admission."""
    unnamed = {"metadata": {"generateName": "web-", "namespace": "ns"}, "spec": {"priorityClassName": "x"}}
    bench = Bench()
    bench.namespace()
    made = chain(bench.env(), disable=("ServiceAccount", "PodSecurity"))
    assert await refusal(made.admit(attributes("CREATE", unnamed))) == (
        'pods "web-" is forbidden: no PriorityClass with name x was found'
    )


def test_the_configuration_file_names_plugins_and_their_files(tmp_path: Path) -> None:
    """AdmissionConfiguration of apiserver.config.k8s.io/v1."""
    (tmp_path / "events.yaml").write_text("limits: [{type: Server, qps: 1, burst: 1}]\n")
    file = tmp_path / "admission.yaml"
    file.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
        "- {name: EventRateLimit, path: events.yaml}\n"
        "- {name: PodSecurity, configuration: {defaults: {enforce: baseline}}}\n"
    )
    assert configuration.read(file) == {
        "EventRateLimit": {"limits": [{"type": "Server", "qps": 1, "burst": 1}]},
        "PodSecurity": {"defaults": {"enforce": "baseline"}},
    }


@pytest.mark.parametrize(
    ("text", "why"), [("a: [", "is no YAML"), ("- a", "holds no object"), ("kind: Pod", "holds no Admission")]
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "admission.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        configuration.read(file)


async def test_how_long_it_takes_is_counted_by_step_and_plugin() -> None:
    """k8s.io/apiserver/pkg/admission/metrics."""
    registry = CollectorRegistry()
    made = chain(Bench().env(), metrics=AdmissionMetrics(registry))
    config_map = {"metadata": {"name": "m", "namespace": "ns"}}
    await refusal(made.admit(attributes("CREATE", config_map, resource=CONFIG_MAPS)))
    await made.validate(attributes("CREATE", config_map, resource=CONFIG_MAPS))

    def count(what: str, **labels: str) -> float | None:
        return registry.get_sample_value(
            f"apiserver_admission_{what}_admission_duration_seconds_count", labels
        )

    refused = {"type": "admit", "operation": "CREATE", "rejected": "true"}
    let_in = {"type": "validate", "operation": "CREATE", "rejected": "false"}
    assert count("step", **refused) == count("controller", name="NamespaceLifecycle", **refused) == 1
    assert count("step", **let_in) == count("controller", name="ResourceQuota", **let_in) == 1
