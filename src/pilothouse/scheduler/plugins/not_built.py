"""The place of a plugin of upstream's that is not built yet: it can be named and does nothing."""

from __future__ import annotations

from pilothouse.scheduler.framework import Plugin


class NotBuilt(Plugin):
    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
