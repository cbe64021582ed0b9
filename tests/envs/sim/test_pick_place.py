import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fewstep.envs import Obs, RobotError, Spec
from fewstep.envs.sim.pick_place import CUBE_CENTRE, CUBE_SPREAD, PickPlace, spec
from fewstep.envs.sim.pick_place_expert import Arm, PickPlaceExpert
from fewstep.envs.sim.rendering import MISSING

FIRST = 40


def make(**options) -> PickPlace:
    env = gym.make("fewstep/PickPlace-v0", **options).unwrapped
    assert isinstance(env, PickPlace)
    return env


def play(env, actors, seed, noise=0.0, limit=200):
    """Do the mean of what the actors want.

    The observations, actions and last info of one episode.
    """
    (data, info), rng, seen, done = env.reset(seed=seed), np.random.default_rng(seed), [], []
    for actor in actors:
        actor.reset(seed)
    for k in range(limit):
        action = np.mean([actor.act(Obs(k / 20, data, {})).action for actor in actors], 0)
        action[:6] += noise * rng.standard_normal(6)
        for actor in actors:
            actor.sent(action)
        seen.append(data)
        done.append(action)
        data, reward, over, _, info = env.step(action.astype(np.float32))
        assert 0 <= reward <= 1
        assert (reward == 1) == over == info["is_success"]
        if over:
            break
    return seen, np.array(done), info


@pytest.fixture(scope="module")
def env():
    return make()


@pytest.fixture(scope="module")
def episodes(env):
    expert = PickPlaceExpert()
    return [play(env, [expert], FIRST + i) for i in range(12)]


def test_keeps_gymnasiums_contract(env):
    with pytest.warns(UserWarning) as warnings:
        check_env(env, skip_render_check=True)
    advice = (
        "infinity",
        "symmetric and normalized",
    )  # positions have no bound; actions are in robot units on purpose
    assert all(any(words in str(w.message) for words in advice) for w in warnings)


def test_spec_describes_what_the_environment_gives(env):
    data, _ = env.reset(seed=0)
    assert env.spec_fewstep == spec() == Spec.from_json(spec().to_json())
    assert set(data) == set(spec().observations)
    for key, field in spec().observations.items():
        assert (data[key].shape, data[key].dtype) == (field.shape, field.dtype)
    low, high = spec().bounds()
    assert np.array_equal(env.action_space.low, low) and np.array_equal(env.action_space.high, high)


def test_same_seed_and_actions_give_the_same_episode(env, episodes):
    seen, actions, _ = episodes[0]
    other = make()
    again = [other.reset(seed=FIRST)[0]] + [
        other.step(action.astype(np.float32))[0] for action in actions[:-1]
    ]
    assert all(
        np.array_equal(a[key], b[key]) for a, b in zip(again, seen, strict=True) for key in a
    )


def test_seeds_differ_and_stay_in_their_region(env):
    starts = np.array([env.reset(seed=seed)[0]["cube_position"] for seed in range(50)])
    assert len(np.unique(starts[:, 0])) == 50
    assert (np.abs(starts[:, :2] - CUBE_CENTRE) <= CUBE_SPREAD + 1e-6).all()


def test_expert_succeeds_on_both_sides(episodes):
    assert all(info["is_success"] and not info["post_touched"] for *_, info in episodes)
    assert {info["side"] for *_, info in episodes} == {"left", "right"}


def test_expert_moves_smoothly_and_within_the_limits(episodes):
    fields = spec().actions.values()
    fastest, hardest = (
        np.concatenate([getattr(f, name) for f in fields]) for name in ("velocity", "acceleration")
    )
    for _, actions, _ in episodes:
        assert (np.abs(np.diff(actions, axis=0)) * 20 < fastest).all()
        assert (np.abs(np.diff(actions, 2, axis=0)) * 400 < hardest).all()


def test_nothing_tells_the_side_before_the_fork(env):
    left, right = (
        play(env, [PickPlaceExpert(side)], FIRST, limit=36)[1] for side in ("left", "right")
    )
    assert np.array_equal(left[:30], right[:30])
    assert np.abs(left[-1] - right[-1]).max() < 1e-6


