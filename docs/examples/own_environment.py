"""Play and evaluate a policy in a gymnasium environment of your own.

Here the environment is Push-T in MuJoCo, and the policy comes with the package. Any environment
works that has Box or Dict observations and Box actions and says info["is_success"]; from the
command line it is `fewstep evaluate policy=run task=my_module:MyTask-v0`.
Run `python docs/examples/own_environment.py [episodes]`; it takes about 10 s per episode.
"""

import sys

import gymnasium as gym

import fewstep.envs.sim.push_t  # registers fewstep/PushT-v0, as your module registers yours
from fewstep.envs import run_episode
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.policy import InlineRunner, agent, load_policy
from fewstep.policy.evaluation.statistics import wilson


def main(episodes: int) -> None:
    """Play some episodes and print the success rate with its 95 % interval."""
    robot = GymRobot(gym.make("fewstep/PushT-v0"))
    policy = load_policy("pusht")
    actor = agent(policy, InlineRunner(policy))
    successes = 0
    for seed in range(episodes):
        for step in run_episode(robot, actor, seed=seed, max_seconds=robot.seconds):
            assert step is None or step.sent.shape == (robot.spec.action_size,)
        outcome = robot.outcome()
        print(f"start {seed}: {outcome}")
        successes += bool(outcome and outcome.success)
    robot.close()
    rate, low, high = successes / episodes, *wilson(successes, episodes)
    print(f"success {rate:.2f} [{low:.2f}, {high:.2f}] in {episodes} episodes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
