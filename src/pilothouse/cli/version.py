"""`pilothouse version`."""

from __future__ import annotations

from pilothouse import __version__
from pilothouse.cli.flags import Command, Values


def _run(values: Values) -> None:
    from pilothouse.api.catalog import DEFAULT_VERSION

    print(f"Pilothouse {__version__}\nKubernetes {DEFAULT_VERSION}")


COMMAND = Command(
    name="version",
    summary="Print the versions of Pilothouse and of its Kubernetes.",
    run=_run,
    examples="""
        pilothouse version
        pilothouse --version
    """,
)
