import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.demos.doctor.check import broken, check
from fewstep.demos.episode import Episode
from fewstep.demos.formats import export_demonstrations, import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.storage import images as pictures
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, Field, Spec

h5py = pytest.importorskip("h5py")

HUMAN = Path(__file__).parents[4] / "shared/data/robosuite"
LIFT = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 10, "reward_shaping": False}}
Demo = Mapping[str, Any]


def hdf5(path: Path, demos: Mapping[str, Demo], **attributes: Any) -> Path:
    """A file as robomimic writes it; an entry "@name" of a demonstration is an attribute."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs.update(attributes)
        for name, demo in demos.items():
            group = file["data"].create_group(name)
            for key, value in demo.items():
                if key.startswith("@"):
                    group.attrs[key[1:]] = value
                else:
                    group[key] = value
    return path


def demo(n: int = 5, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "actions": rng.normal(size=(n, 7)),
        "states": rng.normal(size=(n, 32)),
        "obs/object": rng.normal(size=(n, 10)),
        "obs/gripper": rng.normal(size=n),
        "obs/agentview_image": rng.integers(0, 256, (n, 8, 6, 3), np.uint8),
        "obs/agentview_depth": rng.normal(size=(n, 8, 6, 1)),
        "obs/empty": np.zeros((n, 0)),
        "next_obs/object": rng.normal(size=(n, 10)),
    }


def without(start: str) -> dict[str, Any]:
    return {key: value for key, value in demo().items() if not key.startswith(start)}


def episodes(path: Path, **choice: Any) -> list[Episode]:
    """Before a store compresses their images."""
    from fewstep.demos.formats.robomimic.reading import read

    with read(path, Choice(**choice)) as source:
        return [
            replace(e, data={k: np.asarray(v) for k, v in e.data.items()}) for e in source.episodes
        ]


def imported(path: Path, **choice: Any) -> DemoStore:
    out = path.with_suffix(".zarr")
    import_demonstrations(path, out, Choice(**choice))
    return DemoStore.open(out)


def test_every_demonstration_arrives_unchanged_in_the_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    demos = {f"demo_{k}": demo(3 + k, seed=k) for k in (10, 1, 2)}
    path = hdf5(tmp_path / "a.hdf5", demos)
    store = imported(path)
    assert np.diff([0, *store.ends]).tolist() == [4, 5, 13]
    for episode, k in zip(episodes(path), (1, 2, 10), strict=True):
        data, want = episode.data, demos[f"demo_{k}"]
        np.testing.assert_array_equal(data["action"], want["actions"].astype(np.float32))
        np.testing.assert_array_equal(data["object"], want["obs/object"].astype(np.float32))
        np.testing.assert_array_equal(data["gripper"][:, 0], want["obs/gripper"].astype(np.float32))
        np.testing.assert_array_equal(data["agentview_image"], want["obs/agentview_image"])
        np.testing.assert_allclose(data["time"], np.arange(3 + k) / 20)
    assert dict(store.spec.observations) == {
        "agentview_image": Field((8, 6, 3), kind="image"),
        "gripper": Field((1,)),
        "object": Field((10,)),
    }
    assert dict(store.spec.actions) == {"action": Field((7,))}


def test_without_observations_there_are_the_states_of_the_simulator(tmp_path: Path) -> None:
    raw = without("obs/")
    store = imported(hdf5(tmp_path / "a.h5", {"demo_1": raw}))
    assert dict(store.spec.observations) == {"states": Field((32,))}
    np.testing.assert_array_equal(store.array("states"), raw["states"].astype(np.float32))


def test_keys_and_cameras_choose(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.hdf5", {"demo_0": demo()})
    assert set(imported(path, cameras=()).spec.observations) == {"gripper", "object"}
    path = path.rename(tmp_path / "b.hdf5")
    chosen = imported(path, keys=("agentview_depth",), cameras=("agentview_image",))
    assert set(chosen.spec.observations) == {"agentview_depth", "agentview_image"}
    np.testing.assert_array_equal(
        chosen.array("agentview_depth"), demo()["obs/agentview_depth"].astype(np.float32)
    )


@pytest.mark.parametrize(
    ("attributes", "hz", "want", "note"),
    [
        ({"env_args": json.dumps(LIFT)}, 0.0, 10, "control_freq of the file"),
        ({"env_info": json.dumps({"control_freq": 50})}, 0.0, 50, "control_freq of the file"),
        ({"env_info": json.dumps({"env_name": "Lift"})}, 0.0, 20, "the file states none"),
        ({}, 0.0, 20, "the file states none"),
        ({"env_args": json.dumps(LIFT)}, 15.0, 15, "as chosen"),
    ],
)
def test_the_notes_say_where_the_rate_comes_from(
    tmp_path: Path, attributes: dict[str, str], hz: float, want: float, note: str
) -> None:
    store = imported(hdf5(tmp_path / "a.hdf5", {"demo_0": demo()}, **attributes), hz=hz)
    assert store.spec.policy_hz == want
    assert note in store.provenance["rate"]
    np.testing.assert_allclose(store.array("time"), np.arange(5) / want)


@pytest.mark.parametrize(
    ("extra", "kwargs", "want"),
    [
        ({"@success": np.bool_(True)}, {}, True),
        ({"@success": np.bool_(False), "rewards": np.ones(5)}, {"reward_shaping": False}, False),
        ({"@success": "no"}, {}, None),
        ({"rewards": np.array([0, 0, 1, 1, 0.0])}, {"reward_shaping": False}, True),
        ({"rewards": np.array([0, 0, 0.5, 0, 0.0])}, {"reward_shaping": False}, False),
        (
            {"rewards": np.array([0, 0, 5.0, 0, 0])},
            {"reward_shaping": False, "reward_scale": 5.0},
            True,
        ),
        ({"rewards": np.ones(5)}, {"reward_shaping": False, "reward_scale": None}, None),
        ({"rewards": np.ones(5)}, {"reward_shaping": True}, None),
        ({"rewards": np.ones(5)}, {}, None),
        ({"dones": np.array([0, 0, 0, 0, 1])}, {"reward_shaping": False}, None),
        ({}, {"reward_shaping": False}, None),
    ],
)
def test_success_is_known_only_where_the_file_tells(
    tmp_path: Path, extra: Demo, kwargs: dict[str, Any], want: bool | None
) -> None:
    path = hdf5(
        tmp_path / "a.hdf5",
        {"demo_0": {**demo(), **extra}},
        env_args=json.dumps({"env_kwargs": kwargs}),
    )
    assert imported(path).success == [want]


@pytest.mark.parametrize("robosuite", [True, False])
def test_the_quaternions_and_units_of_robosuite_are_known_and_of_nobody_else(
    tmp_path: Path, robosuite: bool
) -> None:
    xyzw = np.array([[0.1, 0.2, 0.3, 0.9]] * 5)
    obs = {"obs/robot0_eef_quat": xyzw, "obs/robot1_joint_pos": np.ones((5, 7)), "obs/quat": xyzw}
    path = hdf5(
        tmp_path / "a.hdf5",
        {"demo_0": without("obs/") | obs},
        env_args=json.dumps(LIFT | {"type": int(robosuite)}),
    )
    store = imported(path)
    spec = store.spec.observations
    assert spec["quat"] == Field((4,))
    assert spec["robot1_joint_pos"] == Field((7,), "rad" if robosuite else "")
    assert spec["robot0_eef_quat"].kind == ("quaternion" if robosuite else "linear")
    want = [0.9, 0.1, 0.2, 0.3] if robosuite else [0.1, 0.2, 0.3, 0.9]
    np.testing.assert_allclose(store.array("robot0_eef_quat"), [want] * 5, rtol=1e-6)
    assert store.provenance["environment"]["env_kwargs"]["control_freq"] == 10


@pytest.mark.parametrize(
    ("demos", "attributes", "choice", "message"),
    [
        (
            {"demo_0": without("actions")},
            {},
            {},
            "demo_0: no array of numbers 'actions': .* 2018; there are states",
        ),
        (
            {"demo_0": {"actions": np.ones((5, 7))}},
            {},
            {},
            "demo_0: no array of numbers 'states'; there are actions",
        ),
        (
            {"demo_0": demo()},
            {},
            {"keys": ("joints",)},
            "no key 'joints'; valid: agentview_depth, empty, gripper",
        ),
        (
            {"demo_0": demo()},
            {},
            {"cameras": ("object",)},
            r"'object' holds no images: choose it with keys=\[object\]; valid cameras: agentview",
        ),
        ({"demo_0": demo()}, {}, {"keys": ("empty",)}, "'empty' has no elements"),
        ({"demo_0": demo()}, {"env_args": "{"}, {}, "env_args or env_info is no JSON"),
        ({"demo_0": demo()}, {}, {"hz": -5.0}, "policy_hz must be positive"),
        ({"demo_0": demo(), "demo_1": demo(0)}, {}, {}, "demo_1: it has no frames"),
        (
            {"demo_0": demo(), "demo_1": without("obs/object")},
            {},
            {},
            "demo_1: no array of numbers 'object'; there are",
        ),
        (
            {"demo_0": demo(), "demo_1": demo() | {"obs/object": np.ones((5, 9))}},
            {},
            {},
            r"demo_1: 'object' has shape",
        ),
        (
            {"demo_0": demo(), "demo_1": demo() | {"obs/object": np.ones((4, 10))}},
            {},
            {},
            "demo_1: .* differ in length",
        ),
        (
            {
                "demo_0": demo(),
                "demo_1": demo() | {"obs/agentview_image": np.ones((5, 8, 6, 3), np.float32)},
            },
            {},
            {},
            r"demo_1: 'agentview_image' has \(5, 8, 6, 3\) float32: no images of uint8",
        ),
        (
            {"demo_0": demo() | {"actions": np.array([b"left"] * 5)}},
            {},
            {},
            "no array of numbers 'actions'",
        ),
        ({}, {}, {}, "holds no demonstrations"),
    ],
)
def test_what_cannot_be_imported_says_why_and_leaves_nothing(
    tmp_path: Path,
    demos: Mapping[str, Demo],
    attributes: dict[str, str],
    choice: dict[str, Any],
    message: str,
) -> None:
    path = hdf5(tmp_path / "in.hdf5", demos, **attributes)
    with pytest.raises(DataError, match=message):
        imported(path, **choice)
    assert [left.name for left in tmp_path.iterdir()] == ["in.hdf5"]


def test_an_error_names_file_and_demonstration(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "in.hdf5", {"demo_0": demo(), "demo_1": without("actions")})
    with pytest.raises(DataError, match=f"^{path}, demo_1: no array"):
        imported(path)


def test_a_file_cut_short_is_called_damaged(tmp_path: Path) -> None:
    whole = hdf5(tmp_path / "whole.hdf5", {"demo_0": demo()}).read_bytes()
    path = tmp_path / "in.hdf5"
    for part in np.linspace(0, 0.99, 12):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError, match=f"cannot read {path}"):
            imported(path)
    path.write_text("no HDF5 at all")
    with pytest.raises(DataError, match="cannot read"):
        imported(path)
    with h5py.File(path, "w") as file:
        file["time"] = np.arange(3)
    with pytest.raises(DataError, match="no group 'data' of demonstrations, but time"):
        imported(path)
    assert sorted(left.name for left in tmp_path.iterdir()) == ["in.hdf5", "whole.hdf5"]


def test_a_file_cannot_make_others_be_read(tmp_path: Path) -> None:
    hdf5(tmp_path / "secret.hdf5", {"demo_0": demo()})
    (tmp_path / "secret.bin").write_bytes(bytes(5 * 8))
    path = hdf5(tmp_path / "in.hdf5", {"demo_0": without("obs/object")})
    with h5py.File(path, "a") as file:
        obs = file["data/demo_0/obs"]
        obs["object"] = h5py.ExternalLink("secret.hdf5", "/data/demo_0/obs/object")
        obs.create_dataset(
            "raw", (5, 1), "f8", external=[(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        )
    for key, message in {
        "object": "no key 'object'",
        "raw": "the numbers of 'raw' lie in another file",
    }.items():
        with pytest.raises(DataError, match=message):
            imported(path, keys=(key,))


def test_not_even_one_demonstration_is_in_memory(tmp_path: Path) -> None:
    images = (
        np.random.default_rng(0).integers(0, 256, (2000, 96, 96, 1), np.uint8).repeat(3, axis=3)
    )
    path = hdf5(
        tmp_path / "a.hdf5", {"demo_0": {"actions": np.ones((2000, 7)), "obs/view": images}}
    )
    tracemalloc.start()
    store = imported(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * images.nbytes
    np.testing.assert_array_equal(store.array("view", 1000, 1010), images[1000:1010])


def test_damage_in_the_midst_of_pictures_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hdf5(tmp_path / "a.hdf5", {"demo_0": demo(50)})
    monkeypatch.setattr(pictures, "READ", 10 * 8 * 6 * 3)
    real = h5py.Dataset.__getitem__

    def damaged(array: Any, index: Any, *more: Any) -> Any:
        if isinstance(index, slice) and index.start == 30:
            raise OSError("Can't synchronously read data (inflate() failed)")
        return real(array, index, *more)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", damaged)
    with pytest.raises(DataError, match=r"agentview_image from frame 30 on: .*inflate"):
        imported(path)
    assert [left.name for left in tmp_path.iterdir()] == ["a.hdf5"]


def human(name: str) -> Path:
    if not (HUMAN / name).exists():
        pytest.skip(f"the demonstrations of robosuite are not at {HUMAN}")
    return HUMAN / name


@pytest.mark.parametrize(
    ("name", "frames", "states"), [("lift_panda", 412, 32), ("stack_panda", 532, 45)]
)
def test_the_human_robosuite_sets_are_whole_and_healthy(
    tmp_path: Path, name: str, frames: int, states: int
) -> None:
    out = tmp_path / "out"
    import_demonstrations(human(f"{name}.hdf5"), out)
    store = DemoStore.open(out)
    assert (len(store), store.frames, store.success) == (1, frames, [None])
    assert dict(store.spec.observations) == {"states": Field((states,))}
    assert store.spec.action_size == 7
    assert store.provenance["environment"]["robots"] == "Panda"
    clock = store.array("states")[:, 0]  # MuJoCo's: the rate that the file does not state
    np.testing.assert_allclose(np.diff(clock), 1 / store.spec.policy_hz, rtol=1e-3)
    assert not broken(check(store))


def test_the_robosuite_set_of_2018_has_no_actions(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match="demo_1: no array of numbers 'actions': what was sent to the robot is not known",
    ):
        import_demonstrations(human("SawyerLift.hdf5"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


# Export

TOOL = Spec(
    {
        "joints": Field((2,), "rad"),
        "turn": Field((4,), kind="quaternion"),
        "boxes": Field((2, 3), "m"),
        "top": Field((8, 6, 3), kind="image"),
    },
    {"arm": Field((2,), "rad", measured_by="joints")},
    12.5,
)


def recorded(path: Path) -> DemoStore:
    rng = np.random.default_rng(0)

    def made(frames: int, success: bool | None) -> Episode:
        turn = rng.normal(size=(frames, 4))
        data = {
            "joints": rng.normal(size=(frames, 2)),
            "turn": turn / np.linalg.norm(turn, axis=1, keepdims=True),
            "boxes": rng.normal(size=(frames, 2, 3)),
            "top": rng.integers(0, 256, (frames, 8, 6, 3), np.uint8),
            "action": rng.normal(size=(frames, 2)),
            "time": np.cumsum(rng.uniform(0.07, 0.09, frames)),
        }
        return Episode(data, TOOL, success)

    with DemoStore.create(
        path, TOOL, {"task": "stack", "source": "a leader arm"}, "lossless"
    ) as store:
        store.append(
            *(made(frames, success) for frames, success in ((5, True), (3, False), (12, None)))
        )
    return DemoStore.open(path)


def test_what_is_exported_comes_back_bit_by_bit(tmp_path: Path) -> None:
    store = recorded(tmp_path / "demos")
    export_demonstrations(store, tmp_path / "out.hdf5", "robomimic")
    back = imported(tmp_path / "out.hdf5")
    assert (back.spec, back.provenance, back.success) == (
        store.spec,
        store.provenance,
        store.success,
    )
    assert back.ends.tolist() == store.ends.tolist()
    for i in range(3):
        for key, values in store.episode(i).data.items():
            np.testing.assert_array_equal(np.asarray(back.episode(i).data[key]), np.asarray(values))


def test_an_exported_file_is_what_robomimic_reads(tmp_path: Path) -> None:
    store = recorded(tmp_path / "demos")
    export_demonstrations(store, tmp_path / "out.hdf5", "robomimic", task="stack two")
    with h5py.File(tmp_path / "out.hdf5") as file:
        data = file["data"]
        said = json.loads(data.attrs["env_args"])
        assert (data.attrs["total"], said) == (
            20, {"env_name": "stack two", "type": 2, "env_kwargs": {"control_freq": 12.5}}
        )  # fmt: skip
        assert [data[k].attrs["num_samples"] for k in ("demo_0", "demo_1", "demo_2")] == [5, 3, 12]
        assert [data[k]["rewards"][()].sum() for k in ("demo_0", "demo_1", "demo_2")] == [1, 0, 0]
        assert data["demo_0/dones"][()].tolist() == [0, 0, 0, 0, 1]
        quaternions = np.asarray(store.episode(0).data["turn"])
        np.testing.assert_array_equal(data["demo_0/obs/turn"][()], quaternions[:, [1, 2, 3, 0]])


def test_keys_choose_of_an_exported_file(tmp_path: Path) -> None:
    export_demonstrations(recorded(tmp_path / "demos"), tmp_path / "out.hdf5", "robomimic")
    chosen = imported(tmp_path / "out.hdf5", keys=("boxes",), cameras=())
    assert (
        list(chosen.spec.observations) == ["boxes"] and chosen.spec.actions["arm"].measured_by == ""
    )
    with pytest.raises(DataError, match="no key 'tool'; valid: boxes"):
        episodes(tmp_path / "out.hdf5", keys=("tool",))


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = recorded(tmp_path / "demos")
    monkeypatch.setattr(
        DemoStore, "episode", lambda *_: (_ for _ in ()).throw(DataError("damaged"))
    )
    with pytest.raises(DataError, match="damaged"):
        export_demonstrations(store, tmp_path / "out.hdf5", "robomimic")
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]


def test_an_export_that_the_disk_has_no_room_for_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    resource = pytest.importorskip("resource")
    store, limits = recorded(tmp_path / "demos"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"could not write .*out.hdf5: File too large"):
            export_demonstrations(store, tmp_path / "out.hdf5", "robomimic")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]
    assert capfd.readouterr().err == ""
