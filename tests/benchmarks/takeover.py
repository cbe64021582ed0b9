"""What corrections are worth: an operator takes over where the policy is about to fail.

`python tests/benchmarks/takeover.py OUT [SEED ...]`: a policy learns pick and place from few
demonstrations, then plays. A scripted operator, the task's expert, takes the robot where it comes
too near to the post or makes no way, and gives it back once that is over. Another policy learns
from the demonstrations and what the operator did, a third one from the demonstrations and as many
fresh ones, all three from their beginning for as many steps. Rows are kept in docs/results.json.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from collect import RESULTS, between, keep, paired, signed

from fewstep.demos.recording.recorder import Recorder
from fewstep.demos.store import DemoStore
from fewstep.envs import Command, Obs, Outcome, run_episode
from fewstep.envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from fewstep.envs.sim.pick_place_expert import PickPlaceExpert
from fewstep.envs.sim.registry import make_robot
from fewstep.envs.teleop.takeover import Takeover
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.cli.main import main as fewstep
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.rollouts import roll_out_all
from fewstep.policy.evaluation.summary import summarise
from fewstep.policy.serving.runners import InlineRunner, make_agent

FIRST_SEED = 50_000  # of the starts that are corrected, and of the fresh demonstrations
NEAR = 0.098  # [m] of the fingertips from the axis of the post, nearer than any demonstration
FAR = 0.115  # [m] so far away again, the robot is given back
STUCK_SECONDS = 6.0  # after which an episode that is not over makes no way
FEW = 10  # demonstrations that there are before
EPISODES = 30  # that are corrected, or shown afresh
EMPHASIS = "+emphasis={policy: 0}"  # the policy's own frames teach nothing


class Operator(PickPlaceExpert):
    """The expert in the place of a person."""

    def act(self, obs: Obs) -> Command:
        return Command(super().act(obs).action, "operator")


class Watcher:
    """The scripted operator's eye: wants the robot where the policy is about to fail."""

    def __init__(self, expert: PickPlaceExpert) -> None:
        self._expert = expert

    def begin(self) -> None:
        """Begin an episode."""
        self._began: float | None = None
        self._takes = False

    def __call__(self, obs: Obs) -> bool:
        """Return whether the operator wants the robot."""
        tip = self._expert.arm.forward(obs.data["joints"].astype(float))
        away = tip[:2] - self._expert.post
        distance = float(np.hypot(*away))
        if self._began is None:
            self._began = obs.time
        if obs.time - self._began > STUCK_SECONDS:
            self._takes = True
        elif not self._takes and distance < NEAR and tip[2] < 0.2:
            self._takes = True
            self._expert.side = "left" if away[1] > 0 else "right"
        elif self._takes and distance > FAR:
            self._takes = False
        return self._takes


def correct(policy: str, store: DemoStore, episodes: int) -> tuple[int, int, int]:
    """Record episodes in which the operator had the robot; return tries, kept, their frames."""
    robot = make_robot("pickplace")
    engine = load_engine(policy, "eager")
    expert = Operator()
    watcher = Watcher(expert)
    agent = make_agent(engine, InlineRunner(engine))
    actor = Takeover(agent, expert, watcher)
    recorder = Recorder(store)
    tries = kept = frames = 0
    while kept < episodes and tries < 40 * episodes:
        seed = FIRST_SEED + tries
        tries += 1
        watcher.begin()
        theirs = 0
        for step in run_episode(robot, actor, seed=seed, max_seconds=math.inf):
            assert step is not None
            recorder.step(step)
            theirs += step.intended.source == "operator"
        outcome = robot.outcome() or Outcome(None)
        if theirs and outcome.success:
            recorder.end(outcome, seed)
            kept += 1
            frames += theirs
        else:
            recorder.discard(seed)
    robot.close()
    return tries, kept, frames


def train(data: Path, out: Path, seed: int, *more: str) -> str:
    """Return the folder of a policy, which is trained where that has not been done yet."""
    settings = ["recipe=pickplace", f"data={data}", f"out={out}", f"seed={seed}", "threads=1"]
    if not (out / "policy.json").is_file() and fewstep(["train", *settings, *more]):
        raise SystemExit(f"{out} could not be trained")
    return str(out)


def evaluate(policy: str, episodes: int) -> dict[str, Any]:
    """Return the row of a policy on test starts."""
    sampler = load_policy(policy).config.drawn_by
    job = Job(policy, "pickplace", sampler, evaluation_seeds(FIRST_TEST_SEED, episodes))
    return keep(summarise(job, roll_out_all(job), {}))


def record(out: Path, *settings: str) -> Path:
    """Return a store of the expert's demonstrations, recorded where that has not been done yet."""
    if not out.exists() and fewstep(["record", "task=pickplace", f"data={out}", *settings]):
        raise SystemExit(f"{out} could not be recorded")
    return out


def main() -> None:
    """Show, train, correct, train again, evaluate, print."""
    out, *seeds = sys.argv[1:]
    few = record(Path(out, "few"), f"episodes={FEW}", "repeats=2")
    fresh = Path(out, "fresh")
    if not fresh.exists():
        shutil.copytree(few, fresh)
        settings = [f"data={fresh}", f"episodes={EPISODES}", f"seed={FIRST_SEED}", "repeats=2"]
        fewstep(["record", "task=pickplace", *settings])
    for seed in map(int, seeds or ("0", "1")):
        folder = Path(out, f"seed{seed}")
        before = train(few, folder / "before", seed)
        corrected = folder / "corrections"
        if not corrected.exists():
            shutil.copytree(few, corrected)
            with DemoStore.open(corrected, "a") as store:
                tries, kept, frames = correct(before, store, EPISODES)
            print(f"{kept} of {tries} starts corrected, in {frames} frames", flush=True)
        learnt = {
            "before": before,
            "corrected": train(corrected, folder / "corrected", seed, EMPHASIS),
            "fresh": train(fresh, folder / "fresh", seed),
        }
        rows: dict[str, dict[str, Any]] = {}
        for name, policy in learnt.items():
            rows[name] = evaluate(policy, 500)
            print(line(name, rows[name], rows["before"]), flush=True)
        results = json.loads(RESULTS.read_text())
        results[f"pickplace/takeover/{seed}"] = {"task": "pickplace", "results": rows}
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def line(name: str, row: dict[str, Any], before: dict[str, Any]) -> str:
    """Return a row in Markdown."""
    cells = [name, between(row["success_rate"], row["interval"])]
    cells.append("" if row is before else signed(paired(row, before)[0]))
    touched = row["touched"]
    cells.append(between(touched["hits"] / touched["of"], touched["interval"]))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
