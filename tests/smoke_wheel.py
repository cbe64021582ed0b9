"""What an installed fewstep must do.

Run it by path with the environment's Python; `make wheel` does.

imports: without the packages that the extras bring, everything that a robot computer needs is
importable base:    the same where the extras really are not installed; and its verbs work there
export FOLDER:  write a policy of random weights, exported for a robot; needs no installed wheel
robot FOLDER:   with the extras of engines alone, that policy runs, and is measured
full:    record, train and evaluate by the command line, in a folder with a user's own `envs` and
`policy`
"""

import importlib
import importlib.metadata
import json
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
        "onnxscript",
        "openvino",
    ),
    *("matplotlib", "pygame", "safetensors", "tensorboard", "torch"),
    *("av", "h5py", "imagecodecs", "pyarrow", "rosbags", "zenoh"),
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
BASE_VERBS = (
    "cameras",
    "check",
    "import",
    "export",
    "view",
    "record",
    "spec",
    "ensemble",
    "run",
    "serve",
    "bench",
)
ENGINES = ("onnx", "openvino", "cpp")
ROBOT = "robot=simulated options.joints=3"
FOREIGN = {"lerobot", "robomimic", "rosbag"}  # formats that need libraries of their own


def torch_free() -> list[str]:
    """The modules that the base install must import, as far as they exist."""
    from fewstep import demos, envs
    from fewstep.policy import serving

    modules = [*pkgutil.walk_packages(envs.__path__, "fewstep.envs.")]
    modules += pkgutil.walk_packages(serving.__path__, "fewstep.policy.serving.")
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


def export(folder: str) -> None:
    """Write a policy of random weights for the simulated arm, and no torch needed to run it."""
    import torch

    from fewstep.envs.hardware.simulated_arm import SimulatedArm
    from fewstep.policy.checkpoint import save_policy
    from fewstep.policy.engines.export import FORMATS, export_policy
    from fewstep.policy.networks.temporal_unet import UnetConfig
    from fewstep.policy.policy import Policy, PolicyConfig

    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16, prefix=True)
    config = PolicyConfig(horizon=8, action_steps=4, net=net)
    with tempfile.TemporaryDirectory() as run:
        save_policy(Policy(SimulatedArm(joints=3).spec, config), Path(run), {})
        for format in FORMATS:
            export_policy(run, folder, format)


def robot(folder: str) -> None:
    """Run and measure an exported policy where torch is not installed."""
    installed = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name)]
    assert not installed, f"the extras of engines brought {installed}"
    with tempfile.TemporaryDirectory() as here:
        for engine in ENGINES:
            acting = f"policy={folder} engine={engine} unattended=true seconds=1 out={engine}"
            fewstep(here, f"run {ROBOT} unlimited=[joints] priority=0 {acting}")
        fewstep(here, f"bench policy={folder} calls=100")
        rows = json.loads(Path(here, "out", "bench", "bench.json").read_text())["rows"]
        assert {row["engine"] for row in rows} == {*ENGINES}, rows


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
    modes = {"imports": imports, "base": base, "full": full, "export": export, "robot": robot}
    mode = modes[sys.argv[1]]
    if mode not in (imports, export):
        where = importlib.import_module("fewstep.envs").__file__ or ""
        assert Path(where).is_relative_to(sysconfig.get_path("purelib")), (
            f"{where} is not the installed wheel"
        )
    mode(*map(os.path.abspath, sys.argv[2:]))
    print(f"fewstep {importlib.metadata.version('fewstep')}: {mode.__name__} passed")
