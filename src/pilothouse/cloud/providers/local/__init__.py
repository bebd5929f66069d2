"""One machine as a cloud: the default of `pilothouse up`.

instances       every node is one: it goes when somebody deletes it, and not before
load balancers  really listen on addresses of this machine, and forward to ready endpoints
routes          are written down, and lead nowhere: there is no network between simulated nodes
volumes         are directories, with their capacity accounted
"""

from __future__ import annotations

from pilothouse.cloud.provider import Provider
from pilothouse.cloud.registry import Setting


def open_provider(setting: Setting) -> Provider:
    """ValueError for a configuration that cannot be used."""
    from pilothouse.cloud.providers.local.provider import LocalProvider

    return LocalProvider(setting)
