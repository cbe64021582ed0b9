from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewstep.envs.sim.push_t_geometry import PIXELS_SPEC, SPEC, corners
from fewstep.envs.sim.registry import make_robot

HUMAN = Path(__file__).parents[4] / "shared/data/pusht/pusht_cchi_v7_replay.zarr"
states = arrays(float, st.tuples(st.integers(1, 5), st.just(5)), elements=st.floats(-600, 600))


@pytest.fixture(scope="module")
def task() -> Any:
    pytest.importorskip("gym_pusht")
    import gymnasium

    env = gymnasium.make(
        "gym_pusht/PushT-v0", obs_type="environment_state_agent_pos", disable_env_checker=True
    )
    env.reset(seed=0)
    yield env.unwrapped
    env.close()


def observed(task: Any, state: np.ndarray) -> np.ndarray:
    """gym-pusht's own corners (16,) of a state (5,).

    The angle first, for it turns the block about its mass.
    """
    task.block.angle = float(state[4])
    task.block.position = state[2:4].tolist()
    return task.get_obs()["environment_state"]


@settings(max_examples=50, deadline=None)
@given(states)
def test_corners_are_those_of_gym_pusht(task: Any, state: np.ndarray) -> None:
    np.testing.assert_allclose(
        corners(state), [observed(task, row) for row in state], rtol=1e-5, atol=1e-3
    )


def test_corners_of_the_human_demonstrations_are_those_of_gym_pusht(task: Any) -> None:
    if not HUMAN.exists():
        pytest.skip(f"the human Push-T demonstrations are not at {HUMAN}")
    import zarr

    group: Any = zarr.open_group(HUMAN, mode="r")
    state = group["data/state"][::100]
    np.testing.assert_allclose(corners(state), [observed(task, row) for row in state], atol=1e-3)


@given(states, st.integers(-3, 3))
def test_a_full_turn_changes_nothing(state: np.ndarray, turns: int) -> None:
    turned = state + np.array([0, 0, 0, 0, 2 * np.pi * turns])
    np.testing.assert_allclose(corners(turned), corners(state), atol=1e-2)


@given(states, st.floats(-100, 100), st.floats(-100, 100))
def test_corners_move_with_the_block_and_not_with_the_agent(
    state: np.ndarray, x: float, y: float
) -> None:
    moved = corners(state + np.array([50, 60, x, y, 0]))
    np.testing.assert_allclose(moved, corners(state) + np.tile([x, y], 8), atol=1e-2)


def test_the_spec_is_that_of_the_task(task: Any) -> None:
    assert corners(np.zeros((3, 5))).shape == (3, *SPEC.observations["environment_state"].shape)
    assert corners(np.zeros((3, 5))).dtype == np.float32
    low, high = SPEC.bounds()
    assert (task.action_space.low.tolist(), task.action_space.high.tolist()) == (
        low.tolist(),
        high.tolist(),
    )
    assert SPEC.policy_hz == task.metadata["render_fps"]


@pytest.fixture(scope="module")
def pictured() -> Any:
    pytest.importorskip("gym_pusht")
    robot = make_robot("pusht-pixels")
    robot.reset(seed=0)
    yield robot
    robot.close()


def draw(env: Any, state: np.ndarray) -> np.ndarray:
    """gym-pusht's picture of a state (5,) at rest."""
    env.block.angle = float(state[4])
    env.block.position = state[2:4].tolist()
    env.agent.position = state[:2].tolist()
    env.block.velocity = env.agent.velocity = (0, 0)
    env.space.reindex_shapes_for_body(env.block)
    env.space.reindex_shapes_for_body(env.agent)
    return env.draw_camera("pixels")


def test_from_pixels_it_is_the_same_task(task: Any, pictured: Any) -> None:
    assert pictured.spec == PIXELS_SPEC
    assert dict(PIXELS_SPEC.actions) == dict(SPEC.actions)
    assert PIXELS_SPEC.policy_hz == SPEC.policy_hz
    pictured.reset(seed=3)
    seen = pictured.observe().data
    np.testing.assert_array_equal(
        seen["agent_pos"], task.reset(seed=3)[0]["agent_pos"].astype(np.float32)
    )
    assert (seen["pixels"].shape, seen["pixels"].dtype) == ((96, 96, 3), np.uint8)


def test_what_was_recorded_is_what_gym_pusht_draws(pictured: Any) -> None:
    if not HUMAN.exists():
        pytest.skip(f"the human Push-T demonstrations are not at {HUMAN}")
    import zarr

    group: Any = zarr.open_group(HUMAN, mode="r")
    frames = range(0, group["data/state"].shape[0], 1300)
    for frame in frames:
        state = group["data/state"][frame].astype(float)
        recorded = group["data/img"][frame]
        difference = np.abs(draw(pictured.env.unwrapped, state) - recorded)
        assert difference.mean() < 0.3, "of 255, without a marker of the action"
        assert (difference.max(-1) > 16).mean() < 0.01, "single pixels at edges"
