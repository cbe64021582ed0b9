"""What an installed fewstep must do.

Run it by path with the environment's Python; `make wheel` does.

imports: without the packages that the extras bring, everything that a robot computer needs is
importable base:    the same where the extras really are not installed; and its verbs work there
full:    record, train and evaluate by the command line, in a folder with a user's own `envs` and
`policy`
"""

import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
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
    "push_t_pixels",
    "gym_robot",
    "gym_spec",
    "metaworld",
    "rendering",
)  # of envs.sim
BASE_VERBS = ("check", "import", "export", "view", "record", "spec")
FOREIGN = {"lerobot", "robomimic", "rosbag"}  # formats that need libraries of their own


def torch_free() -> list[str]:
    """The modules that the base install must import, as far as they exist."""
    from fewstep import demos, envs

    modules = [*pkgutil.walk_packages(envs.__path__, "fewstep.envs.")]
    modules += pkgutil.walk_packages(demos.__path__, "fewstep.demos.")
    return [module.name for module in modules if not needs_an_extra(module.name.split("."))]


def needs_an_extra(parts: list[str]) -> bool:
    """Whether a module draws, simulates or tests, or reads a format with a library of its own."""
    if parts[2] == "testing":
        return True
    return (parts[2] == "sim" and parts[-1] in WITH_MUJOCO) or (
        parts[2] == "formats" and bool({*parts[3:]} & {*FOREIGN})
    )


def imports() -> None:
    for name in EXTRAS:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise
    for name in torch_free():
        importlib.import_module(name)
    from fewstep.policy.cli.command import load

    for verb in BASE_VERBS:
        load(verb)


def base() -> None:
    installed = [name for name in EXTRAS if importlib.util.find_spec(name)]
    assert not installed, f"the base install brought {installed}"
    imports()
    with tempfile.TemporaryDirectory() as folder:
        fewstep(folder, "--help")
        for verb in BASE_VERBS:
            fewstep(folder, f"{verb} --help")
        record_by_hand(folder)
        fewstep(folder, "check data=demos")
        fewstep(folder, "spec data=demos set={actions:{joints:{velocity:2}}}")
        fewstep(folder, "export data=demos out=buffer.zarr format=diffusion_policy")
        fewstep(folder, "import source=buffer.zarr data=again")
        look(folder)
        said = refused(folder, "train data=demos")
        assert "pip install 'fewstep[train]'" in said, said


def record_by_hand(folder: str) -> None:
    """Record an episode of a simulated arm with the keyboard, typed on a terminal of its own."""
    ours, theirs = os.openpty()
    command = [script(), "record", "teleop=keyboard", "robot=simulated", "options.joints=6"]
    command += ["data=demos", "episodes=1"]
    print("$ fewstep", *command[1:], flush=True)
    streams = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=folder, text=True, **streams)
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if "Enter" in line and "ready at" in said:
            time.sleep(0.5)
            os.write(ours, b"\r")
        if "recording episode" in line:
            time.sleep(1.0)
            os.write(ours, b" ")
    assert process.wait(60) == 0 and "1 kept" in said, said


def look(folder: str) -> None:
    """Open the page of `fewstep view`, once."""
    command = [script(), "view", "data=demos", "port=0"]
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.split("look at ")[1].split()[0]
    with urllib.request.urlopen(address) as page:
        assert b"<html" in page.read()
    process.terminate()
    process.wait(30)


def refused(folder: str, arguments: str) -> str:
    """Return what a command says that cannot work here."""
    command = [script(), *arguments.split()]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 1, done
    return done.stderr


def full() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("demos", "envs", "policy"):
            package = Path(folder, name, "__init__.py")
            package.parent.mkdir()
            package.write_text(f"raise SystemExit('fewstep imported the {name} of its user')\n")
        fewstep(folder, "record task=pickplace data=demos.zarr episodes=2")
        fewstep(folder, "export data=demos.zarr out=demos.hdf5 format=robomimic")
        fewstep(folder, "import source=demos.hdf5 data=again")
        fewstep(folder, "train data=demos.zarr out=run steps=20")
        fewstep(folder, "evaluate policy=run task=pickplace episodes=1")
        assert list(Path(folder).rglob("evaluation.json")), "evaluate wrote no evaluation.json"
        fewstep(folder, "evaluate policy=pusht task=pusht-mujoco episodes=1 out=pusht")


def script() -> str:
    """Return the console script of this environment."""
    return str(Path(sysconfig.get_path("scripts"), "fewstep"))


def fewstep(folder: str, arguments: str) -> None:
    """Run the console script in `folder`, with the folder first on the import path as in a user's
    own project.
    """
    command = [script(), *arguments.split()]
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
