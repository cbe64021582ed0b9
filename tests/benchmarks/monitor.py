"""What a monitor knows of failures before they happen.

`python tests/benchmarks/monitor.py pickplace|pusht POLICY DATA [EPISODES]`: fits a monitor to the
demonstrations DATA, calibrates it on validation starts, and scores test starts, as they are and
with something wrong, which for a policy with cameras is that one of them is covered. Beside the monitor's own scores stand two that it does not have: the spread
of eight chunks drawn for one observation, and the denoising error of the chunk that is played (a
term of the ELBO). Rows are kept in docs/results.json.
"""

import json
import math
import sys
from collections import ChainMap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from collect import RESULTS, Row, between

import fewstep.envs.sim.pick_place as pick_place
from fewstep.envs import Obs, Robot
from fewstep.envs.agent import Request, stack_observations
from fewstep.envs.chunk import Chunk
from fewstep.envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.evaluation import monitor_calibration
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.monitor_calibration import (
    Scored,
    calibrate,
    fit_monitor,
    score_rollouts,
)
from fewstep.policy.evaluation.statistics import wilson
from fewstep.policy.monitoring.monitor import SCORES, Monitor
from fewstep.policy.monitoring.scorer import Scorer

ALARMS = 0.1  # share of good episodes in which an alarm is put up with
CALIBRATED_ON = 200  # validation starts
LEVELS = (0.2, 0.5, 0.8)  # times at which a chunk's denoising error is looked at
NAMES = (*SCORES, "spread", "denoising", "total")
SAMPLES = 8  # chunks that tell a spread
WRONG = ("nothing", "starts", "noise", "dynamics", "delay")  # of policies without cameras
COVERED_SECONDS = 1.0  # of an episode, after which a camera sees nothing any more
GREY = 60  # what it sees then
NOISE = {"joints": 0.02, "cube_position": 0.008, "target": 0.008}  # [rad], [m]
NOISE_PX = 6.0
DELAY = {"pickplace": 8, "pusht": 6}  # ticks


@dataclass(frozen=True)
class WrongJob(Job):
    """A job in which something is wrong."""

    wrong: str = "nothing"

    def make_robot(self, pictures: bool = False) -> Robot:
        robot: Any = super().make_robot(pictures)
        env = robot.env.unwrapped
        if self.wrong in robot.spec.images:
            robot.observe = Covered(robot.observe, self.wrong)
        if self.wrong == "noise":
            robot.observe = Noisy(robot.observe)
        if self.wrong == "dynamics" and self.task == "pickplace":
            import mujoco  # after fewstep, which chooses how pictures are drawn

            env.model.body("cube").mass *= 4
            env.model.body("cube").inertia *= 4
            env.model.geom_friction[:, 0] *= 0.3  # of a pair the larger one counts
            mujoco.mj_setConst(env.model, env.data)  # else the simulation becomes unstable
        if self.wrong in ("starts", "dynamics") and self.task == "pusht":
            env.reset = Moved(env, env.reset, self.wrong)
        return robot


class Noisy:
    """Observations with noise on the states, fresh at every tick."""

    def __init__(self, observe: Any) -> None:
        self._observe = observe
        self._noise = np.random.default_rng(0)

    def __call__(self) -> Obs:
        obs = self._observe()
        data = {}
        for key in obs.data:
            value = obs.data[key]
            scale = NOISE.get(key, NOISE_PX if value.max(initial=0) > 10 else 0.0)
            data[key] = (value + scale * self._noise.standard_normal(value.shape)).astype(
                value.dtype
            )
        return replace(obs, data=data)


class Covered:
    """Observations of whom something comes in front of a camera, a moment after the beginning."""

    def __init__(self, observe: Any, camera: str) -> None:
        self._observe = observe
        self._camera = camera

    def __call__(self) -> Obs:
        obs = self._observe()
        if obs.time < COVERED_SECONDS:
            return obs
        covered = np.full_like(obs.data[self._camera], GREY)
        return replace(obs, data=ChainMap({self._camera: covered}, obs.data))


