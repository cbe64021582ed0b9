import json
import math
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, Field, Robot, RobotError, Spec
from fewstep.envs.seeds import evaluation_seeds
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.envs.sim.registry import make_robot
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.evaluation import memory
from fewstep.policy.evaluation.films import film
from fewstep.policy.evaluation.job import GROUP, Job, Rollout
from fewstep.policy.evaluation.latency import measure_latency
from fewstep.policy.evaluation.rollouts import roll_out_all, roll_out_group
from fewstep.policy.evaluation.statistics import wilson
from fewstep.policy.evaluation.summary import summarise
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

NET = UnetConfig(channels=(16, 32), kernel=3, groups=4, time_size=16, condition=16)
POINT = "fakes:Point-v0"
ROW = {  # the contract of evaluation.json
    "network_evaluations", "sampler", "episodes", "successes", "success_rate", "interval", "mean_max_reward",
    "latency_ms", "delay_ticks", "jitter_ticks", "recorded", "on_delay",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Worker processes inherit the path, and so find the task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policies")


def job_for(
    folder: Path, task: str = POINT, seeds: tuple[int, ...] = (0, 1, 2), **options: Any
) -> Job:
    """A random policy on a task."""
    name = folder / task.replace("/", "-").replace(":", "-")
    policy = policy_for(make_robot(task, seconds=options.get("seconds")).spec)
    if not name.exists():
        save_policy(policy, name, {})
    return Job(str(name), task, policy.config.drawn_by, seeds, **options)


def policy_for(spec: Spec) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET))


# Results


def test_simulations_that_hold_themselves_are_gone_when_the_next_group_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[GymRobot]] = []
    make = Job.make_robot

    def make_in_a_cycle(job: Job, **options: Any) -> GymRobot:
        robot: Any = make(job, **options)
        robot.itself = robot
        made.append(weakref.ref(robot))
        return robot

    monkeypatch.setattr(Job, "make_robot", make_in_a_cycle)
    roll_out_all(job_for(folder, seeds=evaluation_seeds(100_000, GROUP + 3)))
    assert len(made) == GROUP + 3 and not any(robot() for robot in made[:GROUP])


def test_the_result_depends_on_the_seeds_not_on_the_workers(folder: Path) -> None:
    job = job_for(folder, seeds=evaluation_seeds(100_000, GROUP + 3))
    told: list[int] = []
    alone = roll_out_all(job, 1, told.append)
    assert [e.seed for e in alone] == list(job.seeds)
    assert sum(told) == len(alone)
    assert len({e.score for e in alone}) == len(alone), "every seed has a start of its own"
    assert roll_out_all(job, 2) == alone
    assert roll_out_all(job, 1) == alone


@pytest.mark.parametrize(("delay", "jitter"), [(0, 0.0), (3, 0.0), (1, 2.5)])
def test_what_else_runs_in_a_group_changes_nothing(folder: Path, delay: int, jitter: float) -> None:
    job = job_for(folder, delay=delay, jitter=jitter)
    whole = roll_out_group(job, (0, 1, 2, 3))
    assert roll_out_group(job, (7, 1, 5))[1] == whole[1]
    assert roll_out_group(job, (0,)) == whole[:1]


@pytest.mark.parametrize("delay", [0, 3])
def test_a_replay_equals_the_full_run(folder: Path, delay: int) -> None:
    job = job_for(folder, seeds=evaluation_seeds(0, GROUP), delay=delay)
    (group,) = job.groups()
    full = roll_out_all(job)
    for only in ([0], [17, 3], [GROUP - 1]):
        assert roll_out_group(job, group, only=only) == [e for e in full if e.seed in only]


def test_groups_are_cut_from_the_seeds_in_order(folder: Path) -> None:
    job = job_for(folder, seeds=evaluation_seeds(0, 2 * GROUP + 1))
    assert [len(group) for group in job.groups()] == [GROUP, GROUP, 1]
    assert sum(job.groups(), ()) == job.seeds


def test_a_delay_changes_what_happens(folder: Path) -> None:
    assert roll_out_all(job_for(folder)) != roll_out_all(job_for(folder, delay=3))
    assert roll_out_all(job_for(folder, delay=3)) != roll_out_all(
        job_for(folder, delay=3, jitter=2.0)
    )


