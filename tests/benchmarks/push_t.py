"""How far fewstep/PushT-v0 agrees with gym-pusht.

`python tests/benchmarks/push_t.py BUFFER [EPISODES]`.

The human demonstrations (pusht_cchi_v7_replay.zarr) are replayed open loop in both, from the
recorded start; every step is compared with what was recorded.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import gym_pusht  # noqa: F401  (registers)
import gymnasium as gym
import numpy as np
import zarr

import fewstep.envs.sim.push_t  # noqa: F401  (registers)

NEAR = 5.0  # px


def ours(env: Any, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """States (T, 5) of a replay in MuJoCo."""
    env.reset(options={"state": start})
    return np.stack([start, *(env.step(a) and env.state for a in actions[:-1])])


def theirs(env: Any, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """States (T, 5) of a replay in gym-pusht, from the exact start: angle first, and at rest."""
    env.reset(seed=0)
    env.block.angle, env.block.position = float(start[4]), start[2:4].tolist()
    env.agent.position, env.agent.velocity = start[:2].tolist(), (0, 0)
    env.space.reindex_shapes_for_body(env.block)
    seen = [start]
    for a in actions[:-1]:
        env.step(a)
        seen.append(np.array([*env.agent.position, *env.block.position, env.block.angle]))
    return np.stack(seen)


def report(
    name: str,
    env: Any,
    replay: Callable[..., np.ndarray],
    episodes: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Print how far the block is from where it was recorded, a quarter, half and all the way
    through.
    """
    began, off, turned = time.process_time(), [], []
    for states, actions in episodes:
        d = replay(env, states[0].astype(float), actions.astype(float)) - states
        away = np.hypot(d[:, 2], d[:, 3])
        off.append([away[len(d) // 4], away[len(d) // 2], away[-1]])
        turned.append(abs((d[-1, 4] + np.pi) % (2 * np.pi) - np.pi))
    seconds = (time.process_time() - began) / sum(len(a) for _, a in episodes)
    quarter, half, end = np.median(off, 0)
    near = (np.array(off) < NEAR).mean(0)
    cells = [f"{x:.2f}" for x in (quarter, half, end)] + [f"{100 * x:.0f} %" for x in near]
    print(
        f"| {name} | {' | '.join(cells)} | {np.degrees(np.median(turned)):.2f} | {0.1 / seconds:.0f} |"
    )


def main() -> None:
    """Replay in both."""
    data: Any = zarr.open_group(sys.argv[1], mode="r")
    ends = data["meta/episode_ends"][:].tolist()[: int(sys.argv[2]) if sys.argv[2:] else None]
    bounds = list(zip([0, *ends], ends, strict=False))
    episodes = [(data["data/state"][a:b], data["data/action"][a:b]) for a, b in bounds]
    print(
        "| replayed in | off [px] 1/4 | 1/2 | end | within 5 px 1/4 | 1/2 | end | off [deg] | times real time |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    report("fewstep/PushT-v0", gym.make("fewstep/PushT-v0").unwrapped, ours, episodes)
    report(
        "gym-pusht",
        gym.make("gym_pusht/PushT-v0", disable_env_checker=True).unwrapped,
        theirs,
        episodes,
    )


if __name__ == "__main__":
    main()
