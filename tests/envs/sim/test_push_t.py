"""Push-T in MuJoCo: starts, control law and contacts are those of gym-pusht."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
import gymnasium as gym

import fewstep.envs.sim.push_t  # noqa: F401  (registers)
from fewstep.envs.sim.push_t import GOAL
from fewstep.envs.sim.push_t_geometry import corners

HUMAN = Path(__file__).parents[4] / "shared/data/pusht/pusht_cchi_v7_replay.zarr"


@pytest.fixture
def env() -> Any:
    made = gym.make("fewstep/PushT-v0")
    yield made.unwrapped
    made.close()


@pytest.fixture
def original() -> Any:
    pytest.importorskip("gym_pusht")
    made = gym.make(
        "gym_pusht/PushT-v0", obs_type="environment_state_agent_pos", disable_env_checker=True
    )
    yield made.unwrapped
    made.close()


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_starts_as_in_gym_pusht(env: Any, original: Any, seed: int) -> None:
    ours, theirs = env.reset(seed=seed)[0], original.reset(seed=seed)[0]
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], atol=1e-3)


def test_the_disk_goes_as_in_gym_pusht_and_pushes_the_block_alike(env: Any, original: Any) -> None:
    env.reset(options={"state": np.array([100, 250, 200, 230, 0.4])})
    original.reset(seed=0)
    original.block.angle, original.block.position = 0.4, (200, 230)
    original.agent.position = (100, 250)
    original.space.reindex_shapes_for_body(original.block)
    for x in np.linspace(100, 260, 30):
        ours, _, _, _, info = env.step(np.array([x, 250]))
        theirs, _, _, _, told = original.step(np.array([x, 250]))
        np.testing.assert_allclose(ours["agent_pos"], theirs["agent_pos"], atol=0.05)
        np.testing.assert_allclose(ours["environment_state"], theirs["environment_state"], atol=2)
        assert info["coverage"] == pytest.approx(told["coverage"], abs=0.05)
    assert original.block.position[0] > 230, "the block was pushed"


def test_human_demonstrations_replay_as_recorded(env: Any) -> None:
    if not HUMAN.exists():
        pytest.skip(f"the human Push-T demonstrations are not at {HUMAN}")
    import zarr

    data: Any = zarr.open_group(HUMAN, mode="r")
    ends, near = data["meta/episode_ends"][:12].tolist(), []
    for a, b in zip([0, *ends], ends, strict=False):
        states, actions = data["data/state"][a:b], data["data/action"][a:b]
        env.reset(options={"state": states[0]})
        for action in actions[:-1]:
            env.step(action)
        near.append(np.abs(corners(env.state[None]) - corners(states[-1:])).max() < 5)
    assert np.mean(near) >= 0.75


def test_on_the_goal_it_is_done(env: Any) -> None:
    env.reset(options={"state": np.array([50, 50, *GOAL[2:]])})
    _, reward, done, _, info = env.step(np.array([50, 50]))
    assert (reward, done, info["is_success"]) == (1, True, True)
    env.reset(options={"state": np.array([50, 50, 100, 100, 0])})
    _, reward, done, _, info = env.step(np.array([50, 50]))
    assert (reward, done, info["coverage"]) == (0, False, 0)


def test_what_is_not_touched_stays_and_walls_hold(env: Any) -> None:
    env.reset(options={"state": np.array([400, 400, 120, 120, 0.3])})
    still = env.state[2:]
    for _ in range(10):
        env.step(np.array([450, 450]))
    np.testing.assert_allclose(env.state[2:], still, atol=1e-6)
    env.reset(options={"state": np.array([256, 100, 256, 150, 0])})
    for y in range(100, 512, 8):
        seen, *_ = env.step(np.array([256, y]))
    assert seen["environment_state"][1::2].max() < 506 + 5


def test_the_same_actions_lead_to_the_same_state(env: Any) -> None:
    states = []
    for _ in range(2):
        env.reset(seed=3)
        for k in range(20):
            env.step(np.array([256 + 8 * k, 256]))
        states.append(env.state)
    np.testing.assert_array_equal(*states)


def test_its_picture_is_that_of_gym_pusht() -> None:
    pytest.importorskip("gym_pusht")
    ours, theirs = (
        gym.make(i, render_mode="rgb_array") for i in ("fewstep/PushT-v0", "gym_pusht/PushT-v0")
    )
    try:
        pictures = [e.reset(seed=2) and e.render() for e in (ours, theirs)]
    except Exception as error:
        pytest.skip(f"no pictures here: {error}")
    finally:
        ours.close()
        theirs.close()
    step = 512 / pictures[1].shape[0]
    blue = [p[..., 2].astype(int) - p[..., 0] > 80 for p in pictures]  # the disk
    middles = [np.argwhere(b).mean(0) * s for b, s in zip(blue, (1, step), strict=True)]
    np.testing.assert_allclose(*middles, atol=12)