def test_the_sampler_of_the_job_is_the_one_that_draws(folder: Path) -> None:
    job = job_for(folder)
    assert roll_out_all(job) == roll_out_all(replace(job, sampler=Sampler(times=(1.0, 0.3, 0.0))))
    assert roll_out_all(job) != roll_out_all(replace(job, sampler=Sampler(network_evaluations=1)))


def test_seconds_shorten_the_episodes(folder: Path) -> None:
    assert [
        e.seconds for e in roll_out_all(job_for(folder, seeds=(0, 5), seconds=0.3))
    ] == pytest.approx([0.3, 0.3])


def test_rollouts_run_on_one_thread_whatever_the_caller_uses(folder: Path) -> None:
    """Rounding depends on the number of threads, so a film would show another episode than was
    evaluated.
    """
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        roll_out_group(
            job_for(folder), (0,), on_step=lambda *_: seen.append(torch.get_num_threads())
        )
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_step_is_heard_with_its_seed_and_robot(folder: Path) -> None:
    heard: dict[int, list[float]] = {4: [], 5: []}
    ended = roll_out_group(
        job_for(folder), (4, 5), on_step=lambda seed, robot, step: heard[seed].append(step.obs.time)
    )
    assert [len(times) for times in heard.values()] == [round(10 * e.seconds) for e in ended]


def test_the_built_in_task_is_evaluated(folder: Path) -> None:
    first, second = roll_out_all(job_for(folder, "pickplace", seeds=(3, 4), seconds=0.5))
    assert (first.seed, first.success, first.seconds) == (3, False, pytest.approx(0.5))
    assert first.info == {"is_success": False, "post_touched": False, "side": ""}
    assert 0 < first.score < 1
    assert first.score != second.score


# Refusals


def test_a_policy_of_another_robot_is_refused_with_every_difference(folder: Path) -> None:
    other = Spec(
        {"state": Field((4,)), "force": Field((3,))}, {"action": Field((2,), "rad")}, policy_hz=20
    )
    save_policy(policy_for(other), folder / "other", {})
    job = Job(str(folder / "other"), POINT, Sampler(), (0,))
    differences = (
        "'force' is missing.*'action': unit is .*, expected rad.*policy_hz is 10.0, expected 20"
    )
    with pytest.raises(CheckpointError, match=differences):
        roll_out_all(job)


def test_an_error_in_a_worker_reaches_the_user(folder: Path) -> None:
    job = job_for(folder, seeds=evaluation_seeds(0, GROUP + 1))
    with pytest.raises(ConfigError, match="on_delay='never' is not for this policy"):
        roll_out_all(replace(job, on_delay="never"), workers=2)


def test_an_unknown_engine_lists_the_valid_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'steam'; valid: compiled, cpp, eager"):
        job_for(folder, engine="steam")


# Memory


def test_environments_that_do_not_fit_into_memory_wait_and_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_for(folder, seeds=evaluation_seeds(0, 7))
    together = roll_out_all(job)
    opened: list[int] = []
    most = 0
    make, close = Job.make_robot, GymRobot.close

    def make_counted(self: Job, pictures: bool = False) -> Robot:
        nonlocal most
        opened.append(1)
        most = max(most, len(opened))
        return make(self, pictures)

    def close_counted(self: GymRobot) -> None:
        opened.pop()
        close(self)

    monkeypatch.setattr(Job, "make_robot", make_counted)
    monkeypatch.setattr(GymRobot, "close", close_counted)
    monkeypatch.setattr(memory, "resident_memory", lambda: 100.0 * len(opened))
    monkeypatch.setattr(memory, "available_memory", lambda: 650.0)
    assert roll_out_all(job) == together
    assert (most, len(opened)) == (3, 0), "three of 100 bytes fit into half of 650"


def test_memory_is_measured_here() -> None:
    assert 1e6 < memory.resident_memory() < 1e12
    assert memory.available_memory() > 1e6


# Scores in place of success


def test_an_environment_that_only_rewards_is_evaluated_by_its_score(folder: Path) -> None:
    job = job_for(folder, "fakes:UnjudgedPoint-v0", seconds=0.2)
    row = summarise(job, roll_out_all(job), {})
    assert [row[key] for key in ("successes", "success_rate", "interval")] == [None] * 3
    low, high = row["mean_max_reward_interval"]
    assert low < row["mean_max_reward"] < high
    assert [rollout["success"] for rollout in row["rollouts"]] == [None] * 3


