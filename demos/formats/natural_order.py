"""The order in which people number things."""

import re


def natural_key(name: str) -> list[str | int]:
    """Return a key that sorts demo_2 before demo_10."""
    key: list[str | int] = []
    for part in re.split(r"(\d+)", name):
        key.append(int(part) if part.isdecimal() else part)
    return key