class Moved:
    """A Push-T whose block begins near the edge, or slides on after it was pushed."""

    def __init__(self, env: Any, reset: Any, wrong: str) -> None:
        self._env, self._reset, self._wrong = env, reset, wrong

    def __call__(self, *, seed: int | None = None, options: Any = None) -> Any:
        found = self._reset(seed=seed, options=options)
        if self._wrong == "starts":
            rng = np.random.default_rng(seed)
            agent, angle = rng.uniform(50, 450, 2), rng.uniform(-np.pi, np.pi)
            block = [rng.choice([60.0, 450.0]), rng.uniform(60, 450)]
            found = self._reset(options={"reset_to_state": [*agent, *block, angle]})
        else:
            self._env.space.damping = 0.7
        return found


class MoreScores(Scorer):
    """The monitor's scores, and two that it does not have."""

    def __init__(self, engine: Any, monitor: Monitor) -> None:
        super().__init__(engine, monitor)
        self._policy = engine._policy

    @torch.no_grad()
    def score(self, episodes: Any, requests: list[Request], chunks: list[Chunk]) -> np.ndarray:
        own = super().score(episodes, requests, chunks)
        obs = self._engine.look(stack_observations(self._policy.spec, requests))
        history = {key: torch.as_tensor(value) for key, value in obs.items()}
        features = self._policy.features(history)
        spread = self._spread(obs, requests, chunks)
        return np.column_stack([own, spread, self._denoising(chunks, history, features)])

    def _spread(self, obs: Any, requests: list[Request], chunks: list[Chunk]) -> np.ndarray:
        """Return the deviation among chunks drawn for one observation, that played among them."""
        noise = []
        for request in requests:
            for number in range(1, SAMPLES):
                rng = np.random.default_rng([request.seed, number])
                noise.append(rng.standard_normal(self._engine.shape.noise, np.float32))
        repeated = {key: np.repeat(values, SAMPLES - 1, 0) for key, values in obs.items()}
        others = self._engine.predict(repeated, np.stack(noise, 1))
        others = others.reshape(len(chunks), SAMPLES - 1, *others.shape[1:])
        played = np.stack([chunk.actions for chunk in chunks])[:, None]
        away = np.concatenate([np.zeros_like(played), others - played], 1)
        return np.sqrt((away / self._monitor.action_scale).var(1).mean((1, 2)))

    def _denoising(self, chunks: list[Chunk], history: Any, features: torch.Tensor) -> np.ndarray:
        policy = self._policy
        played = torch.as_tensor(np.stack([chunk.actions for chunk in chunks]))
        x0 = policy.normaliser.encode_chunks(played.float(), history)
        condition = policy.net.condition(features)
        errors = []
        for level in LEVELS:
            for number in range(2):
                drawn = np.random.default_rng(number).standard_normal(x0.shape[1:])
                eps = torch.as_tensor(drawn, dtype=x0.dtype).expand_as(x0)
                t = torch.full((len(x0),), level)
                found, _ = policy.denoiser()(policy.path.mix(x0, eps, t), t, condition)
                errors.append((found - x0).square().mean((1, 2)))
        return torch.stack(errors).mean(0).numpy()


def auroc(bad: np.ndarray, good: np.ndarray) -> float:
    """Return the probability that a bad episode scores higher than a good one."""
    above = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
    return float(above)


def auroc_interval(area: float, bad: int, good: int) -> tuple[float, float]:
    """Return the 95 % interval of an area (Hanley and McNeil 1982)."""
    both_bad = area / (2 - area)  # two bad ones score higher than one good one
    both_good = 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (bad - 1) * (both_bad - area**2)
    variance += (good - 1) * (both_good - area**2)
    half = 1.96 * math.sqrt(variance / (bad * good))
    return max(0.0, area - half), min(1.0, area + half)


def highest(scored: list[Scored], seconds: float, monitor: Monitor) -> np.ndarray:
    """Return the largest of each score and of the total (N, 5), in the first seconds."""
    rows = []
    for each in scored:
        scores = each.scores[each.times <= seconds]
        assert monitor.calibration is not None
        total = monitor.calibration.shares(scores[:, :2]).max(1)
        rows.append([*scores.max(0), total.max()])
    return np.array(rows)


