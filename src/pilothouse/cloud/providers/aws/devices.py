"""Names of the devices that volumes are attached as; pure
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from string import ascii_lowercase
from typing import Any

from pilothouse.cloud.provider import NoRoom

_NAMES = [
    f"/dev/xvd{first}{second}" for first in "abcdefghijklmnopqrstuvwxyz"[1:4] for second in ascii_lowercase
]
"""/dev/xvdba to /dev/xvddx, as the EBS driver takes them."""
_LAST = "/dev/xvddx"
NAMES = _NAMES[: _NAMES.index(_LAST) + 1]


def free_device(instance: Mapping[str, Any], pending: Collection[str]) -> str:
    """The first that neither the instance has nor an attachment under way. NoRoom when all are taken."""
    taken = {mapping["DeviceName"] for mapping in instance.get("BlockDeviceMappings") or ()}
    for name in NAMES:
        if name not in taken and name not in pending:
            return name
    raise NoRoom(f"instance {instance['InstanceId']} has no device name left")
