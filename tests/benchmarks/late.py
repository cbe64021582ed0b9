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
from collect import RESULTS, between, keep, paired, signed

from fewstep.envs.agent import Agent, Chunk
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
            self._chunks = [c for c in self._chunks if c.at(now, self._spec) is not None] + [
                self.chunk
            ]
            self.chunk = self._mean(self.chunk)

    def _mean(self, last: Chunk) -> Chunk:
        times, rows = last.time + last.dt * np.arange(len(last.actions)), []
        for t, own in zip(times, last.actions, strict=True):
            there = [
                a
                for c in self._chunks[:-1]
                if t >= c.time and (a := c.at(t, self._spec)) is not None
            ] + [own]
            weights = np.exp(-FADE * np.arange(len(there)))
            rows.append(weights @ np.stack(there) / weights.sum())
        return Chunk(last.episode, last.time, last.dt, np.stack(rows))


def ensemble(engine: Engine, runner: Runner, on_delay: str = "") -> Agent:
    """In place of runners.make_agent."""
    if on_delay != "ensemble":
        return make_agent(engine, runner, on_delay)
    config = engine.config
    return Ensemble(
        runner,
        engine.spec,
        observation_steps=config.observation_steps,
        action_steps=config.action_steps,
    )


def main() -> None:
    """Evaluate, keep, print."""
    path, task, *numbers = sys.argv[1:]
    episodes, *delays = [int(n) for n in numbers] or [200]
    policy, results = load_policy(path), json.loads(RESULTS.read_text())
    rollouts.make_agent = ensemble
    seeds, kept, first = evaluation_seeds(FIRST_TEST_SEED, episodes), [], None
    print(
        "| while late | delay | success | minus delay 0 | score | seam | jerk |\n|---|---|---|---|---|---|---|"
    )
    for delay in delays or range(7):
        for on_delay in (
            (*(ON_DELAY if policy.config.net.prefix else ON_DELAY[1:]), "ensemble")
            if delay
            else ("switch",)
        ):
            job = Job(path, task, policy.config.drawn_by, seeds, delay, on_delay=on_delay)
            row = keep(summarise(job, rollouts.roll_out_all(job), {}))
            first = first or row
            cells = [
                on_delay if delay else "any",
                str(delay),
                between(row["success_rate"], row["interval"]),
            ]
            cells += [signed(paired(row, first)[0]) if delay else ""]
            cells += [between(row["mean_max_reward"], row["mean_max_reward_interval"])]
            print(f"| {' | '.join(cells)} | {row['seam']:.3f} | {row['jerk']:.3f} |", flush=True)
            kept.append(row)
    results[f"{task}/late/{episodes}"] = {"task": task, "seed": seeds[0], "results": kept}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
