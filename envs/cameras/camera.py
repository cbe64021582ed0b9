"""Cameras by their source: what gives pictures, each with the moment at which it was taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import FewstepError, RobotError
from ..modules import load_module
from .camera_config import DEVICES, CameraConfig

SIMULATED = "simulated"
ROS2 = "ros2:"  # before a topic of pictures


class Camera(Protocol):
    """What gives pictures."""

    def read(self) -> tuple[float, np.ndarray]:
        """Wait for the next picture (height, width, 3), uint8, and return when it was taken.

        That is in seconds of the system's monotonic clock. RobotError, or OSError, where there will
        be none: the camera is then opened again.
        """
        ...

    def close(self) -> None:
        """Let go of it; may be called again."""
        ...


def open_camera(config: CameraConfig) -> Camera:
    """Return the camera of a source; RobotError says why there is none."""
    try:
        return _open(config)
    except FewstepError:
        raise
    except ModuleNotFoundError as error:
        raise RobotError(
            f"camera {config.source!r} needs {error.name}: pip install 'fewstep[cameras]'"
        ) from error
    except Exception as error:
        raise RobotError(
            f"camera {config.source!r} cannot be opened: {type(error).__name__}: {error}"
        ) from error


def _open(config: CameraConfig) -> Camera:
    if config.source == SIMULATED:
        from .simulated_camera import SimulatedCamera

        return SimulatedCamera(config)
    if config.source.startswith(DEVICES):
        from .video_device import VideoDevice

        return VideoDevice(config)
    if config.source.startswith(ROS2):
        from .ros2_camera import Ros2Camera

        return Ros2Camera(config, **config.options)
    if Path(config.source).exists():
        from .video_file import VideoFile

        return VideoFile(config)
    module, colon, attribute = config.source.partition(":")
    if not colon:
        raise RobotError(
            f"there is no camera {config.source!r}; valid: a device under {DEVICES}, "
            f"a video file, {SIMULATED}, {ROS2}/topic, or module:callable; "
            "`fewstep cameras` lists what is there"
        )
    maker = getattr(load_module(module), attribute, None)
    if not callable(maker):
        raise RobotError(f"module {module} has no callable {attribute!r} that makes a camera")
    made: Any = maker(**config.options)
    lacking = [part for part in ("read", "close") if not hasattr(made, part)]
    if lacking:
        raise RobotError(f"{config.source} made {made!r}, which is no camera: it lacks {lacking}")
    return made
