"""409 for an apply that would take fields from others (managedfields/internal/conflict.go)."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply.field_set import FieldSet
from pilothouse.apiserver.endpoints.apply.managed import Identity


class Conflicts(Exception):
    """Whose fields, and which."""

    def __init__(self, sets: dict[Identity, FieldSet]) -> None:
        super().__init__()
        self.sets = sets

    def without(self, allowed: FieldSet) -> Conflicts | None:
        """The conflicts that remain when some fields may be taken; None when none does."""
        left = {identity: fs.difference(fields, allowed) for identity, fields in self.sets.items()}
        left = {identity: fields for identity, fields in left.items() if fields}
        return Conflicts(left) if left else None

    def error(self) -> errors.ApiError:
        """One line and one cause per field."""
        found = [
            (identity.describe(), path)
            for identity in sorted(self.sets)
            for path in fs.members(self.sets[identity])
        ]
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
            for who, path in found
        ]
        return errors.ApiError(409, "Conflict", _message(found), {"causes": causes})


def _message(found: list[tuple[str, str]]) -> str:
    if len(found) == 1:
        return f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    lines: list[str] = []
    last = ""
    for who, path in found:
        if who != last:
            lines.append(f"conflicts with {who}:")
            last = who
        lines.append(f"- {path}")
    return f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
