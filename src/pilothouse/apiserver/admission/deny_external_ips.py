"""DenyServiceExternalIPs: services take no new external addresses (plugin/pkg/admission/network/denyserviceexternalips,
CVE-2020-8554)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin, Target


class DenyServiceExternalIPs(Plugin):
    name: ClassVar[str] = "DenyServiceExternalIPs"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((("", "services", ""),))

    async def validate(self, a: Attributes) -> None:
        """Those that a service has may stay."""
        if not _addresses(a.obj) <= _addresses(a.old):
            raise a.forbidden("Use of external IPs is denied by admission control")


def _addresses(service: Obj | None) -> set[str]:
    return set(((service or {}).get("spec") or {}).get("externalIPs") or ())
