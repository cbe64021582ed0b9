import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.demos.doctor.check import Finding, broken, check
from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, Field, Spec

HZ, FRAMES, EPISODES = 20, 60, 5
SPEC = Spec(
    {
        "arm": Field((2,), "rad", low=(-2, -2), high=(2, 2)),
        "force": Field((1,), "N"),
        "heading": Field((1,), "rad", kind="angle"),
        "tool": Field((4,), kind="quaternion"),
        "camera": Field((4, 4, 3), kind="image"),
    },
    {
        "arm": Field((2,), "rad", low=(-2, -2), high=(2, 2), measured_by="arm"),
        "grip": Field((1,), kind="discrete", low=(0,), high=(1,)),
    },
    HZ,
)
Arrays = dict[str, np.ndarray]


def clean(rng: np.random.Generator, n: int = FRAMES) -> Arrays:
    """Smooth motion in the bounds, a force that is mostly noise with short contacts, a grip that
    closes once.
    """
    time = np.arange(n) / HZ
    speed, phase = rng.uniform(0.5, 2, 2), rng.uniform(0, 6, 2)
    arm, told = (1.9 * np.sin(speed * t[:, None] + phase) for t in (time, time + 1 / HZ))
    quaternions = rng.normal(size=(n, 4))
    return {
        "arm": arm,
        "force": rng.normal(size=(n, 1)) + 8.0 * (rng.random((n, 1)) < 0.05),
        "heading": rng.uniform(-np.pi, np.pi, (n, 1)),
        "tool": quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
        "camera": rng.integers(0, 256, (n, 4, 4, 3), np.uint8),
        "action": np.hstack([told, time[:, None] > rng.uniform(0.5, 2.5)]),
        "time": time + rng.uniform(0, 0.1 / HZ, n),
    }


def save(path: Path, episodes: list[Arrays]) -> DemoStore:
    with DemoStore.create(path, SPEC) as store:
        for data in episodes:
            store.append(Episode(data, SPEC))
    return DemoStore.open(path)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_clean_demonstrations_have_no_findings(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    assert check(save(tmp_path_factory.mktemp("clean") / "s", [clean(rng) for _ in range(3)])) == []


def put(key: str, value: Any, frame: Any = 7, element: Any = ...) -> Callable[[Arrays], None]:
    """Something that goes wrong in an episode."""

    def spoil(data: Arrays) -> None:
        data[key][frame, element] = value

    return spoil


def late(data: Arrays) -> None:
    data["time"][7:] += 0.9 / HZ


def backwards(data: Arrays) -> None:
    data["time"][7:] -= 1.2 / HZ


def flip(data: Arrays) -> None:
    data["tool"][7] *= 1.1


@pytest.mark.parametrize(
    ("spoil", "level", "key", "words"),
    [
        (put("time", np.nan), "error", "time", "NaN"),
        (late, "warning", "time", "lost frames"),
        (backwards, "error", "time", "does not increase"),
        (put("force", np.nan), "error", "force", "NaN or infinite"),
        (put("action", np.inf, element=1), "error", "action.arm", "NaN or infinite"),
        (put("force", 1000.0), "warning", "force", "other units"),
        (put("force", -1000.0), "warning", "force", "other units"),
        (put("heading", 90.0), "warning", "heading", "degrees"),
        (put("arm", 2.1, element=0), "warning", "arm", "outside the bounds"),
        (put("action", -2.1, element=1), "error", "action.arm", "outside the bounds"),
        (put("action", 2, element=2), "error", "action.grip", "outside the bounds"),
        (flip, "error", "tool", "norm"),
    ],
)
def test_one_bad_frame_is_found_where_it_is(
    tmp_path: Path, spoil: Callable[[Arrays], None], level: str, key: str, words: str
) -> None:
    rng = np.random.default_rng(0)
    episodes = [clean(rng) for _ in range(EPISODES)]
    spoil(episodes[3])
    findings = check(save(tmp_path / "s", episodes))
    assert [(f.level, f.key, f.episode, f.frame) for f in findings] == [(level, key, 3, 7)]
    assert words in findings[0].message
    assert findings[0].message.startswith("1 frame in 1 episode: ")
    assert broken(findings) == (level == "error")


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.fixture
def episodes() -> list[Arrays]:
    rng = np.random.default_rng(1)
    return [clean(rng) for _ in range(EPISODES)]


def test_one_episode_of_another_rate_is_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    for data in episodes[:2]:
        data["time"] *= 0.5
    finding = only(check(save(tmp_path / "s", episodes)))
    assert (finding.level, finding.key, finding.episode) == ("error", "time", 0)
    assert "2 episodes not at the 20 Hz" in finding.message
    assert re.search(r"the first at (39\.\d|40) Hz", finding.message)


def test_uneven_frames_are_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    for data in episodes:
        data["time"][::2] += 0.3 / HZ
    finding = only(check(save(tmp_path / "s", episodes)))
    assert (finding.level, finding.key) == ("warning", "time")
    assert "too busy" in finding.message


def test_an_element_that_never_changes_is_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    for data in episodes:
        data["action"][:, 2] = 1
        data["tool"][:] = [1, 0, 0, 0]
    findings = check(save(tmp_path / "s", episodes))
    assert [(f.level, f.key) for f in findings] == [("warning", "tool"), ("warning", "action.grip")]
    assert "elements [0, 1, 2, 3] never change" in findings[0].message


def test_a_camera_that_stands_still_is_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    episodes[4]["camera"][:] = episodes[4]["camera"][0]
    finding = only(check(save(tmp_path / "s", episodes)))
    assert (finding.level, finding.key, finding.episode) == ("warning", "camera", 4)


def test_commands_in_other_units_than_their_measurement_are_found(
    tmp_path: Path, episodes: list[Arrays]
) -> None:
    for data in episodes:
        data["action"][:, :2] *= 0.02
    finding = only(check(save(tmp_path / "s", episodes)))
    assert (finding.level, finding.key) == ("warning", "action.arm")
    assert "0.02 times what 'arm'" in finding.message


def test_episodes_too_short_for_a_chunk_are_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    rng = np.random.default_rng(0)
    store = save(tmp_path / "s", [*episodes, clean(rng, 15), clean(rng, 16)])
    finding = only(check(store))
    assert (finding.level, finding.episode) == ("warning", EPISODES)
    assert check(store, horizon=15) == []
    assert only(check(store, horizon=FRAMES + 1)).level == "error"


def test_copies_of_an_episode_are_found(tmp_path: Path, episodes: list[Arrays]) -> None:
    finding = only(check(save(tmp_path / "s", [*episodes, episodes[1], episodes[1]])))
    assert (finding.level, finding.key, finding.episode) == ("warning", "action", EPISODES)
    assert finding.message.startswith("2 episodes")


def test_errors_come_first(tmp_path: Path, episodes: list[Arrays]) -> None:
    episodes[0]["force"][3] = 1e6
    flip(episodes[0])
    assert [f.level for f in check(save(tmp_path / "s", episodes))] == ["error", "warning"]


def test_even_the_worst_data_is_diagnosed(tmp_path: Path, episodes: list[Arrays]) -> None:
    for data in episodes:
        for key in ("arm", "force", "heading", "tool", "action", "time"):
            data[key][:] = np.nan
    findings = check(save(tmp_path / "s", episodes))
    assert {f.key for f in findings if f.level == "error"} == {
        *("arm", "force", "heading", "tool", "action.arm", "action.grip", "time")
    }


def test_an_empty_store_is_no_healthy_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no episodes"):
        check(save(tmp_path / "s", []))
