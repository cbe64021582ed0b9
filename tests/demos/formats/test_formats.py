import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.demos import Episode
from fewstep.demos.formats import export_demonstrations, import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.formats.diffusion_policy.reading import read
from fewstep.demos.formats.source import save
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, Field, Spec
from fewstep.envs.sim.push_t_geometry import SPEC as PUSHT


def buffer(path: Path, ends: Any = (4, 9), **arrays: np.ndarray) -> Path:
    """A replay buffer as Diffusion Policy writes it."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in {
        "meta/episode_ends": np.asarray(ends),
        **{f"data/{k}": v for k, v in arrays.items()},
    }.items():
        chunks = (max(1, min(7, len(values))), *values.shape[1:])
        config = {"write_empty_chunks": True}
        group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, config=config
        )[...] = values
    return path


def numbers(n: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "state": rng.normal(size=(n, 3)),
        "gripper": rng.integers(0, 2, n),
        "keypoint": rng.normal(size=(n, 9, 2)),
        "img": np.floor(rng.uniform(0, 256, (n, 8, 8, 3))).astype(np.float32),
        "wrist": rng.integers(0, 256, (n, 8, 8, 3), np.uint8),
        "action": rng.normal(size=(n, 2)),
    }


def import_diffusion_policy(
    source: Path, out: Path, keys=None, cameras=None, hz: float = 0.0, **meaning: Any
) -> None:
    with read(source, Choice(keys, cameras, hz), **meaning) as found:
        save(found, out)


def zipped(folder: Path, inside: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "a") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, Path(inside) / file.relative_to(folder))
    return path


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.sampled_from([None, "", "pusht/replay.zarr"]),
)
def test_every_episode_arrives_unchanged(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], archive: str | None
) -> None:
    path = tmp_path_factory.mktemp("import")
    ends, arrays = np.cumsum(lengths), numbers(sum(lengths))
    source = buffer(path / "replay.zarr", ends, **arrays)
    import_diffusion_policy(
        source if archive is None else zipped(source, archive), path / "out", hz=25
    )
    store = DemoStore.open(path / "out")
    assert store.ends.tolist() == ends.tolist()
    np.testing.assert_array_equal(store.array("state"), arrays["state"].astype(np.float32))
    np.testing.assert_array_equal(store.array("action"), arrays["action"].astype(np.float32))
    np.testing.assert_array_equal(store.array("wrist"), arrays["wrist"])
    np.testing.assert_array_equal(
        store.array("time"), np.concatenate([np.arange(n) / 25 for n in lengths])
    )
    assert store.success == [None] * len(lengths)


def test_by_default_all_numbers_and_byte_images_are_taken(tmp_path: Path) -> None:
    import_diffusion_policy(buffer(tmp_path / "in", **numbers()), tmp_path / "out")
    spec = DemoStore.open(tmp_path / "out").spec
    assert dict(spec.observations) == {
        "gripper": Field((1,)),
        "state": Field((3,)),
        "wrist": Field((8, 8, 3), kind="image"),
    }
    assert (dict(spec.actions), spec.policy_hz) == ({"action": Field((2,))}, 10)


def test_keys_choose_and_turn_float_images_into_bytes(tmp_path: Path) -> None:
    arrays = numbers()
    import_diffusion_policy(
        buffer(tmp_path / "in", **arrays), tmp_path / "out", keys=["keypoint"], cameras=["img"]
    )
    store = DemoStore.open(tmp_path / "out")
    assert set(store.spec.observations) == {"img", "keypoint"}
    np.testing.assert_array_equal(store.array("img"), arrays["img"].astype(np.uint8))
    np.testing.assert_array_equal(store.array("keypoint"), arrays["keypoint"].astype(np.float32))


def test_a_spec_and_transform_give_the_numbers_a_meaning(tmp_path: Path) -> None:
    arrays = numbers()
    spec = Spec({"tool": Field((2,), "m")}, {"tool": Field((2,), "m", measured_by="tool")}, 10)
    import_diffusion_policy(
        buffer(tmp_path / "in", **arrays),
        tmp_path / "out",
        keys=["state"],
        cameras=[],
        spec=spec,
        transform=lambda raw: {"tool": raw["state"][:, :2] / 1000, "action": raw["action"] / 1000},
        notes={"licence": "MIT"},
    )
    store = DemoStore.open(tmp_path / "out")
    assert store.spec == spec
    assert store.provenance == {
        "source": "in",
        "format": "Diffusion Policy replay buffer",
        "licence": "MIT",
    }
    np.testing.assert_allclose(store.array("tool"), arrays["state"][:, :2] / 1000, rtol=1e-6)


def without(key: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in numbers().items() if k != key}


@pytest.mark.parametrize(
    ("ends", "arrays", "keys", "message"),
    [
        (
            (4, 9),
            without("action"),
            None,
            "no 'data/action'; valid: gripper, img, keypoint, state, wrist",
        ),
        ((4, 9), numbers(), ["joints"], "no key 'joints'; valid: gripper, keypoint"),
        ((4, 8), numbers(), None, "'gripper' has 9 frames, the episodes have 8"),
        ((4, 10), numbers(), ["state"], "'state' has 9 frames, the episodes have 10"),
        ((4, 4, 9), numbers(), None, "whole numbers that grow"),
        ((0, 9), numbers(), None, "whole numbers that grow"),
        ((4.5, 9.0), numbers(), None, "whole numbers that grow"),
        ((), numbers(0), None, "whole numbers that grow"),
        (
            (4, 9),
            numbers() | {"text": np.array(["push"] * 9)},
            ["text"],
            "no key 'text'; valid: gripper, keypoint",
        ),
        (
            (4, 9),
            numbers() | {"img": numbers()["img"] / 255},
            None,
            "'img' ranges .* only 0 to 255",
        ),
        ((4, 9), numbers() | {"img": numbers()["img"] * np.nan}, None, "'img' ranges from nan"),
    ],
)
def test_what_cannot_be_imported_says_why_and_leaves_nothing(
    tmp_path: Path, ends: Any, arrays: dict[str, np.ndarray], keys: list[str] | None, message: str
) -> None:
    source = buffer(tmp_path / "in", ends, **arrays)
    with pytest.raises(DataError, match=message):
        import_diffusion_policy(
            source, tmp_path / "out", keys=keys, cameras=None if keys else ["img"]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("chunk", ["data/state/1.0", "data/wrist/1.0.0.0", "meta/episode_ends/0"])
@pytest.mark.parametrize("left", [None, 0, 8, 15, 30])
def test_chunks_that_are_lost_or_cut_short_are_told(
    tmp_path: Path, chunk: str, left: int | None
) -> None:
    source = buffer(tmp_path / "in", **numbers())
    content = (source / chunk).read_bytes()
    (source / chunk).unlink()
    if left is not None:
        (source / chunk).write_bytes(content[:left])
    with pytest.raises(
        DataError, match=f"in {'lacks' if left is None else 'has only a part of'} {chunk}: fetch it"
    ):
        import_diffusion_policy(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_chunk_that_an_archive_lacks_is_told(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    (source / "data/state/1.0").unlink()
    with pytest.raises(DataError, match=r"in.zip lacks data/state/1.0"):
        import_diffusion_policy(zipped(source), tmp_path / "out")


def test_zeros_and_the_order_of_observations_come_back_from_an_export(tmp_path: Path) -> None:
    keys = ["top", "e", "d", "c", "b", "a"]
    fields = {key: Field((4, 5, 3), kind="image") if key == "top" else Field((1,)) for key in keys}
    spec = Spec(fields, {"act": Field((2,))}, 10)
    data = {key: np.zeros((3, *field.shape), np.uint8) for key, field in fields.items()}
    with DemoStore.create(tmp_path / "demos", spec) as store:
        store.append(Episode(data | {"action": np.zeros((3, 2)), "time": np.zeros(3)}, spec))
    export_demonstrations(store, tmp_path / "buffer", "diffusion_policy")
    import_demonstrations(tmp_path / "buffer", tmp_path / "back")
    back = DemoStore.open(tmp_path / "back")
    assert list(back.spec.observations) == keys
    assert not any(back.array(key).any() for key in (*keys, "action", "time"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"keys": ["wrist"]}, r"'wrist' holds images: choose it with cameras=\[wrist\]"),
        ({"keys": ["action"]}, "no key 'action'; valid: gripper, keypoint"),
        (
            {"cameras": ["state"]},
            r"'state' holds no images: choose it with keys=\[state\]; valid cameras: img, wrist",
        ),
    ],
)
def test_what_is_chosen_as_something_else_is_refused(
    tmp_path: Path, choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        import_diffusion_policy(buffer(tmp_path / "in", **numbers()), tmp_path / "out", **choice)


def test_a_store_is_not_imported(tmp_path: Path) -> None:
    DemoStore.create(tmp_path / "demos", PUSHT).close()
    with pytest.raises(DataError, match="is a store of fewstep already: use it as data="):
        import_demonstrations(tmp_path / "demos", tmp_path / "out")


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    meta = '{"chunks": [9], "compressor": null, "dtype": "|O", "fill_value": null, '
    meta += '"order": "C", "shape": [9],'
    (source / "data/labels").mkdir()
    (source / "data/labels/.zarray").write_text(
        meta + '"filters": [{"id": "pickle"}], "zarr_format": 2}'
    )
    for keys in (["labels"], None):
        with pytest.raises(DataError, match="cannot read"):
            import_diffusion_policy(source, tmp_path / "out", keys=keys)
    import_diffusion_policy(source, tmp_path / "out", keys=["state"], cameras=[])


def test_other_things_are_not_mistaken_for_a_buffer(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    zarr.open_group(tmp_path / "bare", mode="w", zarr_format=2)
    buffer(tmp_path / "a", **numbers())
    zipped(tmp_path / "a", "one")
    zipped(tmp_path / "a", "two")
    cases = {
        "nothing": "nothing at",
        "folder": "cannot read",
        "text.zip": "zip",
        "bare": "lacks",
        "a.zip": "several",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            import_diffusion_policy(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_stays_as_it_is(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    with pytest.raises(DataError, match="exists already"):
        import_diffusion_policy(source, source)
    assert zarr.open_group(source, mode="r")["data/state"].shape == (9, 3)  # pyright: ignore


def test_memory_does_not_grow_with_the_number_of_episodes(tmp_path: Path) -> None:
    frames, episodes = 20, 100
    images = np.random.default_rng(0).integers(0, 256, (frames * episodes, 96, 1, 1), np.uint8)
    images = np.tile(images, (1, 1, 96, 3))
    ends = np.arange(1, episodes + 1) * frames
    source = buffer(tmp_path / "in", ends, img=images, action=np.zeros((len(images), 1)))
    tracemalloc.start()
    import_diffusion_policy(source, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.4 * images.nbytes
    np.testing.assert_array_equal(
        DemoStore.open(tmp_path / "out").array("img", 150, 250), images[150:250]
    )
