"""How many pods of each node a selection holds: as counted one by one, whatever came, changed and went since."""

from __future__ import annotations

import random

from pilothouse.api import labels
from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import NodeTable, Selection
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.scheduler.pod_terms import Scope, Together

_NODES = 100
"""More than the table has rows for at first."""


def _node(number: int) -> Obj:
    return {"metadata": {"name": f"n{number}"}, "spec": {}, "status": {"allocatable": {"pods": "100"}}}


def _pod(dice: random.Random, uid: int, nodes: int) -> Obj:
    found = [(key, dice.choice("xy")) for key in ("app", "tier") if dice.random() < 0.7]
    dice.shuffle(found)
    meta: Obj = {"name": f"p{uid}", "namespace": "ab"[uid % 2], "uid": str(uid), "labels": dict(found)}
    if dice.random() < 0.2:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {"nodeName": f"n{dice.randrange(nodes)}", "containers": [{"name": "c", "image": "i"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _selections(dice: random.Random) -> list[Selection]:
    scopes = [
        Scope(namespaces, labels.parse(text), living)
        for namespaces in (None, frozenset("a"), frozenset("ab"))
        for text in ("app=x", "app in (x,y),tier=y", "!tier", "")
        for living in (False, True)
    ]
    dice.shuffle(scopes)
    return [*scopes, Together((scopes[0], scopes[1]))]


def test_selections_are_counted_as_pod_by_pod() -> None:
    dice = random.Random(7)
    table, pods = NodeTable(), dict[int, Obj]()
    selections = _selections(dice)
    nodes = 3
    for number in range(nodes):
        table.put_node(_node(number))
    for step in range(1500):
        uid = dice.randrange(60)
        if uid in pods and dice.random() < 0.4:
            table.remove_pod(str(uid))
            del pods[uid]
        else:
            pods[uid] = _pod(dice, uid, nodes)
            table.put_pod(pod_info(pods[uid]))
        if step % 12 == 0 and nodes < _NODES:
            table.put_node(_node(nodes))
            nodes += 1
        selection = selections[dice.randrange(1 + step * len(selections) // 1500)]
        counted = table.selected(selection)
        wanted = dict.fromkeys(range(nodes), 0)
        for pod in pods.values():
            meta = pod["metadata"]
            wanted[int(pod["spec"]["nodeName"][1:])] += selection.holds(meta["namespace"], meta)
        for number, count in wanted.items():
            row = table.row(f"n{number}")
            assert row is not None
            assert counted[row] == count
