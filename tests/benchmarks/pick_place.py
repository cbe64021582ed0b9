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


def share(hits: int, n: int) -> str:
    """Share of hits with its 95 % interval, in percent."""
    low, high = wilson(hits, n)
    return f"{100 * hits / n:5.1f} %  [{100 * low:.1f}, {100 * high:.1f}]"


def clearance(env: PickPlace) -> float:
    """Distance [m] from the post to the nearest part of arm or cube, at most 0.2."""
    model, data = env.model, env.data
    post = model.geom("post").id
    solid = [
        g
        for g in range(model.ngeom)
        if model.geom_bodyid[g] and model.geom_contype[g] and g != post
    ]
    return min(mujoco.mj_geomDistance(model, data, g, post, 0.2, None) for g in solid)


def episodes(
    actor: Average | PickPlaceExpert, n: int, *, noise: float = 0.0, measure: bool = False
) -> Iterator[tuple[dict, int, float]]:
    """Yield (last info, length in steps, smallest clearance [m]) of n episodes.

    Noise [rad] on what is sent.
    """
    env, (low, high) = gym.make("fewstep/PickPlace-v0"), spec().bounds()
    for seed in range(SEED, SEED + n):
        (data, info), rng, k, near, over = (
            env.reset(seed=seed),
            np.random.default_rng(seed),
            0,
            np.inf,
            False,
        )
        actor.reset(seed)
        while not over:
            action = np.asarray(actor.act(Obs(k / HZ, data, {})).action)
            action = action + noise * rng.standard_normal(7) * [1, 1, 1, 1, 1, 1, 0]
            action = np.clip(action, low, high)
            actor.sent(action)
            data, _, terminated, truncated, info = env.step(action.astype(np.float32))
            k, over = k + 1, terminated or truncated
            near = min(near, clearance(env.unwrapped)) if measure else np.nan
        yield info, k, near


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
    n, infos = len(rows), [info for info, _, _ in rows]
    print(f"\n{name}, {n} episodes")
    print(f"  success       {share(sum(i['is_success'] for i in infos), n)}")
    print(f"  post touched  {share(sum(i['post_touched'] for i in infos), n)}")
    print(f"  passed left   {share(sum(i['side'] == 'left' for i in infos), n)}")
    seconds = np.array([k for _, k, _ in rows]) / HZ
    print(f"  length        {seconds.mean():.2f} s (longest {seconds.max():.2f} s)")
    if not np.isnan(rows[0][2]):
        near = np.array([c for _, _, c in rows])
        print(
            f"  clearance     smallest {100 * near.min():.1f} cm, mean of episodes {100 * near.mean():.1f} cm"
        )


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"MuJoCo {mujoco.__version__}; simulation {speed():.0f} x real time (CPU time, one core)")
    report("expert", list(episodes(PickPlaceExpert(), n, measure=True)))
    report(
        "expert, 0.01 rad of noise on every joint target",
        list(episodes(PickPlaceExpert(), n, noise=0.01)),
    )
    report(
        "expert, 0.02 rad of noise on every joint target",
        list(episodes(PickPlaceExpert(), n, noise=0.02)),
    )
    report("mean of both sides", list(episodes(Average(), n)))


if __name__ == "__main__":
    main()
