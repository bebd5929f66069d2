"""A cache for functions of texts that clients choose.

`functools.lru_cache` bounds how many entries there are, not how large: a few thousand names of a megabyte each, all of
them refused, would stay for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 256
"""Characters of a text that is worth keeping."""


def cached_texts(
    maxsize: int,
) -> Callable[[Callable[Concatenate[str, P], R]], Callable[Concatenate[str, P], R]]:
    """Keeps the answers for the `maxsize` short first arguments that were asked for last. Exceptions are not kept."""

    def decorate(function: Callable[Concatenate[str, P], R]) -> Callable[Concatenate[str, P], R]:
        kept = lru_cache(maxsize)(function)
        if len(signature(function).parameters) == 1:
            return _of_text_alone(function, kept)

        @wraps(function)
        def call(text: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if len(text) > LONGEST:
                return function(text, *args, **kwargs)
            return kept(text, *args, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate


def _of_text_alone(function: Callable[..., Any], kept: Callable[..., Any]) -> Callable[..., Any]:
    """The common case, on every write's way some thirty times: passing no other arguments on halves its cost."""

    @wraps(function)
    def call(text: str) -> Any:
        return kept(text) if len(text) <= LONGEST else function(text)

    return call
