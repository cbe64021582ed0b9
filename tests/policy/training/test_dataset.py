"""What training samples is what the store holds, and little of it is in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.demos.windows import make_windows, split_episodes
from fewstep.envs import DataError, Field, Spec
from fewstep.policy.policy import PolicyConfig
from fewstep.policy.training.caching import mapped_arrays
from fewstep.policy.training.caching.mapped_arrays import map_arrays
from fewstep.policy.training.dataset import describe_fields, keep_fields, read_dataset

SPEC = Spec(
    {"pose": Field((2, 2), "m"), "heading": Field((1,), "rad", "angle")},
    {"reach": Field((2,), "m")},
    policy_hz=10,
)
CAMERA = {"camera": Field((4, 6, 3), kind="image")}
CONFIG = PolicyConfig(horizon=4, action_steps=2)
CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> DemoStore:
    rng = np.random.default_rng(0)
    with DemoStore.create(tmp_path / "data" / "demos", SPEC) as store:
        for frames in (12, 5, 30, 9):
            data = {
                "pose": rng.normal(size=(frames, 2, 2)),
                "heading": rng.uniform(-3, 3, (frames, 1)),
                "action": rng.normal(size=(frames, 2)),
                "time": np.arange(frames) / 10,
            }
            store.append(Episode(data, SPEC))
    return DemoStore.open(tmp_path / "data" / "demos")


def test_batches_are_the_windows_of_the_store(store: DemoStore) -> None:
    dataset = read_dataset(store.path, CONFIG, CPU, held_out=0.5, seed=3)
    every = make_windows(store.ends, 2, 4)
    episode_of_each = np.searchsorted(store.ends, every.frames, side="right")
    for samples, episodes in zip(
        (dataset.train, dataset.held_out), split_episodes(4, 0.5, 3), strict=True
    ):
        assert samples is not None
        chosen = np.flatnonzero(np.isin(episode_of_each, episodes))
        assert len(samples) == len(chosen)
        rows = torch.tensor([len(chosen) - 1, 0, 2])
        batch = samples.batch(rows)
        history = every.history(chosen[rows])
        np.testing.assert_array_equal(batch["pose"], store.array("pose")[history])
        np.testing.assert_array_equal(batch["heading"], store.array("heading")[history])
        chunk = every.chunk(chosen[rows])
        np.testing.assert_array_equal(batch["action"], store.array("action")[chunk])
        recorded = batch.pop("recorded")
        np.testing.assert_array_equal(recorded[..., 0], every.recorded(chosen[rows]))
        assert batch.keys() == {"pose", "heading", "action"}
        assert all(tensor.dtype == torch.float32 for tensor in batch.values())


def test_arrays_are_mapped_whole_whatever_the_block(store: DemoStore, monkeypatch) -> None:
    monkeypatch.setattr(mapped_arrays, "BLOCK", 7)
    arrays = map_arrays(store, ["pose", "action"])
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, store.array(key))
        assert isinstance(array.base, np.memmap)


def test_nothing_is_left_beside_the_store(store: DemoStore) -> None:
    before = sorted(store.path.parent.rglob("*"))
    arrays = map_arrays(store, ["pose"])
    assert sorted(store.path.parent.rglob("*")) == before
    arrays["pose"][0] = 7.0  # a copy: the store keeps what it holds
    assert not (DemoStore.open(store.path).array("pose")[0] == 7.0).any()


def test_a_store_beside_which_nothing_can_be_written_is_read_all_the_same(
    store: DemoStore, monkeypatch
) -> None:
    original = mapped_arrays.tempfile.TemporaryFile
    asked: list[Path | None] = []

    def refuse(dir: Path | None = None):
        asked.append(dir)
        if dir is not None:
            raise PermissionError(13, "Permission denied")
        return original()

    monkeypatch.setattr(mapped_arrays.tempfile, "TemporaryFile", refuse)
    np.testing.assert_array_equal(map_arrays(store, ["pose"])["pose"], store.array("pose"))
    assert asked == [store.path.absolute().parent, None]


def test_a_full_disk_is_one_clear_error(store: DemoStore, monkeypatch) -> None:
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def tell(self) -> int:
            return 0

        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped_arrays, "_open_scratch", lambda path: Full())
    with pytest.raises(DataError, match=r"cannot lay out 'pose' of .*demos.*No space left"):
        map_arrays(store, ["pose"])


def test_a_line_names_what_is_used_and_what_is_not() -> None:
    assert describe_fields(SPEC, SPEC) == "trains on heading, pose"
    seeing = replace(SPEC, observations={**SPEC.observations, **CAMERA})
    assert describe_fields(seeing, seeing) == "trains on heading, pose, sees camera"
    assert describe_fields(seeing, keep_fields(seeing, ["pose"])) == (
        "trains on pose; leaves out camera, heading"
    )
    assert describe_fields(seeing, keep_fields(seeing, ["camera"])) == (
        "trains on no state, sees camera; leaves out heading, pose"
    )


def test_an_action_whose_measurement_is_left_out_is_measured_by_none() -> None:
    actions = {"pose": Field((2, 2), "m", measured_by="pose")}
    seeing = replace(SPEC, observations={**SPEC.observations, **CAMERA}, actions=actions)
    assert keep_fields(seeing, ["pose"]).actions == actions
    assert keep_fields(seeing, ["camera"]).actions["pose"].measured_by == ""
