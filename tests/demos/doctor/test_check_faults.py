"""Seeds what spoils real teleoperation into clean demonstrations, and wants it found, there, and
nothing else.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.demos.doctor import cameras as check_cameras
from fewstep.demos.doctor.check import Finding, broken, check
from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec

HZ, EPISODES = 20, 12
BAD, FAST = (
    7,
    14,
)  # the episode that is spoilt where one is; a frame in the midst of its first motion
JOINTS = {"shape": (3,), "unit": "rad"}
SPEC = Spec(
    {
        "joints": Field(**JOINTS),
        "gripper": Field((1,), "m"),
        "object": Field((3,), "m"),
        "tool": Field((4,), kind="quaternion"),
        "force": Field((1,), "N"),
        "front": Field((24, 24, 3), kind="image"),
    },
    {
        "joints": Field(**JOINTS, low=(-3,) * 3, high=(3,) * 3, measured_by="joints"),
        "gripper": Field((1,), "m", low=(0,), high=(0.08,), measured_by="gripper"),
    },
    HZ,
)
Arrays = dict[str, np.ndarray]


def reach(rng: np.random.Generator, points: np.ndarray, seconds: float = 1.4) -> np.ndarray:
    """Joint angles (T, 3) from point to point, each motion smooth, with the tremor of a hand."""
    n = round(seconds * HZ)
    s = np.linspace(0, 1, n, endpoint=False)[:, None]
    way = np.concatenate(
        [a + (b - a) * (10 * s**3 - 15 * s**4 + 6 * s**5) for a, b in pairwise(points)]
    )
    tremor = np.cumsum(rng.normal(size=way.shape), axis=0)
    return way + 0.004 * (tremor - np.linspace(0, 1, len(way))[:, None] * tremor[-1])


def follow(command: np.ndarray, rate: float = 0.5) -> np.ndarray:
    """What a servo makes of commands (T, D): a state that lags behind."""
    out = np.array(command)
    for i in range(1, len(out)):
        out[i] = out[i - 1] + rate * (command[i - 1] - out[i - 1])
    return out


def place(joints: np.ndarray) -> np.ndarray:
    """Where the hand is, (T, 3) [m]."""
    yaw, lift, bend = joints.T
    far = 0.3 * np.cos(lift) + 0.2 * np.cos(lift + bend)
    return np.stack(
        [far * np.cos(yaw), far * np.sin(yaw), 0.3 * np.sin(lift) + 0.2 * np.sin(lift + bend)],
        axis=1,
    )


def draw(rng: np.random.Generator, spots: list[np.ndarray]) -> np.ndarray:
    """EncodedImages (T, 24, 24, 3) of soft spots, seen by a camera with noise."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.6, 0.6, 24)] * 2), axis=-1)
    out = np.full((len(spots[0]), 24, 24, 3), 40.0)
    for channel, spot in enumerate(spots):
        near = ((grid - spot[:, None, None, :2]) ** 2).sum(axis=-1)
        out[..., channel] += 170 * np.exp(-near / 0.02)
    return np.clip(out + rng.normal(0, 1, out.shape), 0, 255).astype(np.uint8)


