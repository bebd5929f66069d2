"""How one version of a custom resource sees what is stored.

A registry with a view works in the view's version: what a client sent stays in it up to the store, and what is stored
is seen in it. Converting may mean to ask somebody (a webhook), so what is to be seen is made ready first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pilothouse.api.types import Obj


class View(Protocol):
    async def ready(self, stored: Iterable[Obj]) -> None:
        """Make `seen` possible for these objects. Raises ApiError."""

    def seen(self, stored: Obj) -> Obj:
        """A stored object (shared) in the view's version; it may be the same dict."""

    async def final(self, obj: Obj) -> Obj:
        """An object (owned) of the view's version as it is to be stored. Raises ApiError."""
