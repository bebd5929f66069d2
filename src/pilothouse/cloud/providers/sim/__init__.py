"""A cloud that exists in this process alone, with a real one's bad habits: latency, quotas, rate limits, reads that
lag, failures, zones, machines that vanish. Everything is configurable and drawn from one seed (docs/cloud-sim.md).

    config.py      what it is like
    account.py     what there is in it, and how each call goes
    faces.py       instances, load balancers, routes and volumes, as controllers ask for them
    machines.py    node groups: instances that become simulated nodes, and vanish
    autoscaling.py the API that grows and shrinks node groups
"""

from __future__ import annotations

from pilothouse.cloud.provider import Provider
from pilothouse.cloud.registry import Setting


def open_provider(setting: Setting) -> Provider:
    """ValueError for a configuration that cannot be used."""
    from pilothouse.cloud.providers.sim.provider import SimProvider

    return SimProvider(setting)
