"""Warnings of SELinux labels that cannot be together (pkg/controller/volume/selinuxwarning)."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.api.resources import CSI_DRIVERS, PODS
from pilothouse.api.types import Obj
from pilothouse.api.volumes import SIMULATED_DRIVER
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.controllers.manager import Settings
from pilothouse.controllers.names import selected
from pilothouse.controllers.selinux_warning import conflict_text, labels_conflict
from pilothouse.kit.metrics import new_registry
from tests.unit.controllers.test_controllers_attach_detach import provision
from tests.unit.controllers.test_controllers_volumes import pod


def labelled(name: str, level: str, **context: Any) -> Obj:
    options = {"seLinuxOptions": {"level": level}, **context} if level else context
    made = pod(name, "data", securityContext=options)
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/d"}]
    return made


def test_it_is_off_unless_it_is_named() -> None:
    served = ["selinux-warning-controller"]
    assert selected(["*"], served) == []
    assert selected(["*", "selinux-warning-controller"], served) == served


def test_parts_that_are_not_said_conflict_with_nothing() -> None:
    assert labels_conflict(":::s0:c1,c2", ":::s0:c1,c3")
    assert not labels_conflict("system_u:system_r:container_t:s0:c1,c2", ":::s0:c1,c2")
    assert labels_conflict("::container_t:", "::other_t:s0")
    assert not labels_conflict("", ":::s0")


def test_other_namespaces_are_not_told_of() -> None:
    def one(namespace: str) -> Obj:
        return {"metadata": {"name": "p", "namespace": namespace}}

    assert "secret" not in conflict_text("SELinux label", ":::a", ":::secret", one("a"), one("b"))


def test_two_labels_on_one_volume(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        metrics, account = new_registry(), lab.cluster._account_client
        manager = ControllerManager(
            lab.client, account, lab.world, metrics, Settings("", None), ["selinux-warning-controller"]
        )
        task = asyncio.create_task(manager.run())
        driver = {"metadata": {"name": SIMULATED_DRIVER}, "spec": {"seLinuxMount": True}}
        await lab.create(CSI_DRIVERS, driver)
        await provision(lab, labelled("a", "s0:c1"), labelled("b", "s0:c2"), labelled("same", "s0:c1"))
        text = (
            'SELinux label ":::s0:c1" conflicts with pod b that uses the same volume as this pod with SELinux label '
            '":::s0:c2". If both pods land on the same node, only one of them may access the volume.'
        )
        assert ("Normal", "SELinuxLabelConflict", text, "selinux_warning") in await lab.events("a")
        messages = [message for _, reason, message, _ in await lab.events("same") if "Conflict" in reason]
        assert messages
        assert all("with pod b" in message for message in messages)
        await lab.create(PODS, labelled("free", "s0:c3", seLinuxChangePolicy="Recursive"))
        await lab.wait(3)
        reasons = {reason for _, reason, _, _ in await lab.events("free")}
        assert "SELinuxChangePolicyConflict" in reasons
        assert "SELinuxLabelConflict" not in reasons
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    simulate(scenario)
