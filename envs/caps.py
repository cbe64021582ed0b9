"""Caps: how much a file may make this program take, checked before anything is decoded.

`python -m fewstep.envs.caps` prints them. They bound what is decoded at once, not how large a
dataset may be.
"""

import sys

from .errors import DataError

AT_ONCE = 2**31
FREE = 2**26
RATIO = 200
PIXELS = 2**25
JSON = 2**24
YAML = 2**16
YAML_VALUES = 10_000
YAML_DEPTH = 50
BAG_YAML = 2**20
BAG_VALUES = 100_000

MEANINGS = {
    "AT_ONCE": "bytes that one chunk may take in memory",
    "FREE": "bytes that anything may take, however small it is on disk",
    "RATIO": "beyond FREE: bytes in memory for each byte on disk",
    "PIXELS": "pixels of one picture",
    "JSON": "bytes of a JSON file",
    "YAML": "bytes of a YAML file of limits or fields",
    "YAML_VALUES": "values of such a file, aliases counted as often as they are used",
    "YAML_DEPTH": "levels of such a file",
    "BAG_YAML": "bytes of the metadata.yaml of a bag",
    "BAG_VALUES": "values in it, aliases counted as often as they are used",
}


def require_room(decoded: int, stored: int, where: str) -> None:
    """Raise DataError where what has `stored` bytes on disk would take too many at once."""
    if decoded > AT_ONCE:
        raise DataError(
            f"{where}: {decoded} bytes at once are too many; at most {AT_ONCE} (AT_ONCE)"
        )
    require_ratio(decoded, stored, where)


def require_ratio(decoded: int, stored: int, where: str) -> None:
    """Raise DataError where what has `stored` bytes on disk would take many times as much."""
    if decoded > FREE and decoded > RATIO * stored:
        raise DataError(
            f"{where}: {decoded} bytes are too many for {stored} on disk; "
            f"beyond {FREE} (FREE) at most {RATIO} for each are read (RATIO)"
        )


def main() -> None:
    """Print all caps."""
    for name, meaning in MEANINGS.items():
        sys.stdout.write(f"{name:12} {globals()[name]:>12} {meaning}\n")


if __name__ == "__main__":
    main()
