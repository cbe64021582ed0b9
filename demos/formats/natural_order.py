"""The order in which people number things."""

import re


def natural(name: str) -> list[str | int]:
    """Sorts demo_2 before demo_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
