"""Which extra of the package brings a library: what an error tells a user to install."""

from __future__ import annotations

LIBRARIES = {  # by extra, as pyproject.toml has them; each by the name it is imported by
    "sim": ("gymnasium", "imageio", "mujoco", "shapely"),
    "train": (
        "diffusers",
        "einops",
        "jinja2",
        "matplotlib",
        "onnx",
        "onnxscript",
        "safetensors",
        "tensorboard",
        "torch",
    ),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "pusht": ("gym_pusht",),
    "metaworld": ("metaworld",),
    "cameras": ("av",),
    "ros2": ("rosbags", "zenoh"),
    "formats": ("h5py", "imagecodecs", "pyarrow"),
    "teleop": ("hid", "pygame"),
    "vit": ("transformers",),
}


def extra_of(library: str) -> str:
    """Return the extra that brings a library; empty where none does."""
    for extra, libraries in LIBRARIES.items():
        if library in libraries:
            return extra
    return ""
