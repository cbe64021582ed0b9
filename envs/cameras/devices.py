"""Which cameras are plugged in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLASS = Path("/sys/class/video4linux")
LINKS = Path("/dev/v4l")
NODES = Path("/dev")
BY = ("by-id", "by-path")  # links that stay, the better ones first


@dataclass(frozen=True)
class Device:
    """A camera that is plugged in. source: how it is named, the same when it is plugged in anew."""

    source: str
    node: str
    model: str


def find_devices(listed: Path = CLASS, links: Path = LINKS, nodes: Path = NODES) -> list[Device]:
    """Return the cameras of this machine, by their number; none where it is no Linux."""
    devices = []
    for folder in sorted(listed.glob("video*"), key=_number):
        # A camera has further nodes, for data about its pictures, with a higher index.
        if _read(folder / "index", "0") != "0":
            continue
        node = nodes / folder.name
        devices.append(Device(_lasting(node, links), str(node), _read(folder / "name", "?")))
    return devices


def _number(folder: Path) -> int:
    digits = folder.name.removeprefix("video")
    return int(digits) if digits.isdecimal() else -1


def _read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return otherwise


def _lasting(node: Path, links: Path) -> str:
    """Return the link to a node that stays when cameras are plugged in in another order."""
    for kind in BY:
        for link in sorted((links / kind).glob("*")):
            if link.resolve() == node.resolve():
                return str(link)
    return str(node)
