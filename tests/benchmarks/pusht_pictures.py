"""Whether gym-pusht draws what was recorded with the human demonstrations.

`python tests/benchmarks/pusht_pictures.py BUFFER [FRAMES]`.

The environment of `task=pusht-pixels` is put into states of pusht_cchi_v7_replay.zarr, evenly
spread; its picture is compared with the recorded one.
"""

import sys
from typing import Any

import numpy as np
import zarr

from fewstep.envs.sim.registry import make_robot

FAR = 16  # of 255, from where on a pixel counts as another one


def main() -> None:
    """Print how far the pictures differ."""
    data: Any = zarr.open_group(sys.argv[1], mode="r")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    states = data["data/state"][:].astype(float)
    robot: Any = make_robot("pusht-pixels")
    robot.reset(seed=0)
    means = []
    shares = []
    for frame in np.linspace(0, len(states) - 1, count).astype(int).tolist():
        recorded = data["data/img"][frame]
        difference = np.abs(draw(robot.env.unwrapped, states[frame]) - recorded)
        means.append(difference.mean())
        shares.append((difference.max(-1) > FAR).mean())
    print(f"{count} pictures")
    print(f"  mean absolute difference   {np.mean(means):.3f} of 255, worst {max(means):.3f}")
    print(
        f"  pixels off by more than {FAR}  {100 * np.mean(shares):.2f} %,"
        f" worst {100 * max(shares):.2f} %"
    )


def draw(env: Any, state: np.ndarray) -> np.ndarray:
    """Return gym-pusht's picture, float (96, 96, 3), of a state (5,): the angle first, at rest."""
    env.block.angle = float(state[4])
    env.block.position = state[2:4].tolist()
    env.agent.position = state[:2].tolist()
    env.block.velocity = (0, 0)
    env.agent.velocity = (0, 0)
    env.space.reindex_shapes_for_body(env.block)
    env.space.reindex_shapes_for_body(env.agent)
    return env.draw_camera("pixels").astype(float)


if __name__ == "__main__":
    main()
