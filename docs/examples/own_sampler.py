"""Draw chunks with a sampler of your own: one function, and a line in the table of step rules.

A step goes from x at time t to x at time r < t; time 1 is noise, time 0 is data. This one is the
midpoint rule: look halfway, then go the whole way in the direction seen there. It costs two network
evaluations a step. A policy's file can only name what is in the table, never bring code along.
Run `python docs/examples/own_sampler.py`.
"""

import torch

from fewstep.policy import Sampler, load_policy
from fewstep.policy.diffusion.samplers import STEPS, StepRule, even_grid


def midpoint(denoiser, x, t, r, condition, sampler, fresh_noise):
    """Return x (B, H, A) at time r by the explicit midpoint method (Euler's step to t and half)."""
    path = denoiser.path
    halfway = (t + r) / 2
    x_halfway = path.mix(*denoiser(x, t, condition), halfway)
    x0, eps = denoiser(x_halfway, halfway, condition)
    slope = path.target(x0, eps, halfway, "v")
    return x + (path.progress(r) - path.progress(t))[:, None, None] * slope


STEPS["midpoint"] = StepRule(
    step=midpoint,
    grid=lambda evaluations: even_grid(evaluations // 2),
    cost=lambda steps: 2 * steps,
)


def main() -> None:
    """Compare the chunks of few-step samplers with those of fifty steps from the same noise."""
    policy = load_policy("pusht")
    history = {
        key: torch.full((1, policy.config.observation_steps, *field.shape), 200.0)
        for key, field in policy.spec.observations.items()
    }
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, policy.config.horizon, policy.noise_size, generator=generator)
    exact = policy.act(history, noise, sampler=Sampler("ddim", 50))
    for step, evaluations in [("ddim", 2), ("midpoint", 2), ("ddim", 10), ("midpoint", 10)]:
        sampler = Sampler(step, evaluations)
        distance = (policy.act(history, noise, sampler=sampler) - exact).abs().mean()
        print(f"{step:9} {sampler.cost:2} network evaluations: {distance:.4f} px from 50 steps")


if __name__ == "__main__":
    main()