def test_rewards_that_are_no_numbers_leave_nothing_to_count(folder: Path) -> None:
    job = job_for(folder, "fakes:BlankPoint-v0")
    with pytest.raises(RobotError, match="no reward was a number: nothing to count"):
        roll_out_all(job)


def test_a_score_that_is_no_number_is_null(folder: Path) -> None:
    job = job_for(folder, seeds=(0, 1))
    row = summarise(job, [ended(0, True, math.nan), ended(1, False, 0.5)], {})
    assert (row["mean_max_reward"], row["mean_max_reward_interval"]) == (None, [None, None])
    assert [rollout["score"] for rollout in row["rollouts"]] == [None, 0.5]
    assert row["success_rate"] == 0.5


# Reports


def ended(seed: int, success: bool, score: float) -> Rollout:
    return Rollout(seed, success, score, 1.0, {})


def test_a_summary_is_a_row_of_the_contract() -> None:
    job = Job("", POINT, Sampler(network_evaluations=3), (0, 1, 2, 3), delay=2)
    row = summarise(
        job, [ended(i, i < 3, i / 4) for i in range(4)], {"p50": 1.0, "p99": 2.0, "max": 3.0}
    )
    assert row.keys() >= ROW
    assert (row["network_evaluations"], row["delay_ticks"]) == (3, 2)
    assert (row["episodes"], row["successes"], row["success_rate"]) == (4, 3, 0.75)
    assert row["interval"] == list(wilson(3, 4))
    assert row["mean_max_reward"] == pytest.approx(0.375)
    assert row["latency_ms"].keys() == {"p50", "p99", "max"}
    assert row["sampler"]["times"] == [1.0, 0.5, 0.1, 0.0]
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_what_the_environment_said_can_be_reported_as_json(folder: Path) -> None:
    job = job_for(folder)
    rows = summarise(job, roll_out_all(job), {})["rollouts"]
    assert [row["seed"] for row in json.loads(json.dumps(rows, allow_nan=False))] == [0, 1, 2]
    assert rows[0]["info"].keys() == {"success", "away"}


def test_latency_is_measured_in_milliseconds(folder: Path) -> None:
    threads = torch.get_num_threads()
    robot = make_robot(POINT)
    robot.reset(0)
    found = measure_latency(
        EagerEngine(policy_for(robot.spec), Sampler()), robot.observe(), calls=5
    )
    assert 0.01 < found["p50"] <= found["p99"] <= found["max"] < 60_000
    assert math.isfinite(sum(found.values()))
    assert torch.get_num_threads() == threads


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # imageio's reader
def test_films_show_the_episodes_of_the_evaluation(folder: Path, tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    job = job_for(folder, seeds=evaluation_seeds(0, GROUP + 2))
    full = {e.seed: e for e in roll_out_all(job)}
    seeds = [2, 3, GROUP, GROUP + 1]
    paths = film(job, seeds, tmp_path / "videos", limit=3)
    assert [p.name for p in paths] == [
        f"{'success' if full[s].success else 'failure'}-{s}.mp4" for s in seeds[:3]
    ]
    for path, seed in zip(paths, seeds, strict=False):
        frames = iio.imread(path)
        assert frames.shape[1:] == (64, 64, 3)
        assert len(frames) == round(10 * full[seed].seconds)
        assert iio.immeta(path)["fps"] == 10


def test_the_built_in_task_is_filmed(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    job = job_for(folder, "pickplace", seeds=(0,), seconds=0.1)
    try:
        (path,) = film(job, [0], tmp_path, limit=1)
    except RobotError as error:
        pytest.skip(f"no OpenGL here: {error}")
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("delay=[]", r"delay must be whole numbers, not \[\]"),
        ("jitter=nan", "jitter must be ticks, 0 or more, not nan"),
        ("jitter=inf", "jitter must be ticks"),
        ("seconds=-1", "seconds must be above 0, not -1.0"),
    ],
)
def test_lateness_that_is_none_is_refused(
    folder: Path, tmp_path: Path, setting: str, message: str, capsys
) -> None:
    assert (
        main(
            [
                "evaluate",
                f"policy={job_for(folder).policy}",
                f"task={POINT}",
                f"out={tmp_path}",
                setting,
            ]
        )
        == 2
    )
    assert re.search(message, capsys.readouterr().err)
