"""Changing what a Spec says beside shapes: units, names, limits, and what measures an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import SpecError, names
from .schema import from_plain, to_plain
from .spec import Field, Spec

GROUPS = ("observations", "actions")
PER_ELEMENT = ("low", "high", "velocity", "acceleration")  # one number stands for all elements
EDITABLE = ("unit", "kind", "names", "measured_by", "relative", *PER_ELEMENT)
Changes = Mapping[str, Mapping[str, Mapping[str, Any]]]


def edit_spec(spec: Spec, changes: Changes) -> Spec:
    """Return a Spec with other entries in some of its fields.

    Args:
        spec: The one to change.
        changes: {"observations" or "actions": {field: {entry: value}}}, entries of EDITABLE; a
            single number stands for all elements of a field.

    Raises:
        SpecError: For an unknown group, field or entry, and where the result contradicts itself.
    """
    _require_table("set", changes)
    _require_known("group", changes, GROUPS)
    edited = {}
    for group in GROUPS:
        fields = dict(getattr(spec, group))
        chosen = changes.get(group) or {}
        _require_table(group, chosen)
        _require_known(f"field of {group}", chosen, fields)
        for key, entries in chosen.items():
            fields[key] = _edit_field(f"{group}.{key}", fields[key], entries)
        edited[group] = fields
    return replace(spec, **edited)


def propose_changes(spec: Spec) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what the names suggest: which state measures an action that nothing measures yet.

    A state fits where it has as many elements and the same names of elements, or the same key.
    """
    proposed: dict[str, dict[str, Any]] = {}
    for key, action in spec.actions.items():
        if action.measured_by or action.relative:
            continue
        for state_key, state in spec.states.items():
            same_names = bool(action.names) and action.names == state.names
            if state.size == action.size and (same_names or state_key == key):
                proposed[key] = {"measured_by": state_key}
                break
    return {"actions": proposed} if proposed else {}


def _edit_field(where: str, field: Field, entries: Mapping[str, Any]) -> Field:
    _require_table(where, entries)
    _require_known(f"entry of {where}", entries, EDITABLE)
    plain = to_plain(field)
    for name, value in entries.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        plain[name] = [value] * field.size if name in PER_ELEMENT and is_number else value
    edited = from_plain(Field, plain, where)
    if edited.is_image != field.is_image:
        raise SpecError(f"{where}: an image stays one, and nothing else becomes one")
    return edited


def _require_table(where: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise SpecError(f"{where}: expected a table, not {given!r}")


def _require_known(what: str, given: Mapping[str, Any], known: Any) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise SpecError(f"unknown {what}: {names(unknown)}; valid: {names(known)}")
