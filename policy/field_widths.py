"""What is known of a policy's fields without torch: their encoded width, and what measures them."""

from __future__ import annotations

from ..envs import Field, Spec

FARTHEST = 2.0  # to which normalised observations are clipped
WIDTH = {"angle": 2, "quaternion": 6 / 4}  # encoded numbers per stored number, where not one


def encoded_width(field: Field) -> int:
    """Return the numbers that a field takes once expanded."""
    return int(field.size * WIDTH.get(field.kind, 1))


def find_measured(spec: Spec) -> tuple[str, ...]:
    """Return the actions that can be learnt as differences from what a state measures."""
    found = []
    for key, field in spec.actions.items():
        if field.measured_by in spec.states and field.kind != "discrete":
            found.append(key)
    return tuple(found)
