"""The built-in task and its expert over 300 starts.

`python tests/benchmarks/pick_place.py [episodes]`.
"""

import sys
import time
from collections.abc import Iterator

import gymnasium as gym
import mujoco
import numpy as np

from fewstep.envs import Command, Obs
from fewstep.envs.sim.pick_place import HZ, PickPlace, spec
from fewstep.envs.sim.pick_place_expert import PickPlaceExpert
from fewstep.policy.evaluation.statistics import wilson

SEED = 100_000


class Average:
    """Both experts see the same; the mean of what they want is done, as least squares would."""

    def __init__(self) -> None:
        self.experts = [PickPlaceExpert("left"), PickPlaceExpert("right")]

    def reset(self, seed: int | None = None) -> None:
        for expert in self.experts:
            expert.reset(seed)

    def act(self, obs: Obs) -> Command:
        return Command(
            np.mean([e.act(obs).action for e in self.experts], 0, dtype=np.float32), "expert"
        )

    def sent(self, action: np.ndarray) -> None:
        for expert in self.experts:
            expert.sent(action)


def share(hits: int, count: int) -> str:
    """Share of hits with its 95 % interval, in percent."""
    low, high = wilson(hits, count)
    return f"{100 * hits / count:5.1f} %  [{100 * low:.1f}, {100 * high:.1f}]"


def clearance(env: PickPlace) -> float:
    """Distance [m] from the post to the nearest part of arm or cube, at most 0.2."""
    post = env.model.geom("post").id
    nearest = 0.2
    for geom in range(env.model.ngeom):
        collides = env.model.geom_bodyid[geom] and env.model.geom_contype[geom]
        if collides and geom != post:
            away = mujoco.mj_geomDistance(env.model, env.data, geom, post, 0.2, None)
            nearest = min(nearest, away)
    return nearest


def episodes(
    actor: Average | PickPlaceExpert, count: int, *, noise: float = 0.0, measure: bool = False
) -> Iterator[tuple[dict, int, float]]:
    """Yield (last info, length in steps, smallest clearance [m]) of so many episodes.

    Noise [rad] on what is sent.
    """
    env = gym.make("fewstep/PickPlace-v0")
    for seed in range(SEED, SEED + count):
        yield play(env, actor, seed, noise, measure)


def play(
    env: gym.Env, actor: Average | PickPlaceExpert, seed: int, noise: float, measure: bool
) -> tuple[dict, int, float]:
    """Return what `episodes` yields, of one seed."""
    low, high = spec().bounds()
    rng = np.random.default_rng(seed)
    data, info = env.reset(seed=seed)
    actor.reset(seed)
    steps = 0
    nearest = np.inf if measure else np.nan
    over = False
    while not over:
        action = np.asarray(actor.act(Obs(steps / HZ, data, {})).action)
        action = action + noise * rng.standard_normal(7) * [1, 1, 1, 1, 1, 1, 0]
        action = np.clip(action, low, high)
        actor.sent(action)
        data, _, terminated, truncated, info = env.step(action.astype(np.float32))
        steps += 1
        over = terminated or truncated
        if measure:
            nearest = min(nearest, clearance(env.unwrapped))
    return info, steps, nearest


def speed(steps: int = 2000) -> float:
    """Simulated seconds per CPU second, the arm moving, without pictures or expert."""
    env = PickPlace()
    env.reset(seed=SEED)
    env.action_space.seed(0)
    actions = [env.action_space.sample() * 0.3 for _ in range(50)]
    start = time.process_time()
    for k in range(steps):
        env.step(actions[k // 40])
    return steps / HZ / (time.process_time() - start)


def report(name: str, rows: list[tuple[dict, int, float]]) -> None:
    """Print one actor's table."""
    count = len(rows)
    infos = [info for info, _, _ in rows]
    seconds = np.array([steps for _, steps, _ in rows]) / HZ
    clearances = np.array([nearest for _, _, nearest in rows])
    print(f"\n{name}, {count} episodes")
    print(f"  success       {share_of(infos, 'is_success', True)}")
    print(f"  post touched  {share_of(infos, 'post_touched', True)}")
    print(f"  passed left   {share_of(infos, 'side', 'left')}")
    print(f"  length        {seconds.mean():.2f} s (longest {seconds.max():.2f} s)")
    if not np.isnan(clearances[0]):
        smallest = 100 * clearances.min()
        mean = 100 * clearances.mean()
        print(f"  clearance     smallest {smallest:.1f} cm, mean of episodes {mean:.1f} cm")


def share_of(infos: list[dict], key: str, value: object) -> str:
    """Share of the episodes whose info[key] is `value`."""
    hits = [info[key] == value for info in infos]
    return share(sum(hits), len(infos))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"MuJoCo {mujoco.__version__}; simulation {speed():.0f} x real time (CPU time, one core)")
    report("expert", list(episodes(PickPlaceExpert(), count, measure=True)))
    report(
        "expert, 0.01 rad of noise on every joint target",
        list(episodes(PickPlaceExpert(), count, noise=0.01)),
    )
    report(
        "expert, 0.02 rad of noise on every joint target",
        list(episodes(PickPlaceExpert(), count, noise=0.02)),
    )
    report("mean of both sides", list(episodes(Average(), count)))


if __name__ == "__main__":
    main()