def clean(rng: np.random.Generator) -> Arrays:
    """Grasp an object and carry it away.

    Coarse encoders, a lagging servo, a gripper that its object holds open.
    """
    home, there = np.array([0, 0.6, -0.6]), np.array([-0.8, 0.3, -0.9]) + rng.uniform(-0.3, 0.3, 3)
    goal = np.array([0.9, 0.4, -0.7]) + rng.uniform(-0.3, 0.3, 3)
    over = (there + goal) / 2 + [0, 0.5, 0] + rng.uniform(-0.2, 0.2, 3)
    command = reach(
        rng,
        np.array([home + rng.uniform(-0.2, 0.2, 3), there, over, goal, home]),
        rng.uniform(1.3, 1.6),
    )
    n = len(command)
    joints = np.round(follow(command) / 0.0015) * 0.0015
    held = (np.arange(n) > n // 4 + 2) & (np.arange(n) < 3 * n // 4)
    told = follow(np.where(held, 0.0, 0.08)[:, None], 0.4)
    hand = place(joints)
    thing = np.where(held[:, None], hand, hand[n // 4 + 3])
    thing[3 * n // 4 :] = hand[3 * n // 4 - 1]
    turned = np.hstack([np.ones((n, 1)), joints / 2])
    return {
        "joints": joints,
        "gripper": np.maximum(follow(told), np.where(held[:, None], 0.03, 0.0)),
        "object": thing + rng.normal(0, 2e-4, thing.shape),
        "tool": turned / np.linalg.norm(turned, axis=1, keepdims=True),
        "force": rng.normal(0, 0.2, (n, 1)) + 3.0 * held[:, None],
        "front": draw(rng, [hand, thing]),
        "action": np.hstack([command, told]),
        "time": np.arange(n) / HZ + rng.uniform(0, 0.05 / HZ, n),
    }


def found(path: Path, episodes: list[Arrays], spec: Spec = SPEC) -> list[Finding]:
    with DemoStore.create(path, spec) as store:
        store.append(*(Episode(data, spec) for data in episodes))
    return check(DemoStore.open(path))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_clean_demonstrations_have_no_findings(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    assert (
        found(tmp_path_factory.mktemp("clean") / "s", [clean(rng) for _ in range(EPISODES)]) == []
    )


Spoil = Callable[[list[Arrays]], None]
SENSED = ("joints", "gripper", "object", "tool", "force")


def one(change: Callable[[Arrays], None]) -> Spoil:
    """A fault of one episode."""
    return lambda episodes: change(episodes[BAD])


def every(change: Callable[[Arrays], None]) -> Spoil:
    """A fault of all episodes."""
    return lambda episodes: [change(data) for data in episodes] and None


def keep(
    frames: Callable[[int], np.ndarray], keys: tuple[str, ...] = (), hz: float = HZ
) -> Callable[[Arrays], None]:
    """Puts other frames of an episode in place of its own, by default of all arrays.

    The clock is a new one.
    """

    def change(data: Arrays) -> None:
        n = len(data["time"])
        data.update({key: data[key][frames(n)] for key in keys or data})
        data["time"] = np.arange(len(data["action"])) / hz

    return change


def lost(n: int) -> np.ndarray:
    return np.delete(np.arange(n), np.arange(FAST, FAST + 5))


def hold(first: int, last: int) -> Callable[[int], np.ndarray]:
    """The frames first + 1 to last - 1 show what frame first shows."""
    return lambda n: np.where((np.arange(n) > first) & (np.arange(n) < last), first, np.arange(n))


def shift(frames: int, *keys: str, hz: float = HZ) -> Callable[[Arrays], None]:
    """These arrays show what was `frames` ago, or will be where it is negative.

    What has no partner is cut off.
    """

    def change(data: Arrays) -> None:
        n = len(data["time"]) - abs(frames)
        first = {key: max(-frames if key in keys else frames, 0) for key in data}
        data.update({key: data[key][first[key] :][:n] for key in data})
        data["time"] = np.arange(n) / hz

    return change


def slow(n: int) -> np.ndarray:
    return np.arange(n) // 3 * 3


def often(n: int) -> np.ndarray:
    """There and back, five times."""
    return np.concatenate([np.arange(n)[:: (-1) ** i] for i in range(5)])


def still(where: float, hz: float = HZ) -> Callable[[Arrays], None]:
    """Two seconds in which nothing moves but noise."""

    def change(data: Arrays) -> None:
        at = round(where * (len(data["time"]) - 1))
        keep(lambda n: np.insert(np.arange(n), at, np.full(round(2 * hz), at)), hz=hz)(data)
        noise = np.random.default_rng(0)
        for key, strength in {"force": 0.2, "object": 2e-4}.items():
            if key in data:
                data[key] = data[key] + noise.normal(0, strength, data[key].shape)

    return change


def put(key: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    """Replaces an array by a function of it."""

    def change(data: Arrays) -> None:
        data[key] = value(data[key])

    return change


def hidden(data: Arrays) -> None:
    """The camera starts late."""
    data["front"][:2] = 5


def far(key: str, scale: float = 1.0, offset: float = 0.0) -> Callable[[Arrays], None]:
    return put(key, lambda x: (x * scale + offset).astype(x.dtype))


def slipped(data: Arrays) -> None:
    data["object"][FAST + 20 :, 1] += 0.5


def wound(data: Arrays) -> None:
    data["joints"][:, 0] = (data["joints"][:, 0] + 0.4) % (2 * np.pi)


def in_degrees(data: Arrays) -> None:
    data["joints"] = np.rad2deg(data["joints"])


def cut(data: Arrays) -> None:
    data["joints"] = np.minimum(data["joints"], [0.8, 9, 9])


def copied(data: Arrays) -> None:
    data["action"][:, :3] = data["joints"]


def late(frames: int) -> Callable[[Arrays], None]:
    """The recorded state is older than the action beside it."""
    return shift(frames, *SENSED, "front")


def tremble(data: Arrays, key: str, strength: float) -> None:
    """Noise of a sensor, which is never still."""
    noise = np.random.default_rng(0)
    data[key] = data[key] + noise.normal(0, strength, data[key].shape)


def protective_stop(data: Arrays) -> None:
    """The arm brakes and stays there, while its commands go on; the gripper and the camera work."""
    stop = len(data["time"]) // 2
    data["joints"][stop:] = data["joints"][stop]
    data["tool"][stop:] = data["tool"][stop]
    tremble(data, "joints", 2e-4)


def never_moved(data: Arrays) -> None:
    """The robot stays where it started, also its commands."""
    for key in ("joints", "gripper", "object", "tool", "front", "action"):
        data[key] = np.repeat(data[key][:1], len(data["time"]), axis=0)
    for key, strength in {"joints": 2e-3, "gripper": 1e-4, "object": 2e-3}.items():
        tremble(data, key, strength)
    data["action"][:, :3] += np.random.default_rng(1).normal(0, 1e-3, data["joints"].shape)
    data["front"] = data["front"] + np.random.default_rng(0).integers(
        0, 3, data["front"].shape, np.uint8
    )


@pytest.fixture
def episodes() -> list[Arrays]:
    rng = np.random.default_rng(5)
    return [clean(rng) for _ in range(EPISODES)]


def wander(data: Arrays) -> None:
    """A long way round, and back to where the motion goes on."""
    n = len(data["time"])
    away = (
        0.6
        * np.sin(np.arange(n) * 1.3)[:, None]
        * np.sin(np.pi * np.arange(n) / (n - 1))[:, None] ** 2
    )
    data["joints"] = data["joints"] + np.roll(away, 2, axis=0)
    data["action"][:, :3] += away


@pytest.mark.parametrize(
    ("spoil", "want"),
    [
        (one(keep(lost)), [("time", BAD, FAST, "lost frames under made-up times")]),
        (
            one(keep(hold(FAST, FAST + 3), (*SENSED, "front"))),
            [("time", BAD, FAST + 1, "duplicated frames")],
        ),
        (one(keep(hold(FAST, FAST + 2), SENSED)), [("time", BAD, FAST + 1, "duplicated frames")]),
        (
            one(keep(hold(FAST, FAST + 9), ("joints",))),
            [("joints", BAD, FAST + 1, "frozen sensor")],
        ),
        (one(keep(hold(40, 60), ("force",))), [("force", BAD, 41, "frozen sensor")]),
        (one(keep(hold(FAST, FAST + 9), ("front",))), [("front", BAD, FAST + 1, "frozen camera")]),
        (one(keep(hold(0, FAST), ("front",))), [("front", BAD, 1, "frozen camera")]),
        (every(keep(slow, ("front",))), [("front", None, None, "about 6.67 Hz")]),
        (every(keep(slow, ("tool",))), [("tool", None, None, "about 6.67 Hz")]),
        (
            every(shift(4, "front")),
            [("front", 0, None, "late against the state, by about 4 frames (0.2 s)")],
        ),
        (
            one(shift(-3, "front")),
            [("front", BAD, None, "early against the state, by about 3 frames")],
        ),
        (every(late(-4)), [("action.joints", 0, None, "the actions come from the past")]),
        (one(late(-4)), [("action.joints", BAD, None, "the actions come from the past")]),
        (
            one(late(4)),
            [("action.joints", BAD, None, "other than the usual 2 frames, the first after 6")],
        ),
        (
            every(late(10)),
            [
                (f"action.{k}", None, None, "follows 12 frames (0.6 s)")
                for k in ("joints", "gripper")
            ],
        ),
        (one(copied), [("action.joints", BAD, None, "a copy of 'joints'")]),
        (every(cut), [("joints", 1, 77, "cut off at a limit (element 0 at its highest, 0.8 rad)")]),
        (
            every(in_degrees),
            [("joints", 0, 0, "degrees"), ("action.joints", None, None, "0.0175 times")],
        ),
        (one(in_degrees), [("joints", BAD, 0, "degrees")]),
        (every(far("object", 1000)), [("object", 0, 0, "mm")]),
        (one(far("object", 1000)), [("object", BAD, 0, "mm")]),
        (one(hidden), [("front", BAD, None, "black")]),
        (every(far("front", 0, 255)), [("front", 0, None, "white")]),
        (every(far("front", 1 / 255)), [("front", None, None, "0 to 1")]),
        (one(still(0)), [("time", BAD, 0, "at the start: 1")]),
        (one(still(0.3)), [("time", BAD, 34, "between: 1")]),
        (one(still(1)), [("time", BAD, 115, "at the end: 1")]),
        (one(protective_stop), [("joints", BAD, 58, "while its commands go on")]),
        (one(never_moved), [("time", BAD, None, "less than 5% of its usual range")]),
        (one(slipped), [("object", BAD, FAST + 20, "slipped")]),
        (every(wound), [("joints", 0, 21, "full turn")]),
        (one(keep(often)), [("time", BAD, None, "much shorter or longer than the usual 5.7 s")]),
        (one(wander), [("joints", BAD, None, "further"), ("action.joints", BAD, None, "further")]),
        (
            one(far("object", offset=1.5)),
            [("object", BAD, None, "starting far from where the others do")],
        ),
        (
            one(put("action", lambda x: x + np.array([1.5, 0, 0, 0]))),
            [("action.joints", BAD, None, "a mean action far from the usual")],
        ),
    ],
)
def test_a_seeded_fault_is_found_where_it_is_and_nothing_else(
    tmp_path: Path,
    episodes: list[Arrays],
    spoil: Spoil,
    want: list[tuple[str, int | None, int | None, str]],
) -> None:
    spoil(episodes)
    findings = found(tmp_path / "s", episodes)
    assert [(f.key, f.episode, f.frame) for f in findings] == [w[:3] for w in want], findings
    assert all(w[3] in f.message for w, f in zip(want, findings, strict=True))


def test_actions_from_the_past_are_an_error(tmp_path: Path, episodes: list[Arrays]) -> None:
    every(late(-4))(episodes)
    assert broken(found(tmp_path / "s", episodes))


def test_what_stays_out_of_sight_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: list[Arrays]
) -> None:
    monkeypatch.setattr(check_cameras, "LOOK", 3 * episodes[0]["front"].nbytes)
    for data in episodes[-2:]:
        keep(hold(FAST, FAST + 9), ("front",))(data)
    (finding,) = found(tmp_path / "s", episodes)
    assert finding.episode == EPISODES - 1
    assert "(looked at 3 episodes)" in finding.message


def test_broken_episodes_do_not_hide_faults_of_others(
    tmp_path: Path, episodes: list[Arrays]
) -> None:
    episodes[2]["joints"][5:] = np.nan
    keep(lost)(episodes[BAD])
    findings = found(tmp_path / "s", episodes)
    assert [(f.key, f.episode, f.frame) for f in findings] == [
        ("joints", 2, 5),
        ("time", BAD, FAST),
    ]


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (keep(lost, hz=10), "time", "lost frames under made-up times"),
        (
            keep(hold(FAST, FAST + 3), ("environment_state", "agent_pos"), 10),
            "time",
            "duplicated frames",
        ),
        (keep(hold(60, 69), ("agent_pos",), 10), "agent_pos", "frozen"),
        (
            shift(-4, "environment_state", "agent_pos", hz=10),
            "action",
            "the actions come from the past",
        ),
        (
            shift(4, "environment_state", "agent_pos", hz=10),
            "action",
            "other than the usual 2 frames",
        ),
        (still(0.5, 10), "time", "neither state nor action moves"),
    ],
)
def test_faults_are_found_in_human_demonstrations(
    tmp_path: Path, human: DemoStore, change: Callable[[Arrays], None], key: str, words: str
) -> None:
    some = [{k: np.asarray(v) for k, v in human.episode(i).data.items()} for i in range(20)]
    change(some[BAD])
    findings = found(tmp_path / "s", some, human.spec)
    assert [(f.key, f.episode) for f in findings] == [(key, BAD)], findings
    assert words in findings[0].message


UNKNOWN = Spec({"state": Field((3,))}, {"action": Field((3,))}, HZ)  # nothing says what measures


def swing(rng: np.random.Generator, seconds: float = 6.0) -> Arrays:
    """Three joints that swing, and commands that lead them by a tenth of a second."""
    time = np.arange(round(seconds * HZ)) / HZ
    phase = rng.uniform(0, 6, 3)
    speed = rng.uniform(1, 2, 3)
    return {
        "state": np.sin(speed * time[:, None] + phase),
        "action": np.sin(speed * (time[:, None] + 0.1) + phase),
        "time": time,
    }


@pytest.mark.parametrize("goes_on", [True, False], ids=["commands go on", "a switch is moved"])
def test_a_stop_is_found_where_nothing_says_what_measures_the_commands(
    tmp_path: Path, goes_on: bool
) -> None:
    rng = np.random.default_rng(0)
    some = [swing(rng) for _ in range(EPISODES)]
    rest = slice(30, 100)
    some[BAD]["state"][rest] = some[BAD]["state"][30] + rng.normal(0, 5e-4, (70, 3))
    if not goes_on:
        some[BAD]["action"][rest] = some[BAD]["action"][30]
        some[BAD]["action"][50:, 2] += 0.5
    findings = found(tmp_path / "s", some, UNKNOWN)
    stops = [(f.key, f.places) for f in findings if "commands go on" in f.message]
    assert stops == ([("action", ((BAD, 30),))] if goes_on else [])
