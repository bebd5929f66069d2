"""componentstatuses, and the names of /readyz's checks."""

from __future__ import annotations

from tests.served import api

PATH = "/api/v1/componentstatuses"


def test_components_that_are_not_there_are_not_healthy() -> None:
    with api() as server:
        server.served.api.components["controller-manager"] = lambda: ""
        server.served.api.components["scheduler"] = lambda: "it is tired"
        found = server.ask("GET", PATH)
        assert found.body["kind"] == "ComponentStatusList"
        told = {i["metadata"]["name"]: i["conditions"] for i in found.body["items"]}
        assert told == {
            "controller-manager": [{"type": "Healthy", "status": "True", "message": "ok"}],
            "scheduler": [{"type": "Healthy", "status": "False", "message": "it is tired"}],
            "etcd-0": [{"type": "Healthy", "status": "True", "message": "ok"}],
        }
        one = server.ask("GET", f"{PATH}/etcd-0").body
        assert (one["kind"], one["metadata"]["name"]) == ("ComponentStatus", "etcd-0")
        assert server.ask("GET", f"{PATH}/nope").message == 'componentstatus "nope" not found'
        accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
        rows = server.ask("GET", PATH, accept=accept).body["rows"]
        assert ["scheduler", "Unhealthy", "it is tired", ""] in [row["cells"] for row in rows]


def test_the_checks_have_upstreams_names_in_its_order() -> None:
    with api() as server:
        text = server.ask("GET", "/readyz?verbose").body.decode()
        names = [line.split("]")[1].split()[0] for line in text.splitlines() if line.startswith("[")]
        assert names[:5] == ["ping", "log", "etcd", "etcd-readiness", "informer-sync"]
        assert names[5] == "poststarthook/start-apiserver-admission-initializer"
        assert "poststarthook/rbac/bootstrap-roles" in names and "autoregister-completion" in names
        assert names[-1] == "shutdown"
        assert server.ask("GET", "/livez/poststarthook/rbac/bootstrap-roles").body == b"ok"
        live = server.ask("GET", "/livez?verbose").body.decode()
        assert "]informer-sync" not in live and "shutdown" not in live