def test_coin_is_independent_of_the_start(env):
    expert, sides, aside = PickPlaceExpert(), [], []
    for seed in range(200):
        expert.reset(seed)
        sides.append(expert.side == "left")
        aside.append(env.reset(seed=seed)[0]["cube_position"][1])
    assert 0.4 < np.mean(sides) < 0.6
    assert abs(np.corrcoef(sides, aside)[0, 1]) < 0.2


def side_of(expert: PickPlaceExpert, seed: int, repetition: int = 0) -> str:
    expert.repetition = repetition
    expert.reset(seed)
    return expert.side


def test_expert_shows_the_other_side_of_a_start_that_comes_again():
    for seed in range(5, 9):
        sides = [side_of(PickPlaceExpert(), seed, repetition) for repetition in range(4)]
        assert sides[0] == sides[2] != sides[1] == sides[3]


def test_two_experts_agree_whatever_they_have_shown_before():
    used, fresh = PickPlaceExpert(), PickPlaceExpert()
    for seed in (5, 5, 6):
        side_of(used, seed)
    assert side_of(used, 6) == side_of(fresh, 6)


def test_mean_of_both_sides_hits_the_post(env):
    for seed in range(3):
        _, _, info = play(env, [PickPlaceExpert("left"), PickPlaceExpert("right")], seed, limit=100)
        assert info["post_touched"] and not info["is_success"]


def test_expert_recovers_from_disturbed_targets(env):
    successes = [
        play(env, [PickPlaceExpert()], seed, noise=0.01)[2]["is_success"] for seed in range(6)
    ]
    assert np.mean(successes) > 0.8


def test_inverse_kinematics_undoes_forward():
    arm, rng = Arm(), np.random.default_rng(0)
    for _ in range(50):
        tip = rng.uniform([0.22, -0.15, 0.02, -1], [0.65, 0.15, 0.25, 1])
        assert np.allclose(arm.forward(arm.inverse(tip)), tip, atol=1e-6)


def test_cameras_show_the_scene():
    env = make(render_mode="rgb_array", cameras=("front", "wrist"), width=160, height=120)
    try:
        data, _ = env.reset(seed=0)
    except RobotError as error:
        pytest.skip(str(error))
    assert env.spec_fewstep.observations["front"].kind == "image"
    assert data["front"].shape == data["wrist"].shape == (96, 96, 3)
    assert data["front"].dtype == np.uint8 and data["front"].std() > 20
    picture = env.render()
    assert picture is not None and picture.shape == (120, 160, 3) and picture.std() > 20
    env.close()


def count_pixels(picture: np.ndarray, colour: int) -> int:
    """How many pixels have a colour (0 red, 1 green, 2 blue) that exceeds both others by far."""
    others = np.delete(picture, colour, axis=-1).max(-1).astype(int)
    return int((picture[..., colour] > others + 50).sum())


def test_cameras_show_what_the_task_needs():
    env = make(cameras=("front", "wrist"))
    for side in ("left", "right"):
        try:
            seen, _, info = play(env, [PickPlaceExpert(side)], seed=5)
        except RobotError as error:
            pytest.skip(str(error))
        assert info["is_success"]
        for colour, thing in enumerate(["post", "pad", "cube"]):
            assert count_pixels(seen[0]["front"], colour) > 20, f"{thing} before anything moves"
        held = [data for data in seen if data["cube_position"][2] > 0.06]
        assert held, "the cube is carried"
        for data in held:
            middle = data["wrist"][32:80, 32:64]
            assert count_pixels(middle, 2) > 150, "the cube between the fingers"
            assert count_pixels(data["front"], 2) > 10
    env.close()


def test_small_pictures_of_few_facets_leave_the_scene_as_it_is():
    pictures = []
    for cameras in ((), ("front",)):
        env = make(render_mode="rgb_array", cameras=cameras, width=160, height=120)
        try:
            env.reset(seed=0)
            pictures.append(env.render())
        except RobotError as error:
            pytest.skip(str(error))
        env.close()
    assert np.array_equal(*pictures)


def test_physics_needs_no_opengl_and_pictures_say_what_is_missing():
    code = """
import os
os.environ["MUJOCO_GL"] = "disabled"
import gymnasium, fewstep.envs.sim.pick_place
gymnasium.make("fewstep/PickPlace-v0").reset(seed=0)
gymnasium.make("fewstep/PickPlace-v0", cameras=("front",)).reset(seed=0)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[-1] == f"fewstep.envs.errors.RobotError: {MISSING}"
