"""`fewstep/PushTPixels-v0`: gym-pusht observed as a picture and the agent's position."""

from typing import Any

import gymnasium as gym
import numpy as np
from gym_pusht.envs import PushTEnv


class PushTPixels(PushTEnv):
    """gym-pusht's environment, which can draw its picture when it is asked for one.

    pictures_on_demand: leave the picture out of the observations; see GymRobot.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(obs_type="pixels_agent_pos", **options)
        self.pictures_on_demand = False

    def get_obs(self) -> Any:
        """Return what is observed now."""
        if self.pictures_on_demand:
            return {"agent_pos": np.array(self.agent.position)}
        return super().get_obs()

    def draw_camera(self, camera: str) -> np.ndarray:
        """Return what the one camera, "pixels", sees now, (height, width, 3)."""
        observed: Any = super().get_obs()
        return observed[camera]


gym.register(
    "fewstep/PushTPixels-v0",
    entry_point="fewstep.envs.sim.push_t_pixels:PushTPixels",
    max_episode_steps=300,
)
