"""Kubeconfigs for components that run alone, one each, beside the data that they are for (as kubeadm makes them)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pilothouse.components.api_server import MASTERS, ServedApi


class Identity(NamedTuple):
    file: str
    certificate: str
    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("kubeconfig", "admin", "kubernetes-admin", (MASTERS,))
_COMPONENTS = (
    Identity("kube-controller-manager.kubeconfig", "controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler.kubeconfig", "scheduler", "system:kube-scheduler"),
    Identity(
        "cloud-controller-manager.kubeconfig", "cloud-controller-manager", "system:cloud-controller-manager"
    ),
    Identity("nodes.kubeconfig", "nodes", "system:nodes:simulated", (MASTERS,)),
)


def write_all(served: ServedApi, directory: Path) -> None:
    """Write the components' kubeconfigs; those that are right are left alone."""
    for identity in _COMPONENTS:
        path = directory / identity.file
        served.write_kubeconfig(path, identity.certificate, identity.user, identity.groups)
