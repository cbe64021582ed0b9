"""What thinking more often, or more at a time, does for success.

`python tests/benchmarks/replanning.py TASK POLICY[,POLICY...] [EPISODES[@SEED] [WAY ...]]`

A way is written as words joined by "+": a number of action_steps, and what is done with chunks:

    leadN        actions are sent N control steps early
    delayN       a chunk is asked for from what was observed N control steps ago
    prefixN      a chunk begins with the next N actions of the one in flight
    evaluationsN a chunk is drawn with N network evaluations, in place of the policy's own number
    episode      one noise for all chunks of an episode
    shifted      one noise for each moment of an episode, whichever chunk it is drawn for
    zero         no noise
    average      what is sent is the mean of all chunks, the older the less
    agreeD       that mean, of those alone that are within D of the newest (a share of the range)
    nearestK     of K chunks the one nearest to the chunk in flight
    medoidK      of K chunks the one nearest to all others
    errorK       of K chunks the one that the network denoises with least error
    random       of several policies a random one for each chunk
    mean         the mean of several policies, where they are within agreeD, else the first

Each is paired with the first on the same starts. Milliseconds are those of one thread in the
fastest engine, per control step. Rows are kept in docs/results.json.
"""

import json
import re
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from collect import RESULTS, Row, between, keep, paired, signed

from fewstep.envs.agent import Agent, Request, Runner
from fewstep.envs.robot import Obs
from fewstep.envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.engine import Engine
from fewstep.policy.engines.ensemble import choose
from fewstep.policy.engines.loading import engines_here, load_engine
from fewstep.policy.evaluation import rollouts
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.summary import summarise
from fewstep.policy.policy_folder import find_policy
from fewstep.policy.serving import runners

MOST_TICKS = 2**16  # of an episode, whose noise is found by its tick
MOST_EPISODES = 2**40
JUDGED_AT = 0.5  # the time at which a chunk's denoising error is looked at
WAYS = ["8", "4", "2", "1"]  # by default: nothing but more often


@dataclass
class Way:
    """How chunks are asked for, chosen and joined."""

    action_steps: int
    lead: int = 0
    delay: int = 0
    prefix: int = 0
    evaluations: int = 0
    episode: bool = False
    shifted: bool = False
    zero: bool = False
    average: bool = False
    agree: float = 0.0
    nearest: int = 1
    medoid: int = 1
    error: int = 1
    random: bool = False
    mean: bool = False
    requests: int = field(default=0, init=False)  # that were made

    @property
    def samples(self) -> int:
        return max(self.nearest, self.medoid, self.error)


def read_way(name: str) -> Way:
    """Return the way of this name."""
    steps, *words = name.split("+")
    known = {each.name: each for each in fields(Way)}
    given: dict[str, Any] = {}
    for word in words:
        key, number = re.fullmatch(r"([a-z]+)([\d.]*)", word).groups()  # pyright: ignore
        given[key] = type(known[key].default)(number) if number else True
    return Way(int(steps), **given)


class Replanning(Agent):
    """An Agent that asks and joins in its own way."""

    def __init__(self, runner: Runner, engine: Engine, way: Way) -> None:
        shape = engine.shape
        super().__init__(
            runner,
            engine.spec,
            observation_steps=shape.observation_steps,
            action_steps=way.action_steps,
            pictures=shape.pictures,
            actuation_delay=way.lead / engine.spec.policy_hz,
            agreement=1.0 if way.average else way.agree * (not way.mean),
        )
        self._way = way
        self._horizon = shape.horizon

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._seen: list[Obs] = []

    def _remember(self, obs: Obs) -> None:
        self._seen = [*self._seen[-self._way.delay :], obs] if self._way.delay else [obs]
        super()._remember(self._seen[0])

    def _due(self, now: float) -> bool:
        return super()._due(now - self._way.delay / self._spec.policy_hz)

    def _ask(self, obs: Obs) -> None:
        self._way.requests += 1
        super()._ask(self._seen[0])

    def _prefix(self, now: float) -> np.ndarray:
        """What the next chunk begins with, or is compared with."""
        length = self._way.prefix or (self._horizon if self._way.nearest > 1 else 0)
        return self._following(now, length)


