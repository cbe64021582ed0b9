"""How many numbers a field of a Spec takes once it is written without jumps; see field_codes."""

from __future__ import annotations

from ..envs import Field

WIDTH = {"angle": 2, "quaternion": 6 / 4}  # encoded numbers per stored number, where not one


def encoded_width(field: Field) -> int:
    """Return the numbers that a field takes once expanded."""
    return int(field.size * WIDTH.get(field.kind, 1))
