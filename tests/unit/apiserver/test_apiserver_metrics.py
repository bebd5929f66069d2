"""What is counted, and that clients cannot make it grow (k8s.io/apiserver/pkg/endpoints/metrics cleanVerb)."""

from __future__ import annotations

import re

from tests.served import ALICE, api


def test_requests_are_counted_by_what_they_reach_and_all_others_together() -> None:
    with api() as server:
        for n in range(50):
            server.ask(f"ODD{n}", f"/x{n}")
            server.ask("GET", f"/apis/group{n}/v1/things")
            server.ask("GET", f"/api/v1/namespaces/ns{n}/things{n}/a/b{n}")
            server.ask("GET", f"/api/v1/namespaces/ns{n}/pods/p/sub{n}", user=ALICE)
        server.ask("GET", "/api/v1/namespaces/default/pods")
        text = server.ask("GET", "/metrics").body.decode()
    counted = re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE)
    assert len(counted) < 20
    assert not [labels for labels, _ in counted if "things" in labels or "sub1" in labels or "ODD" in labels]
    pods = [labels for labels, _ in counted if 'resource="pods"' in labels]
    assert len(pods) == 1
    assert 'verb="LIST"' in pods[0]
    other = sum(float(count) for labels, count in counted if 'verb="OTHER"' in labels)
    assert other == 50