def main() -> None:
    """Fit, calibrate, score, print."""
    task, policy, data, *rest = sys.argv[1:]
    episodes = int(rest[0]) if rest else 200
    monitor = fit_monitor(policy, data)
    monitor_calibration.Scorer = MoreScores
    sampler = load_policy(policy).config.drawn_by
    validation = WrongJob(policy, task, sampler, evaluation_seeds(0, CALIBRATED_ON))
    good = [each for each in score_rollouts(validation, monitor) if each.rollout.success]
    monitor = calibrate(monitor, [each.worst()[:2] for each in good], ALARMS, task)
    longest = float(np.quantile([each.rollout.seconds for each in good], 0.95))
    print(
        f"{len(good)} of {CALIBRATED_ON} validation starts succeeded, 95 % within {longest:.1f} s"
    )
    print(
        "| wrong | succeeded | "
        + " | ".join(NAMES)
        + " | balanced | of failures | false | before |"
    )
    print("|" + "---|" * (len(NAMES) + 6))
    kept: list[Row] = []
    usual: list[Scored] = []
    cameras = load_policy(policy).spec.images
    for wrong in ("nothing", *cameras) if cameras else WRONG:
        seeds = evaluation_seeds(FIRST_TEST_SEED, episodes)
        delay = DELAY[task] if wrong == "delay" else 0
        on_delay = "switch" if wrong == "delay" else ""
        job = WrongJob(policy, task, sampler, seeds, delay=delay, on_delay=on_delay, wrong=wrong)
        spread = pick_place.CUBE_SPREAD
        if wrong == "starts":
            pick_place.CUBE_SPREAD = 2.5 * spread
        scored = score_rollouts(job, monitor)
        pick_place.CUBE_SPREAD = spread
        usual = usual or scored
        pooled = scored if wrong == "nothing" else [*usual, *scored]
        row = describe(pooled, scored, longest, monitor, wrong)
        kept.append(row)
        print(line(row), flush=True)
    results = json.loads(RESULTS.read_text())
    results[f"{task}/monitor/{policy}"] = {"task": task, "results": kept}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def describe(
    pooled: list[Scored], scored: list[Scored], longest: float, monitor: Monitor, wrong: str
) -> Row:
    """Return a row: how well each score tells failures from successes, usual starts included."""
    failed = np.array([not each.rollout.success for each in pooled])
    values = highest(pooled, longest, monitor)
    assert monitor.calibration is not None
    alarms, before, hours = [], [], 0.0
    for each in pooled:
        over = monitor.calibration.shares(each.scores[:, :2]).max(1) > 1
        alarms.append(bool(over.any()))
        if over.any() and not each.rollout.success:
            before.append(each.rollout.seconds - float(each.times[over.argmax()]))
        hours += each.rollout.success * each.rollout.seconds / 3600
    alarmed = np.array(alarms)
    hit, miss = int((alarmed & failed).sum()), int(failed.sum())
    false, of = int((alarmed & ~failed).sum()), int((~failed).sum())
    wins = sum(each.rollout.success for each in scored)
    areas: dict[str, float] = {}  # none where nothing failed, or everything did
    if 0 < miss < len(failed):
        for name, column in zip(NAMES, values.T, strict=True):
            areas[name] = auroc(column[failed], column[~failed])
    return {
        "wrong": wrong,
        "success": [wins, len(scored)],
        "auroc": areas,
        "balanced": (hit / miss + 1 - false / of) / 2 if areas else None,
        "found": [hit, miss],
        "false": [false, of],
        "false_an_hour": false / max(hours, 1e-9),
        "before": float(np.median(before)) if before else None,
    }


def line(row: Row) -> str:
    """Return a row in Markdown."""
    wins, of = row["success"]
    cells = [row["wrong"], between(wins / of, wilson(wins, of))]
    hit, miss = row["found"]
    false, good = row["false"]
    if row["auroc"]:
        *single, total = (row["auroc"][name] for name in NAMES)
        cells += [f"{area:.2f}" for area in single]
        cells += [between(total, auroc_interval(total, miss, good)), f"{row['balanced']:.2f}"]
    else:
        cells += [""] * (len(NAMES) + 1)
    cells.append(f"{hit} of {miss}")
    cells += [f"{false} of {good}, {row['false_an_hour']:.0f} an hour"]
    cells += ["" if row["before"] is None else f"{row['before']:.1f} s"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
