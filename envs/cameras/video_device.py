"""A camera of Video4Linux: any UVC camera, and what else stands under /dev/video.

PyAV reads it: its buffers come with the kernel's stamp of their capture, on the monotonic clock, to
the microsecond, and it is a library that video files are read with already. OpenCV's wheels bring a
window system or replace each other's files, and tell their stamps in a property of another name.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import RobotError
from .camera_config import CameraConfig

# linux/v4l2-controls.h and linux/videodev2.h
SET_CONTROL = 0xC008561C  # VIDIOC_S_CTRL of a struct v4l2_control: id, value
EXPOSURE_AUTO = 0x009A0901
EXPOSURE_ABSOLUTE = 0x009A0902  # [100 us]
EXPOSURE_AUTO_PRIORITY = 0x009A0903  # whether the automatic may lower the rate
MANUAL, APERTURE_PRIORITY = 1, 3
EXPOSURE_UNIT = 1e-4  # [s]

STAMPED_SECONDS = 2.0  # within which of now a stamp is one of the monotonic clock
OLD_SECONDS = 0.5  # after which a picture that waited is not decoded any more


class VideoDevice:
    """A device under /dev; `demuxer` is FFmpeg's, "v4l2" for cameras."""

    def __init__(self, config: CameraConfig, demuxer: str = "v4l2") -> None:
        import av
        import av.error

        self._config = config
        options = {
            "video_size": f"{config.width}x{config.height}",
            "framerate": f"{config.hz:g}",
            "input_format": config.format,
        }
        try:
            if demuxer == "v4l2":
                set_exposure(config.source, config.exposure)
                self._container: Any = av.open(config.source, format=demuxer, options=options)
            else:
                self._container = av.open(config.source, format=demuxer)
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise RobotError(f"there is no device {config.source}") from error
            raise RobotError(
                f"camera {config.source} does not open with {config.width}x{config.height} at "
                f"{config.hz:g} Hz as {config.format}: {error}; `fewstep cameras` lists what is "
                "there, and format: yuyv422 may be what it has"
            ) from error
        stream = self._container.streams.video[0]
        stream.thread_type = "NONE"  # threads that decode ahead hold pictures back
        self._packets = self._container.demux(stream)
        self._has_stamps: bool | None = None  # not known yet

    def read(self) -> tuple[float, np.ndarray]:
        """Return the next picture and its kernel stamp, or when it came where it has none."""
        import av.error

        for packet in self._packets:
            stamp = self._stamp(packet)
            if not packet.size or stamp < time.monotonic() - OLD_SECONDS:
                continue
            with suppress(av.error.InvalidDataError):  # a buffer that a bus has spoilt
                for frame in packet.decode():
                    return stamp, frame.to_ndarray(format="rgb24")
        raise RobotError(f"camera {self._config.source} gives no pictures any more")

    def _stamp(self, packet: Any) -> float:
        now = time.monotonic()
        stamp = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
        if self._has_stamps is None:
            self._has_stamps = abs(now - stamp) < STAMPED_SECONDS
        return min(stamp, now) if self._has_stamps and stamp else now

    def close(self) -> None:
        """Close the device."""
        self._container.close()


def set_exposure(device: str, seconds: float) -> None:
    """Set a camera's exposure [s], or its automatic for 0, which then may not lower the rate.

    RobotError where it has no exposure that can be set.
    """
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        if seconds:
            _set(descriptor, EXPOSURE_AUTO, MANUAL)
            _set(descriptor, EXPOSURE_ABSOLUTE, max(1, round(seconds / EXPOSURE_UNIT)))
            return
        with suppress(OSError):  # it may have nothing of the kind
            _set(descriptor, EXPOSURE_AUTO, APERTURE_PRIORITY)
            _set(descriptor, EXPOSURE_AUTO_PRIORITY, 0)
    except OSError as error:
        raise RobotError(f"camera {device} takes no exposure of {seconds:g} s: {error}") from error
    finally:
        os.close(descriptor)


def _set(descriptor: int, control: int, value: int) -> None:
    fcntl.ioctl(descriptor, SET_CONTROL, struct.pack("=Ii", control, value))
