"""Every format takes the same choices, refuses the same ones, and says so in the same words."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import test_formats
import test_lerobot
import test_robomimic
import test_rosbag

from fewstep.demos import DemoStore, Episode
from fewstep.demos.formats import export_demonstrations, import_demonstrations
from fewstep.demos.formats.choosing import Choice, Offer
from fewstep.envs import ConfigError, DataError, Field, Spec

SPEC = Spec(
    {
        "arm": Field((2,)),
        "boxes": Field((2, 3)),
        "top": Field((16, 16, 3), kind="image"),
    },
    {"arm": Field((2,), measured_by="arm")},
    policy_hz=10,
)


def recorded(path: Path) -> DemoStore:
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC, {}, "lossless") as store:
        for frames in (4, 6, 5):
            data = {
                "arm": rng.normal(size=(frames, 2)),
                "boxes": rng.normal(size=(frames, 2, 3)),
                "top": rng.integers(0, 256, (frames, 16, 16, 3), np.uint8),
                "action": rng.normal(size=(frames, 2)),
                "time": np.arange(frames) / 10,
            }
            store.append(Episode(data, SPEC))
    return DemoStore.open(path)


@dataclass(frozen=True)
class Dataset:
    """Something to import, and a number and a camera that are in it."""

    path: Path
    number: str
    camera: str
    base: Choice = field(default_factory=Choice)


def foreign_bag(path: Path) -> Dataset:
    pixels = np.zeros((4, 4, 3), np.uint8)
    messages = test_rosbag.arm() + [test_rosbag.raw(time, pixels) for time in (0, 1)]
    fields = path / "fields.yaml"
    fields.write_text(test_rosbag.yaml(f"{test_rosbag.JOINTS}\n  camera: {{topic: /camera}}"))
    bag = test_rosbag.write(path / "bag", messages)
    return Dataset(bag, "joints", "camera", Choice(fields=str(fields)))


def foreign_buffer(path: Path) -> Dataset:
    return Dataset(test_formats.buffer(path / "in", **test_formats.numbers()), "state", "wrist")


def foreign_hdf5(path: Path) -> Dataset:
    file = test_robomimic.hdf5(path / "in.hdf5", {"demo_0": test_robomimic.demo()})
    return Dataset(file, "object", "agentview_image")


def exported(format: str) -> Callable[[Path], Dataset]:
    def make(path: Path) -> Dataset:
        out = path / ("out.hdf5" if format == "robomimic" else "out")
        export_demonstrations(recorded(path / "demos"), out, format)
        return Dataset(out, "arm", "top")

    return make


OURS = {name: exported(name) for name in ("lerobot", "diffusion_policy", "robomimic")}
EVERY = OURS | {"bag": foreign_bag, "buffer": foreign_buffer, "hdf5": foreign_hdf5}
every_dataset = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
every_export = pytest.mark.parametrize("make", OURS.values(), ids=OURS)


def refuse(data: Dataset, out: Path, message: str, **settings: object) -> None:
    with pytest.raises(DataError, match=message):
        import_demonstrations(data.path, out, replace(data.base, **settings))
    assert not out.exists()


@every_dataset
def test_what_is_not_there_is_refused_with_what_is(
    tmp_path: Path, make: Callable[[Path], Dataset]
) -> None:
    data = make(tmp_path)
    out = tmp_path / "store"
    refuse(data, out, f"no key 'elbow'; valid: .*{data.number}", keys=["elbow"])
    refuse(data, out, f"no camera 'left'; valid: .*{data.camera}", cameras=["left"])
    message = rf"'{data.camera}' holds images: choose it with cameras=\[{data.camera}\]"
    refuse(data, out, message, keys=[data.camera])
    message = rf"'{data.number}' holds no images: choose it with keys=\[{data.number}\]"
    refuse(data, out, message, cameras=[data.number])


@every_dataset
def test_one_key_and_one_camera_are_taken_where_they_are_chosen(
    tmp_path: Path, make: Callable[[Path], Dataset]
) -> None:
    data = make(tmp_path)
    choice = replace(data.base, keys=[data.number], cameras=[data.camera])
    import_demonstrations(data.path, tmp_path / "store", choice)
    spec = DemoStore.open(tmp_path / "store").spec
    assert set(spec.observations) == {data.number, data.camera}


@every_dataset
def test_how_to_keep_images_is_refused_where_none_are_taken(
    tmp_path: Path, make: Callable[[Path], Dataset]
) -> None:
    refuse(make(tmp_path), tmp_path / "store", "leave out images=", cameras=[], images="jpeg")


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"bag"}))
def test_a_file_of_fields_is_refused_by_all_but_bags(tmp_path: Path, name: str) -> None:
    refuse(EVERY[name](tmp_path), tmp_path / "store", "leave out fields=", fields="a.yaml")


@every_export
def test_another_rate_is_refused_by_what_says_its_own(
    tmp_path: Path, make: Callable[[Path], Dataset]
) -> None:
    data = make(tmp_path)
    refuse(data, tmp_path / "store", "10 frames a second: leave out hz=", hz=30.0)
    import_demonstrations(data.path, tmp_path / "store", Choice(hz=10.0))
    assert DemoStore.open(tmp_path / "store").spec == SPEC


@every_export
def test_all_of_an_export_comes_back_where_nothing_is_chosen(
    tmp_path: Path, make: Callable[[Path], Dataset]
) -> None:
    import_demonstrations(make(tmp_path).path, tmp_path / "store")
    back = DemoStore.open(tmp_path / "store")
    assert back.spec == SPEC
    boxes = DemoStore.open(tmp_path / "demos").array("boxes")
    np.testing.assert_array_equal(back.array("boxes"), boxes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("keys", ["state"]), ("cameras", []), ("hz", 5.0), ("fields", "a.yaml"), ("images", "jpeg")],
)
def test_a_conversion_for_a_task_refuses_every_other_setting(
    tmp_path: Path, name: str, value: object
) -> None:
    source = foreign_buffer(tmp_path).path
    with pytest.raises(ConfigError, match=f"task=pusht .* leave out {name}="):
        import_demonstrations(
            source, tmp_path / "store", replace(Choice(), **{name: value}), task="pusht"
        )


def test_an_unknown_task_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pushx'; valid: pusht"):
        import_demonstrations(foreign_buffer(tmp_path).path, tmp_path / "store", task="pushx")


@pytest.mark.parametrize("given", ["state", [1]])
def test_names_are_a_list(given: object) -> None:
    with pytest.raises(ConfigError, match=r"keys must be a list, as in keys=\[a,b\]"):
        Choice(keys=given)  # pyright: ignore


def test_an_unknown_encoding_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'png'; valid: jpeg, lossless"):
        Choice(images="png")


def test_a_name_that_is_chosen_twice_is_taken_once() -> None:
    assert Offer(["a", "b"], ["c"]).choose(Choice(keys=["b", "b"])) == ["b", "c"]


@every_dataset
def test_an_import_says_how_far_it_is(tmp_path: Path, make: Callable[[Path], Dataset]) -> None:
    data = make(tmp_path)
    told: list[tuple[int, int]] = []
    import_demonstrations(
        data.path, tmp_path / "store", data.base, progress=lambda *now: told.append(now)
    )
    episodes = len(DemoStore.open(tmp_path / "store"))
    assert told[-1] == (episodes, episodes)


@pytest.mark.parametrize("format", OURS)
def test_an_export_says_how_far_it_is(tmp_path: Path, format: str) -> None:
    told: list[tuple[int, int]] = []
    export_demonstrations(
        recorded(tmp_path / "demos"),
        tmp_path / "out",
        format,
        progress=lambda *now: told.append(now),
    )
    assert told[-1] == (3, 3)


def test_a_lerobot_dataset_of_others_says_its_own_rate(tmp_path: Path) -> None:
    state = np.ones((6, 2), np.float32)
    source = test_lerobot.foreign(tmp_path / "in", **{"observation.state": state})
    data = Dataset(source, "state", "")
    refuse(data, tmp_path / "store", "30 frames a second: leave out hz=", hz=20.0)
