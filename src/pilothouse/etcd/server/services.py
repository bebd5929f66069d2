"""Every service there is: its methods and who answers them. A new one is one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pilothouse.etcd.server.cluster import ClusterService
from pilothouse.etcd.server.core import Core, Service, Streaming, Unary
from pilothouse.etcd.server.kv import KvService
from pilothouse.etcd.server.lease import LeaseService
from pilothouse.etcd.server.watch import WatchService
from pilothouse.etcd.wire import methods
from pilothouse.etcd.wire.methods import Method


class Registration(NamedTuple):
    methods: Mapping[str, Method]
    make: Callable[[Core], Service]


SERVICES: tuple[Registration, ...] = (
    Registration(methods.KV, KvService),
    Registration(methods.WATCH, WatchService),
    Registration(methods.LEASE, LeaseService),
    Registration(methods.CLUSTER, ClusterService),
)


class Bound(NamedTuple):
    """A method and what answers it."""

    method: Method
    handler: Unary | Streaming


def bind(core: Core) -> tuple[list[Service], dict[str, Bound]]:
    """All services of a server, and their methods by path."""
    services, bound = [], {}
    for registration in SERVICES:
        service = registration.make(core)
        services.append(service)
        handlers = service.handlers()
        for name, method in registration.methods.items():
            if name in handlers:
                bound[method.path] = Bound(method, handlers[name])
    return services, bound
