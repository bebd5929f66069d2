"""What templates print for an object: Go's language, kwok's functions, Sprig's."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from pilothouse.kit.world import World
from pilothouse.nodes.stages.templates import Functions, Template, TemplateError


class At:
    """A clock that stands."""

    def now(self) -> float:
        return 1_767_225_600.25

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError


class Places:
    def node_address(self, node: str) -> str:
        return {"n1": "10.0.0.1"}.get(node, "")

    def pod_address(self, node: str, uid: str, *, host_network: bool) -> str:
        return self.node_address(node) if host_network else f"10.1.0.{uid}"


POD = {
    "metadata": {"name": "web", "uid": "7", "annotations": {"a.example/x": "1"}},
    "spec": {
        "nodeName": "n1",
        "containers": [
            {"name": "a", "image": "i:1"},
            {"name": "b", "image": "i:2", "restartPolicy": "Always"},
        ],
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def render(source: str, obj: Any = POD) -> Any:
    return Template(source, Functions(World(At(), Random(1)), Places())).render(obj)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("a: {{ Now | Quote }}", {"a": "2026-01-01T00:00:00.25Z"}),
        ("a: {{ StartTime }}", {"a": "2026-01-01T00:00:00.25Z"}),
        (
            "a: {{ .metadata.name | Quote }}\nb: {{ Quote 3 }}\nc: {{ Quote .absent }}",
            {"a": "web", "b": "3", "c": "null"},
        ),
        ("a: {{ NodeIP }} {{ NodeName }} {{ NodePort }}", {"a": "10.0.0.1 n1 10250"}),
        ("a: {{ PodIP }} {{ PodIPWith .spec.nodeName false .metadata.uid }}", {"a": "10.1.0.7 10.1.0.7"}),
        ('a: {{ PodIPWith "n1" true "9" "x" "y" }}', {"a": "10.0.0.1"}),
        ("a:\n{{ YAML .metadata.annotations 1 }}", {"a": {"a.example/x": "1"}}),
        ("a: {{ range NodeConditions }}{{ .type }}={{ .status }},{{ end }}", {
            "a": "Ready=True,MemoryPressure=False,DiskPressure=False,PIDPressure=False,NetworkUnavailable=False,"
        }),
        (
            '{{ range $i, $c := .spec.containers }}{{ $c.name }}'
            ': {{ if eq .restartPolicy "Always" }}{{ $i }}{{ else }}never{{ end }}\n{{ end }}',
            {"a": "never", "b": 1},
        ),
        (
            '{{ define "c" }}{{ .name }}: {}\n{{ end }}{{ range .spec.containers }}'
            '{{ template "c" dict "name" .name }}{{ end }}',
            {"a": {}, "b": {}},
        ),
        ('a: {{ or ( index ( or .metadata.annotations dict ) "none" ) 7 }}', {"a": 7}),
        ('a: {{ index .metadata.annotations "a.example/x" | int | add1 }}', {"a": 2}),
        ("a: {{ with .spec.absent }}yes{{ else }}none{{ end }}", {"a": "none"}),
        (
            "{{ $n := 0 }}{{ range .spec.containers }}{{ $n = add1 $n }}{{ break }}{{ end }}a: {{ $n }}",
            {"a": 1},
        ),
        (
            'a: {{ if and (not .x) (ne .spec.nodeName "n2") }}{{ printf "%s-%d" .metadata.name 3 }}{{ end }}',
            {"a": "web-3"},
        ),
        ("{{- /* nothing */ -}}", None),
        ("a: 2026-01-01T00:00:00Z", {"a": "2026-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
def test_what_is_printed(source: str, value: Any) -> None:
    assert render(source) == value


def test_a_pod_that_has_an_address_keeps_it() -> None:
    pod = {**POD, "status": {"podIP": "10.9.9.9"}}
    assert render("a: {{ PodIPWith .spec.nodeName false .metadata.uid }}", pod) == {"a": "10.9.9.9"}


def test_chance_comes_from_the_world() -> None:
    assert render("a: {{ randAlphaNum 8 }} {{ randInt 0 99 }}") == render(
        "a: {{ randAlphaNum 8 }} {{ randInt 0 99 }}"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("a: {{ index .spec.containers 9 }}", "index out of range"),
        ("a: [", "did not find expected node content"),
        ('{{ fail "stop here" }}', "stop here"),
        ('{{ eq .spec "a" }}', "incompatible types for comparison"),
    ],
)
def test_what_cannot_be_printed_is_told_in_one_line(source: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why) as error:
        render(source)
    assert "\n" not in str(error.value)


def test_the_machine_is_no_business_of_templates() -> None:
    with pytest.raises(TemplateError, match="function 'env' not defined"):
        render('{{ env "HOME" }}')
