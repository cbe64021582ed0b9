"""Renderer without a screen: choose MuJoCo's OpenGL backend, and say in one line what is missing.

Importing this module sets MUJOCO_GL where the user has not. MuJoCo reads it once, when it is imported.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

import ctypes
import os
import sys

import numpy as np

from ..errors import RobotError

MISSING = (
    "cannot draw pictures: no OpenGL; install the Debian packages libegl1 libegl-mesa0 libgl1-mesa-dri, or "
    "libosmesa6, and import fewstep before mujoco or set MUJOCO_GL"
)


def choose_backend() -> None:
    """Set MUJOCO_GL, on Linux without a screen, to what this machine has: egl, else osmesa, else disabled."""
    if (
        sys.platform == "linux"
        and not os.environ.get("MUJOCO_GL")
        and not os.environ.get("DISPLAY")
    ):
        os.environ["MUJOCO_GL"] = (
            "egl" if _egl_devices() else "osmesa" if _load("libOSMesa.so.8") else "disabled"
        )


def _load(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _egl_devices() -> int:
    # libEGL alone is only a dispatcher: without a driver it finds no device, and MuJoCo < 4 then fails to import.
    if (egl := _load("libEGL.so.1")) is None:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    if not (address := egl.eglGetProcAddress(b"eglQueryDevicesEXT")):
        return 0
    count = ctypes.c_int(0)
    query = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    )(address)
    return count.value if query(0, None, ctypes.byref(count)) else 0


choose_backend()

import mujoco  # noqa: E402  (after the choice)


class Renderer:
    """Draws what a model's cameras see, at one size; opens OpenGL at the first picture.

    samples: per pixel, 0 for jagged edges; shadow: size of the shadow map [px], 0 for none. Both are slow in software.
    """

    def __init__(
        self, model: mujoco.MjModel, height: int, width: int, *, samples: int = 0, shadow: int = 0
    ) -> None:
        self.model, self.height, self.width = model, height, width
        self.samples, self.shadow = samples, shadow
        self._renderer: mujoco.Renderer | None = None

    def draw(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """What `camera` sees, uint8 (height, width, 3); raises RobotError where there is no OpenGL."""
        if self._renderer is None:
            self._renderer = self._open()
        self._renderer.update_scene(data, camera=camera)
        return self._renderer.render()

    def _open(self) -> mujoco.Renderer:
        if not hasattr(
            mujoco, "GLContext"
        ):  # a Renderer that fails on this prints a second traceback when it dies
            raise RobotError(MISSING)
        quality = self.model.vis.quality
        quality.offsamples, quality.shadowsize = self.samples, self.shadow
        try:
            return mujoco.Renderer(self.model, self.height, self.width)
        except Exception as error:  # every backend fails in a way of its own
            raise RobotError(MISSING) from error

    def close(self) -> None:
        """Release OpenGL; a later picture opens it again."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
