"""Success, seams and jerk against delay.

`python tests/benchmarks/late.py POLICY TASK [EPISODES [DELAY ...]]`.

What an Agent can do while an answer is on the way, and temporal ensembling (Zhao et al. 2023, but
re-planning no more often than the others): the mean of all chunks that still have an action, the
oldest weighing most. Rows are paired with delay 0 on the same test starts, and kept in
docs/results.json.
"""

import json
import sys

import numpy as np
from collect import RESULTS, Row, between, keep, paired, signed

from fewstep.envs.agent import Agent
from fewstep.envs.chunk import Chunk
from fewstep.envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.engines.engine import Engine
from fewstep.policy.evaluation import rollouts
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.summary import summarise
from fewstep.policy.serving.runners import ON_DELAY, Runner, make_agent

FADE = 0.01  # weights exp(-FADE i), i = 0 the oldest


class Ensemble(Agent):
    """An Agent whose chunk is the mean of the last ones."""

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._chunks: list[Chunk] = []

    def _receive(self, now: float) -> None:
        before = self.chunk
        super()._receive(now)
        if self.chunk is not None and self.chunk is not before:
            usable = [chunk for chunk in self._chunks if chunk.at(now, self._spec) is not None]
            self._chunks = [*usable, self.chunk]
            self.chunk = self._mean(self.chunk)

    def _mean(self, last: Chunk) -> Chunk:
        times = last.time + last.dt * np.arange(len(last.actions))
        rows = []
        for time, own in zip(times, last.actions, strict=True):
            actions = [*self._earlier(time), own]
            weights = np.exp(-FADE * np.arange(len(actions)))
            rows.append(weights @ np.stack(actions) / weights.sum())
        return Chunk(last.episode, last.time, last.dt, np.stack(rows))

    def _earlier(self, time: float) -> list[np.ndarray]:
        """Return what the chunks before the last want at this time, the oldest first."""
        actions = []
        for chunk in self._chunks[:-1]:
            if time >= chunk.time:
                action = chunk.at(time, self._spec)
                if action is not None:
                    actions.append(action)
        return actions


def ensemble(engine: Engine, runner: Runner, on_delay: str = "") -> Agent:
    """In place of runners.make_agent."""
    if on_delay != "ensemble":
        return make_agent(engine, runner, on_delay)
    shape = engine.shape
    return Ensemble(
        runner,
        engine.spec,
        observation_steps=shape.observation_steps,
        action_steps=shape.action_steps,
        actuation_delay=shape.actuation_delay,
    )


def ways(delay: int, takes_prefix: bool) -> list[str]:
    """Return what an Agent can do while an answer is so late."""
    if not delay:
        return ["switch"]
    known = list(ON_DELAY if takes_prefix else ON_DELAY[1:])
    return [*known, "ensemble"]


def main() -> None:
    """Evaluate, keep, print."""
    path, task, *numbers = sys.argv[1:]
    episodes = int(numbers[0]) if numbers else 200
    delays = [int(number) for number in numbers[1:]] or list(range(7))
    policy = load_policy(path)
    results = json.loads(RESULTS.read_text())
    rollouts.make_agent = ensemble
    seeds = evaluation_seeds(FIRST_TEST_SEED, episodes)
    kept: list[Row] = []
    print("| while late | delay | success | minus delay 0 | score | seam | jerk |")
    print("|---|---|---|---|---|---|---|")
    for delay in delays:
        for on_delay in ways(delay, policy.config.net.prefix):
            job = Job(path, task, policy.config.drawn_by, seeds, delay, on_delay=on_delay)
            kept.append(keep(summarise(job, rollouts.roll_out_all(job), {})))
            print(line(on_delay if delay else "any", delay, kept), flush=True)
    results[f"{task}/late/{episodes}"] = {"task": task, "seed": seeds[0], "results": kept}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def line(name: str, delay: int, kept: list[Row]) -> str:
    """Return the last row in Markdown, with its difference from the first."""
    row = kept[-1]
    cells = [name, str(delay), between(row["success_rate"], row["interval"])]
    cells.append(signed(paired(row, kept[0])[0]) if delay else "")
    cells.append(between(row["mean_max_reward"], row["mean_max_reward_interval"]))
    cells += [f"{row['seam']:.3f}", f"{row['jerk']:.3f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
