"""What the status of a definition should say (pkg/controller/status, establish, apiapproval).

new ──names free──▶ NamesAccepted, Established=False "Installing" ──served──▶ Established
 └──a name is taken──▶ NamesAccepted=False; what was accepted before stays in force
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import approval

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until its objects are gone."""
ESTABLISHED = "Established"
NAMES_ACCEPTED = "NamesAccepted"
TERMINATING = "Terminating"


def condition(crd: Obj, kind: str) -> Obj | None:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), None)


def is_true(crd: Obj, kind: str) -> bool:
    found = condition(crd, kind)
    return found is not None and found["status"] == "True"


def made(kind: str, status: bool, reason: str, message: str) -> Obj:
    """A condition that does not know yet since when it holds."""
    return {"type": kind, "status": "True" if status else "False", "reason": reason, "message": message}


def with_condition(status: Obj, new: Obj, now: str) -> Obj:
    """A status with a condition; the time changes with its `status` alone (SetCRDCondition)."""
    conditions = list(status.get("conditions") or ())
    at = next((i for i, c in enumerate(conditions) if c["type"] == new["type"]), len(conditions))
    since = now
    if at < len(conditions) and conditions[at]["status"] == new["status"]:
        since = conditions[at].get("lastTransitionTime", now)
    entry = {
        "type": new["type"],
        "status": new["status"],
        "lastTransitionTime": since,
        "reason": new["reason"],
        "message": new["message"],
    }
    conditions[at : at + 1] = [entry]
    return {**status, "conditions": conditions}


def next_status(crd: Obj, others: Iterable[Obj], now: str) -> Obj:
    """The status that a definition should have next, given all definitions; its own when nothing is to do."""
    status = dict(crd.get("status") or {})
    names, accepted = _names(crd, others)
    established = condition(crd, ESTABLISHED)
    if established is None or (established["status"] != "True" and accepted["status"] == "True"):
        established = (
            made(ESTABLISHED, False, "Installing", "the initial names have been accepted")
            if accepted["status"] == "True"
            else made(ESTABLISHED, False, "NotAccepted", "not all names are accepted")
        )
    status["acceptedNames"] = names
    approved = approval.condition(crd)
    for new in (accepted, established, *([approved] if approved is not None else [])):
        status = with_condition(status, new, now)
    return status


def establish(crd: Obj, now: str) -> Obj:
    """The status of a definition whose kinds are served."""
    new = made(ESTABLISHED, True, "InitialNamesAccepted", "the initial names have been accepted")
    return with_condition(dict(crd["status"]), new, now)


# -- names ----------------------------------------------------------------------------------------------


def _taken(crd: Obj, others: Iterable[Obj]) -> tuple[set[str], set[str]]:
    """Resource names and kinds that the definitions of a group have, this one's too."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != crd["spec"]["group"]:
            continue
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update(
            (names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ()))
        )
        kinds.update((names.get("kind", ""), names.get("listKind", "")))
    return resources, kinds


_CHECKED = (
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("shortNames", "ShortNamesConflict"),
    ("kind", "KindConflict"),
    ("listKind", "ListKindConflict"),
)
_ORDER = ("plural", "singular", "shortNames", "kind", "listKind", "categories")


def _names(crd: Obj, others: Iterable[Obj]) -> tuple[Obj, Obj]:
    """The accepted names, and the condition that tells whether they are all that was asked for."""
    wanted = crd["spec"]["names"]
    accepted: Obj = dict((crd.get("status") or {}).get("acceptedNames") or {})
    resources, kinds = _taken(crd, others)
    verdict = made(NAMES_ACCEPTED, True, "NoConflicts", "no conflicts found")
    for key, reason in _CHECKED:
        taken = kinds if key in ("kind", "listKind") else resources
        clashes = _clashes(wanted.get(key), accepted.get(key), taken)
        if clashes:
            text = clashes[0] if len(clashes) == 1 else f"[{', '.join(clashes)}]"
            verdict = made(NAMES_ACCEPTED, False, reason, text)
        else:
            accepted[key] = wanted.get(key)
    accepted["categories"] = wanted.get("categories")
    always = ("plural", "kind")
    names = {key: accepted.get(key) or "" for key in _ORDER if accepted.get(key) or key in always}
    return names, verdict


def _clashes(wanted: object, accepted: object, taken: set[str]) -> list[str]:
    asked = wanted if isinstance(wanted, list) else [wanted or ""]
    own = accepted if isinstance(accepted, list) else [accepted or ""]
    return [
        f"{go_quote(name)} is already in use" for name in asked if name and name not in own and name in taken
    ]
