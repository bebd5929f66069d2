"""What the status of a definition says (apiextensions-apiserver's pkg/controller/apiapproval)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver.customresources.conditions import condition, next_status, with_condition

_MUST = 'protected groups must have approval annotation "api-approved.kubernetes.io"'
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_NEITHER = f'{_MUST} with either a URL or a reason starting with "unapproved", {_SEE}'


def crd(group: str, **annotations: str) -> dict[str, Any]:
    names = {"plural": "things", "kind": "Thing"}
    meta = {"name": f"things.{group}", "annotations": annotations}
    return {"metadata": meta, "spec": {"group": group, "names": names}, "status": {}}


@pytest.mark.parametrize(
    ("annotation", "status", "reason", "message"),
    [
        ("", "False", "MissingAnnotation", f"{_MUST}, {_SEE}"),
        ("unapproved, a test", "False", "UnapprovedAnnotation", 'not approved: "unapproved, a test"'),
        ("https://k8s.io/1", "True", "ApprovedAnnotation", "approved in https://k8s.io/1"),
        ("soon", "False", "InvalidAnnotation", _NEITHER),
    ],
)
def test_groups_of_the_community_need_an_approval(
    annotation: str, status: str, reason: str, message: str
) -> None:
    given = {"api-approved.kubernetes.io": annotation} if annotation else {}
    found = condition(
        {"status": next_status(crd("x.k8s.io", **given), [], "now")}, "KubernetesAPIApprovalPolicyConformant"
    )
    assert found is not None
    assert (found["status"], found["reason"], found["message"]) == (status, reason, message)


def test_other_groups_need_none() -> None:
    status = next_status(crd("example.com"), [], "now")
    assert [c["type"] for c in status["conditions"]] == ["NamesAccepted", "Established"]


def test_the_time_changes_with_the_status_alone() -> None:
    new = {"type": "T", "status": "True", "reason": "a", "message": ""}
    once = with_condition({}, new, "then")
    again = with_condition(once, {**new, "reason": "b"}, "now")
    assert again["conditions"][0]["lastTransitionTime"] == "then"
    flipped = with_condition(again, {**new, "status": "False"}, "now")
    assert flipped["conditions"][0]["lastTransitionTime"] == "now"
