"""Renderer without a screen: choose MuJoCo's OpenGL backend, and say in one line what is missing.

Importing this module sets MUJOCO_GL where the user has not. MuJoCo reads it when it is imported.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

import ctypes
import os
import sys

import numpy as np

from ..errors import RobotError

MISSING = (
    "cannot draw pictures: no OpenGL; install the Debian packages libegl1 libegl-mesa0"
    " libgl1-mesa-dri, or libosmesa6, and import fewstep before mujoco or set MUJOCO_GL"
)


def choose_backend() -> None:
    """Set MUJOCO_GL, on Linux without a screen, to what this machine has.

    That is egl, else osmesa, else disabled. What the user has set stays.
    """
    chosen = os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY")
    if sys.platform != "linux" or chosen:
        return
    if _count_egl_devices():
        os.environ["MUJOCO_GL"] = "egl"
    elif _load_library("libOSMesa.so.8"):
        os.environ["MUJOCO_GL"] = "osmesa"
    else:
        os.environ["MUJOCO_GL"] = "disabled"


def _load_library(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _count_egl_devices() -> int:
    # libEGL alone is only a dispatcher: without a driver it finds no device, and MuJoCo < 4 then
    # fails to import.
    egl = _load_library("libEGL.so.1")
    if egl is None:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    integer_pointer = ctypes.POINTER(ctypes.c_int)
    signature = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, integer_pointer)
    query_devices = signature(address)
    count = ctypes.c_int(0)
    succeeded = query_devices(0, None, ctypes.byref(count))
    return count.value if succeeded else 0


choose_backend()

import mujoco  # noqa: E402  (after the choice)

# Facets of a round shape around and along its axis, and of a side of a box: MuJoCo's own, and few.
FINE = (28, 16, 4)
COARSE = (20, 4, 1)


class Renderer:
    """Draws what a model's cameras see, at one size; opens OpenGL at the first picture.

    samples: per pixel, 0 for jagged edges; shadow: size of the shadow map [px], 0 for none. Both
    are slow in software. coarse: round shapes of fewer facets, which a small picture does not show
    and which take half the time.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        height: int,
        width: int,
        *,
        samples: int = 0,
        shadow: int = 0,
        coarse: bool = False,
    ) -> None:
        self.model = model
        self.height = height
        self.width = width
        self.samples = samples
        self.shadow = shadow
        self.facets = COARSE if coarse else FINE
        self._renderer: mujoco.Renderer | None = None

    def draw(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Return what `camera` sees, uint8 (height, width, 3).

        Raises RobotError where there is no OpenGL.
        """
        if self._renderer is None:
            self._renderer = self._open()
        self._renderer.update_scene(data, camera=camera)
        return self._renderer.render()

    def _open(self) -> mujoco.Renderer:
        # A Renderer that fails on this prints a second traceback when it dies.
        if not hasattr(mujoco, "GLContext"):
            raise RobotError(MISSING)
        quality = self.model.vis.quality
        quality.offsamples = self.samples
        quality.shadowsize = self.shadow
        quality.numslices, quality.numstacks, quality.numquads = self.facets
        try:
            return mujoco.Renderer(self.model, self.height, self.width)
        except Exception as error:  # every backend fails in a way of its own
            raise RobotError(MISSING) from error

    def close(self) -> None:
        """Release OpenGL; a later picture opens it again."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