def ranges(engine: Engine) -> np.ndarray:
    """Return the range (A,) of each action, where the Spec says it, else 1."""
    sizes = []
    for action in engine.spec.actions.values():
        given = np.subtract(action.high, action.low) if action.low and action.high else ()
        sizes.append(given if len(given) else np.ones(action.size))
    return np.concatenate(sizes)


class Choosing:
    """An Engine that draws several chunks, from one policy or several, and returns one."""

    def __init__(self, engines: list[Any], way: Way) -> None:
        self._engines = engines
        self._way = way
        self.name = engines[0].name
        self.spec = engines[0].spec
        self.shape = engines[0].shape
        self.batches = engines[0].batches

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        if self._way.zero:
            noise = np.zeros_like(noise)
        given = (prefix, prefix_length) if self._way.prefix else ()
        if len(self._engines) > 1:
            answers = np.stack([engine.predict(obs, noise, *given) for engine in self._engines])
            return self._join(answers, noise)
        if self._way.samples == 1:
            return self._engines[0].predict(obs, noise, *given)
        drawn = [self._engines[0].predict(obs, each, *given) for each in self._more(noise)]
        return self._choose(np.stack(drawn, 1), obs, prefix, prefix_length)

    def _more(self, noise: np.ndarray) -> list[np.ndarray]:
        """Return as many noises as there are samples; each request's own decide the others."""
        noises = [noise]
        for k in range(1, self._way.samples):
            other = np.empty_like(noise)
            for row in range(noise.shape[1]):
                rng = np.random.default_rng([k, zlib.crc32(noise[:, row].tobytes())])
                other[:, row] = rng.standard_normal(noise[:, row].shape, np.float32)
            noises.append(other)
        return noises

    def _join(self, answers: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return one chunk (B, H, A) of answers (members, B, H, A)."""
        if self._way.random:
            return answers[choose(noise, len(answers)), np.arange(answers.shape[1])]
        distance = (answers - answers[:1]) / ranges(self._engines[0])
        far = np.sqrt(np.mean(distance**2, (2, 3))).max(0) > self._way.agree
        return np.where(far[:, None, None], answers[0], answers.mean(0))

    def _choose(
        self,
        drawn: np.ndarray,
        obs: Mapping[str, np.ndarray],
        in_flight: np.ndarray | None,
        lengths: np.ndarray | None,
    ) -> np.ndarray:
        """Return one chunk (B, H, A) of those that were drawn (B, K, H, A)."""
        if self._way.nearest > 1:
            if in_flight is None or lengths is None:
                return drawn[:, 0]
            counted = np.arange(drawn.shape[2]) < lengths[:, None]
            badness = np.square(drawn - in_flight[:, None]).sum(-1) @ counted[..., None]
            badness = badness[..., 0]
        elif self._way.medoid > 1:
            apart = np.square(drawn[:, :, None] - drawn[:, None]).sum((-1, -2))
            badness = np.sqrt(apart).sum(2)
        else:
            badness = self._denoising_errors(drawn, obs)
        return drawn[np.arange(len(drawn)), badness.argmin(1)]

    @torch.no_grad()
    def _denoising_errors(self, drawn: np.ndarray, obs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return how badly the network finds each chunk (B, K) again in noise."""
        policy = self._engines[0]._policy
        history = {key: torch.as_tensor(obs[key]) for key in policy.spec.observations}
        features = policy.features(history)
        condition = policy.net.condition(features)
        eps = torch.as_tensor(np.random.default_rng(0).standard_normal(drawn.shape[2:]))
        errors = []
        for k in range(drawn.shape[1]):
            x0 = policy.normaliser.encode_chunks(torch.as_tensor(drawn[:, k]), history)
            t = torch.full((len(x0),), JUDGED_AT)
            noisy = policy.path.mix(x0, eps.to(x0).expand_as(x0), t)
            found, _ = policy.denoiser()(noisy, t, condition)
            errors.append((found - x0).square().mean((1, 2)))
        return torch.stack(errors, 1).numpy()


def draw_noise(way: Way, engine: Engine, seed: int) -> np.ndarray:
    """In place of runners.draw_noise."""
    if not (way.shifted or way.episode):
        return np.random.default_rng(seed).standard_normal(engine.shape.noise, np.float32)
    first, tick = divmod(seed, MOST_TICKS)
    ticks = tick * way.shifted + np.arange(engine.shape.noise[1])
    count, _, size = engine.shape.noise
    rows = [np.random.default_rng([first, k]).standard_normal((count, size)) for k in ticks]
    return np.stack(rows, 1).astype(np.float32)


class OneNoise:
    """A Runner whose requests say, in their seed, of which episode and tick they are."""

    def __init__(self, runner: Runner, hz: float) -> None:
        self._runner = runner
        self._hz = hz
        self._first: Request | None = None
        self.poll = runner.poll
        self.stalls = runner.stalls

    def submit(self, request: Request) -> None:
        self._first = self._first or request
        tick = round((request.time - self._first.time) * self._hz)
        seed = self._first.seed % MOST_EPISODES * MOST_TICKS + tick
        self._runner.submit(replace(request, seed=seed))


def make_agent(way: Way, engine: Engine, runner: Runner, on_delay: str = "") -> Agent:
    """In place of runners.make_agent."""
    if way.episode or way.shifted:
        runner = OneNoise(runner, engine.spec.policy_hz)
    return Replanning(runner, engine, way)


def load_all(paths: list[str], way: Way, job: Job) -> Choosing:
    """In place of Job.load_engine."""
    return Choosing([load_engine(path, job.engine, job.sampler) for path in paths], way)


@cache
def milliseconds(path: str, sampler: Sampler) -> float:
    """Return what a chunk takes in the fastest engine on one thread."""
    engine = load_engine(path, engines_here(find_policy(path))[0], sampler, threads=1)
    request = runners.blank_request(engine)
    spent = []
    for _ in range(300):
        began = time.process_time()
        runners.answer(engine, [request])
        spent.append(time.process_time() - began)
    return 1000 * float(np.median(spent))


def main() -> None:
    """Evaluate, keep, print."""
    task, given, *rest = sys.argv[1:]
    paths = given.split(",")
    episodes, _, first = (rest[0] if rest else "500").partition("@")
    seeds = evaluation_seeds(int(first) if first else FIRST_TEST_SEED, int(episodes))
    results = json.loads(RESULTS.read_text())
    policy = load_policy(paths[0])
    own = policy.config.drawn_by
    kept: list[Row] = []
    print("| way | success | minus first | score | evaluations | ms | seam | jerk | left | post |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in rest[1:] or WAYS:
        way = read_way(name)
        sampler = own.at(way.evaluations or own.cost)
        members = paths if way.random or way.mean else paths[:1]
        rollouts.make_agent = partial(make_agent, way)
        runners.draw_noise = partial(draw_noise, way)
        job = Job(paths[0], task, sampler, seeds)
        Job.load_engine = partial(load_all, members, way, job)  # called without the job itself
        ended = rollouts.roll_out_all(job)
        row = keep(summarise(job, ended, {}))
        ticks = sum(each.seconds for each in ended) * policy.spec.policy_hz
        chunks = way.requests * way.samples * (len(members) if way.mean else 1) / ticks
        row["way"] = name
        row["evaluations_per_tick"] = chunks * sampler.cost
        row["ms_per_tick"] = chunks * milliseconds(paths[0], sampler)
        kept.append(row)
        print(line(row, kept[0]), flush=True)
        key = f"{task}/replanning/{given}/{seeds[0]}"
        results[key] = {"task": task, "seed": seeds[0], "results": kept}
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def line(row: Row, first: Row) -> str:
    """Return a row in Markdown, with its difference from the first."""
    cells = [row["way"], between(row["success_rate"], row["interval"])]
    cells.append("" if row is first else signed(paired(row, first)[0]))
    cells.append(between(row["mean_max_reward"], row["mean_max_reward_interval"]))
    cells += [f"{row['evaluations_per_tick']:.2f}", f"{row['ms_per_tick']:.2f}"]
    cells += [f"{row[key]:.3f}" for key in ("seam", "jerk")]
    for key in ("left", "touched"):
        if key in row:
            cells.append(between(row[key]["hits"] / row[key]["of"], row[key]["interval"]))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
