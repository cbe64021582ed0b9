"""Small valid inputs of every kind that fewstep reads, and what reads them, for the fuzzer."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import bags
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from older_lerobot import write_older

from fewstep.demos import DemoStore, Episode
from fewstep.demos.doctor.check import check
from fewstep.demos.formats import export_demonstrations, import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.envs import Field, Spec
from fewstep.envs.control.control_loop import STATES, tick_type
from fewstep.envs.control.log_reading import latencies
from fewstep.envs.control.telemetry import RunLog
from fewstep.envs.tables import read_table
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {"joints": Field((2,), "rad", names=("a", "b")), "top": Field((16, 16, 3), kind="image")},
    {"joints": Field((2,), "rad", measured_by="joints")},
    policy_hz=10,
)
FIELDS = """hz: 20
observations:
  joints: &all {topic: /joint_states, value: position, unit: rad, names: [a, b]}
  again: *all
  camera: {topic: /camera, size: [8, 8]}
actions:
  joints: {topic: /joint_commands, value: data, unit: rad, measured_by: joints}
"""
LIMITS = "joints: {low: [-1, -2.5], high: 3, velocity: 1.5, acceleration: 1e1}\ngrip: {low: 0, high: 0.08}\n"


class Target(NamedTuple):
    """make: writes a valid input at a path that is not there yet.

    Use: reads it, in a folder of its own.
    """

    make: Callable[[Path], object]
    use: Callable[[Path, Path], object]


def store(path: Path, images: str = "jpeg") -> None:
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC, {"task": "wave"}, images) as out:
        for frames in (5, 4):
            data = {"joints": rng.normal(size=(frames, 2)), "action": rng.normal(size=(frames, 2))}
            data |= {
                "top": rng.integers(0, 256, (frames, 16, 16, 3), np.uint8),
                "time": np.arange(frames) / 10,
            }
            out.append(Episode(data, SPEC, success=True))


def exported(path: Path, kind: str) -> None:
    store(path.with_suffix(".store"), "lossless")
    export_demonstrations(DemoStore.open(path.with_suffix(".store")), path, kind)
    shutil.rmtree(path.with_suffix(".store"))


def lerobot(path: Path) -> None:
    exported(path, "lerobot")


def lerobot_of_others(path: Path) -> None:
    """Without what only fewstep writes, and with the pictures beside the numbers."""
    exported(path, "lerobot")
    (path / "meta/fewstep.json").unlink()
    shutil.rmtree(path / "videos")
    file = next((path / "data").rglob("*.parquet"))
    picture = bags.encoded(np.zeros((16, 16, 3), np.uint8), "png")
    table = pq.read_table(file)
    cells = pa.array([{"bytes": picture, "path": None}] * len(table))
    pq.write_table(table.append_column("observation.images.top", cells), file)
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.images.top"] |= {"dtype": "image"}
    (path / "meta/info.json").write_text(json.dumps(info))


def lerobot_v21(path: Path) -> None:
    store(path.with_suffix(".store"), "lossless")
    write_older(DemoStore.open(path.with_suffix(".store")), path)
    shutil.rmtree(path.with_suffix(".store"))


def buffer(path: Path) -> None:
    exported(path, "diffusion_policy")


def buffer_of_others(path: Path) -> None:
    rng = np.random.default_rng(0)
    group = zarr.open_group(path, mode="w", zarr_format=2)
    arrays = {"meta/episode_ends": np.array([4, 9]), "data/action": rng.normal(size=(9, 2))}
    arrays |= {
        "data/state": rng.normal(size=(9, 5)),
        "data/img": rng.integers(0, 256, (9, 8, 8, 3), np.uint8),
    }
    for name, values in arrays.items():
        group.create_array(name, data=values, chunks=(5, *values.shape[1:]))


def archive(path: Path) -> None:
    folder = path.with_suffix(".folder")
    buffer_of_others(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(folder))
    shutil.rmtree(folder)


def robomimic(path: Path) -> None:
    exported(path, "robomimic")


def robomimic_of_others(path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(2):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"], demo["rewards"] = rng.normal(size=(5, 7)), np.ones(5)
            demo.create_dataset(
                "obs/object", data=rng.normal(size=(5, 10)), compression="gzip", shuffle=True
            )
            demo.create_dataset(
                "obs/view", data=rng.integers(0, 256, (5, 8, 6, 3), np.uint8), chunks=(1, 8, 6, 3)
            )
        settings = {"control_freq": 10, "reward_shaping": False}
        file["data"].attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": settings}
        )


def bag(path: Path, kind: str) -> None:
    times = np.arange(21) / 40
    picture = bags.encoded(np.full((16, 16, 3), 99, np.uint8), "png")
    messages = [bags.joints(t, (t, -t)) for t in times] + [bags.command(t, (t, 1)) for t in times]
    bags.write(path, messages + [bags.compressed(t, picture, "png") for t in times[::4]], kind)


def policy(path: Path) -> None:
    numbers = Spec({"joints": SPEC.observations["joints"]}, SPEC.actions, SPEC.policy_hz)
    net = UnetConfig(channels=(4, 8), kernel=3, groups=2, time_size=4, condition=4, prefix=True)
    config = PolicyConfig(
        horizon=4, action_steps=2, net=net, sampler=Sampler(times=(1.0, 0.3, 0.0))
    )
    save_policy(Policy(numbers, config), path, {"data": "somewhere"})


def log(path: Path) -> None:
    run = RunLog(path)
    spec = Spec({"joints": SPEC.observations["joints"]}, SPEC.actions, SPEC.policy_hz)
    ticks = np.zeros(50, tick_type(spec.action_size, 1))
    ticks["state"], ticks["inference"] = STATES.index("active"), np.arange(50) // 10 / 100
    run.facts(spec)
    run.ticks(ticks.tobytes())
    run.close()


def workshop(path: Path) -> None:
    """What the command line works on."""
    path.mkdir()
    store(path / "store")
    buffer_of_others(path / "buffer")


def imports(path: Path, out: Path) -> None:
    import_demonstrations(path, out / "out")


def imports_bag(path: Path, out: Path) -> None:
    (out / "fields.yaml").write_text(FIELDS)
    import_demonstrations(path, out / "out", Choice(fields=str(out / "fields.yaml")))


def reads_fields(path: Path, out: Path) -> None:
    bag(out / "a", "mcap")
    import_demonstrations(out / "a", out / "out", Choice(fields=str(path)))


def reads_store(path: Path, out: Path) -> None:
    """All that a training, the doctor and a writer read."""
    del out
    found = DemoStore.open(path)
    for key in ("joints", "top", "action", "time"):
        found.array(key)
    check(found)
    with DemoStore.open(path, "a") as again:
        again.append(again.episode(0))


TARGETS = {
    "lerobot": Target(lerobot, imports),
    "lerobot_of_others": Target(lerobot_of_others, imports),
    "lerobot_v21": Target(lerobot_v21, imports),
    "buffer": Target(buffer, imports),
    "buffer_of_others": Target(buffer_of_others, imports),
    "pusht": Target(
        buffer_of_others, lambda path, out: import_demonstrations(path, out / "out", task="pusht")
    ),
    "archive.zip": Target(archive, imports),
    "robomimic.hdf5": Target(robomimic, imports),
    "robomimic_of_others.h5": Target(robomimic_of_others, imports),
    "ros1.bag": Target(lambda path: bag(path, "bag"), imports_bag),
    "ros2_mcap": Target(lambda path: bag(path, "mcap"), imports_bag),
    "ros2_sqlite": Target(lambda path: bag(path, "db3"), imports_bag),
    "fields.yaml": Target(lambda path: bool(path.write_text(FIELDS)) and None, reads_fields),
    "limits.yaml": Target(
        lambda path: bool(path.write_text(LIMITS)) and None,
        lambda path, _: bool(read_table(path)) and None,
    ),
    "store": Target(store, reads_store),
    "store_lossless": Target(lambda path: store(path, "lossless"), reads_store),
    "policy": Target(policy, lambda path, _: load_policy(path)),
    "log": Target(log, lambda path, _: latencies(path)),
}


def files(path: Path) -> Iterator[Path]:
    """Everything that can be damaged, in an order that does not depend on the machine."""
    yield from [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
