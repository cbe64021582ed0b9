"""Play and evaluate a policy in a gymnasium environment of your own.

The environment here is an arm of two joints that shall come to a cup; the policy of
own_demonstrations.py fits it. Any environment works that has Box or Dict observations, Box actions,
and info["is_success"] (or a reward, which then counts as its score). From the command line, beside
this file: `fewstep evaluate policy=run task=own_environment:examples/Cup-v0 episodes=50`.
Run `python docs/examples/own_environment.py out/own_demonstrations/run`; it takes some seconds.
"""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from fewstep.envs import Field, Spec, run_episode
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.policy import InlineRunner, load_engine, make_agent
from fewstep.policy.evaluation.statistics import wilson

HZ = 20
JOINTS = spaces.Box(-2, 2, (2,), np.float32)


class CupEnv(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Joints that go half of the way to their targets every step; success is to be at the cup."""

    # Units and names, which spaces cannot say; without it, fewstep takes what the spaces say.
    spec_fewstep = Spec(
        observations={"joints": Field((2,), "rad"), "cup": Field((2,), "m")},
        actions={"joints": Field((2,), "rad", measured_by="joints")},
        policy_hz=HZ,
    )

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({"joints": JOINTS, "cup": JOINTS})
        self.action_space = JOINTS

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw joints and cup; every draw comes from self.np_random, so that a seed is a start."""
        super().reset(seed=seed)
        self.joints = self.np_random.uniform(-1, 1, 2)
        self.cup = self.np_random.uniform(-1, 1, 2)
        return self.observation(), {}

    def step(self, action: np.ndarray) -> Any:
        """Move; the reward rises to 1 at the cup."""
        self.joints += (action - self.joints) / 2
        distance = float(np.linalg.norm(self.joints - self.cup))
        info = {"is_success": distance < 0.1}
        return self.observation(), np.exp(-distance), info["is_success"], False, info

    def observation(self) -> dict[str, np.ndarray]:
        """Return what a policy sees."""
        return {"joints": self.joints.astype(np.float32), "cup": self.cup.astype(np.float32)}


gym.register("examples/Cup-v0", CupEnv, max_episode_steps=4 * HZ)


def main(run: Path, episodes: int = 20) -> None:
    """Play some episodes and print the success rate with its 95 % interval."""
    robot = GymRobot(gym.make("examples/Cup-v0"), hz=HZ)
    engine = load_engine(run)
    actor = make_agent(engine, InlineRunner(engine))
    successes = 0
    for seed in range(episodes):
        ticks = sum(1 for _ in run_episode(robot, actor, seed=seed, max_seconds=robot.seconds))
        outcome = robot.outcome()
        successes += bool(outcome and outcome.success)
        print(f"start {seed}: {outcome} after {ticks / HZ:.1f} s")
    robot.close()
    low, high = wilson(successes, episodes)
    print(f"success {successes / episodes:.2f} [{low:.2f}, {high:.2f}] in {episodes} episodes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/own_demonstrations/run"))
