"""What an installed fewstep must do. Run it by path with the environment's Python; `make wheel` does.

imports: without the packages that the extras bring, everything that a robot computer needs is importable
base:    like imports, where the extras really are not installed
full:    record, train and evaluate by the command line, in a folder with a user's own `envs` and `policy`
"""

import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

EXTRAS = (
    *(
        "cv2",
        "diffusers",
        "einops",
        "gym_pusht",
        "gymnasium",
        "imageio",
        "mujoco",
        "onnx",
        "onnxruntime",
    ),
    *("matplotlib", "pygame", "safetensors", "tensorboard", "torch"),
    *("av", "h5py", "imagecodecs", "pyarrow", "rosbags"),
)
WITH_MUJOCO = (
    "pick_place",
    "pick_place_expert",
    "push_t",
    "gym_robot",
    "gym_spec",
    "metaworld",
    "rendering",
)  # of envs.sim
FOREIGN = {"lerobot", "robomimic", "rosbag"}  # formats that need libraries of their own


def torch_free() -> list[str]:
    """The modules that the base install must import, as far as they exist."""
    from fewstep import demos, envs

    modules = [*pkgutil.walk_packages(envs.__path__, "fewstep.envs.")]
    modules += pkgutil.walk_packages(demos.__path__, "fewstep.demos.")
    return [module.name for module in modules if not needs_an_extra(module.name.split("."))]


def needs_an_extra(parts: list[str]) -> bool:
    """Whether a module draws or simulates, or reads a format with a library of its own."""
    return (parts[2] == "sim" and parts[-1] in WITH_MUJOCO) or (
        parts[2] == "formats" and bool({*parts[3:]} & {*FOREIGN})
    )


def imports() -> None:
    for name in EXTRAS:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise
    for name in torch_free():
        importlib.import_module(name)


def base() -> None:
    installed = [name for name in EXTRAS if importlib.util.find_spec(name)]
    assert not installed, f"the base install brought {installed}"
    imports()


def full() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("demos", "envs", "policy"):
            package = Path(folder, name, "__init__.py")
            package.parent.mkdir()
            package.write_text(f"raise SystemExit('fewstep imported the {name} of its user')\n")
        fewstep(folder, "record task=pickplace data=demos.zarr episodes=2")
        fewstep(folder, "train data=demos.zarr out=run steps=20")
        fewstep(folder, "evaluate policy=run task=pickplace episodes=1")
        assert list(Path(folder).rglob("evaluation.json")), "evaluate wrote no evaluation.json"
        fewstep(folder, "evaluate policy=pusht task=pusht-mujoco episodes=1 out=pusht")


def fewstep(folder: str, arguments: str) -> None:
    """Run the console script in `folder`, with the folder first on the import path as in a user's own project."""
    command = [str(Path(sysconfig.get_path("scripts"), "fewstep")), *arguments.split()]
    print("$ fewstep", arguments, flush=True)
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": folder}, check=True)


if __name__ == "__main__":
    mode = {"imports": imports, "base": base, "full": full}[sys.argv[1]]
    if mode is not imports:
        where = importlib.import_module("fewstep.envs").__file__ or ""
        assert Path(where).is_relative_to(sysconfig.get_path("purelib")), (
            f"{where} is not the installed wheel"
        )
    mode()
    print(f"fewstep {importlib.metadata.version('fewstep')}: {mode.__name__} passed")
