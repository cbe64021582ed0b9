"""Meta-World's tasks: seeds that decide, experts that succeed."""

import numpy as np
import pytest

from fewstep.demos.recording.recorder import record
from fewstep.demos.store import DemoStore
from fewstep.envs import RobotError, run_episode
from fewstep.envs.sim.registry import make_expert, make_robot

pytest.importorskip("metaworld")


@pytest.fixture(scope="module")
def robot():
    robot = make_robot("metaworld/push")
    yield robot
    robot.close()


def rollout(robot, seed: int) -> tuple[np.ndarray, bool]:
    """Every observation of an expert's episode, and whether it succeeded."""
    steps = list(
        run_episode(robot, make_expert("metaworld/push"), seed=seed, max_seconds=float("inf"))
    )
    seen = [np.concatenate(list(s.obs.data.values())) for s in steps if s is not None]
    return np.stack(seen), robot.outcome().success


def test_a_seed_decides_the_whole_episode(robot):
    first, other, again = (rollout(robot, seed)[0] for seed in (5, 6, 5))
    assert np.array_equal(first, again)
    assert not np.allclose(first[0], other[0])


def test_a_hundred_seeds_are_a_hundred_starts(robot):
    goals = set()
    for seed in range(100):
        robot.reset(seed)
        goals.add(tuple(robot.observe().data["goal"]))
    assert len(goals) == 100


def test_the_expert_succeeds_and_ends_the_episode(robot):
    lengths, successes = zip(
        *((len(s), done) for s, done in (rollout(robot, k) for k in range(5))), strict=True
    )
    assert sum(successes) >= 4 and max(lengths) < 300


def test_demonstrations_are_recorded(robot, tmp_path):
    with DemoStore.create(tmp_path / "demos", robot.spec) as store:
        assert (
            record(
                robot,
                make_expert("metaworld/push"),
                store,
                [1, 2],
                float("inf"),
                lambda o: bool(o.success),
            )
            == 2
        )
        assert abs(store.array("action")).max() <= 1


def test_without_a_policy_the_time_runs_out(robot):
    robot.reset(0)
    for _ in range(500):
        assert robot.outcome() is None
        robot.advance()
    assert robot.outcome().success is False


def test_an_unknown_task_names_the_known_ones():
    with pytest.raises(RobotError, match=r"(?s)fetch-tea.*peg-insert-side"):
        make_robot("metaworld/fetch-tea")
    with pytest.raises(RobotError, match=r"(?s)fetch-tea.*peg-insert-side"):
        make_expert("metaworld/fetch-tea")
