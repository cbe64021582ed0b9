"""Which cameras a robot has, by their names, and what they add to its Spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RobotError, names
from ..schema import from_plain
from ..spec import Field, Spec
from ..tables import read_table

DEVICES = "/dev/"  # where sources begin that are devices
MOST_BYTES = 2**30  # of the pictures of a second
LEAST_HZ = 5.0  # slower, a picture would be older than what counts as gone
FORMATS = ("mjpeg", "yuyv422")
RESERVED = ("action", "time")  # names in a store of what is no observation


@dataclass(frozen=True)
class CameraConfig:
    """A camera and how it is used.

    source: a device (/dev/video0, better /dev/v4l/by-id/...), a video file, "simulated", or the
    "module:callable" that makes a Camera of one's own; width, height [px]; hz: pictures a second.
    Of a device, format: what it sends, mjpeg or yuyv422; exposure: seconds, 0 for its automatic.
    options: what the callable takes.
    """

    source: str
    width: int = 640
    height: int = 480
    hz: float = 30.0
    format: str = "mjpeg"
    exposure: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of its pictures [px]."""
        return self.height, self.width


def read_cameras(given: Any) -> dict[str, CameraConfig]:
    """Return the cameras of a table {name: source, or table of CameraConfig}, or of a YAML file.

    ConfigError names what is wrong with which.
    """
    where = "cameras"
    if isinstance(given, str):
        where = given
        given = read_table(given, "cameras")
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"cameras={given!r}: a robot's cameras are a YAML file, which `fewstep cameras` "
            "writes, or {name: source, ...}"
        )
    cameras = {}
    for name, described in given.items():
        if isinstance(described, str):
            described = {"source": described}
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(f"{where}: a camera cannot be called {name!r}: letters, digits and _")
        if name in RESERVED:
            raise ConfigError(
                f"{where}: a camera cannot be called {name!r}: a store has it already"
            )
        camera = from_plain(CameraConfig, described, f"{where}.{name}")
        _require_possible(camera, f"{where}.{name}")
        cameras[name] = camera
    _require_different(cameras, where)
    return cameras


def camera_names(given: Any) -> tuple[str, ...]:
    """Return the names of a simulated task's cameras; ConfigError where it is no list of them."""
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        return tuple(given)
    raise ConfigError(
        f"cameras={given!r}: the cameras of a simulated task are a list of their names: "
        "[front,wrist]"
    )


def _require_possible(camera: CameraConfig, where: str) -> None:
    if not camera.source:
        raise ConfigError(f"{where}.source is empty")
    if camera.width < 1 or camera.height < 1:
        raise ConfigError(f"{where}: no picture has {camera.width}x{camera.height} px")
    if not LEAST_HZ <= camera.hz <= 1000:
        raise ConfigError(f"{where}.hz must be {LEAST_HZ:g} to 1000, not {camera.hz}")
    if camera.width * camera.height * 3 * camera.hz > MOST_BYTES:
        raise ConfigError(
            f"{where}: a second of {camera.width}x{camera.height} px at {camera.hz:g} Hz is more "
            f"than {MOST_BYTES >> 20} MB"
        )
    if camera.format not in FORMATS:
        raise ConfigError(f"{where}.format must be {' or '.join(FORMATS)}, not {camera.format!r}")
    if not 0 <= camera.exposure <= 10:
        raise ConfigError(f"{where}.exposure must be 0 to 10 s, not {camera.exposure}")


def _require_different(cameras: Mapping[str, CameraConfig], where: str) -> None:
    """Raise ConfigError where two names mean one device, which only one can read."""
    seen: dict[Path, str] = {}
    for name, camera in cameras.items():
        if not camera.source.startswith(DEVICES):
            continue
        device = Path(camera.source).resolve()
        if device in seen:
            raise ConfigError(f"{where}: {seen[device]} and {name} are both {device}")
        seen[device] = name


def with_cameras(spec: Spec, cameras: Mapping[str, tuple[int, int]]) -> Spec:
    """Return a robot's Spec with its cameras, {name: (height, width)}, as images."""
    taken = cameras.keys() & spec.observations.keys()
    if taken:
        raise RobotError(f"camera {names(taken)}: the robot itself observes what is called so")
    observations = dict(spec.observations)
    for name, (height, width) in cameras.items():
        observations[name] = Field((height, width, 3), kind="image")
    return replace(spec, observations=observations)


def without(spec: Spec, cameras: Collection[str]) -> Spec:
    """Return a Spec without the pictures of these cameras."""
    observations = {key: seen for key, seen in spec.observations.items() if key not in cameras}
    return replace(spec, observations=observations)
