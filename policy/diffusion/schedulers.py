"""diffusers' schedulers as samplers, for networks on the discrete paths."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..networks.temporal_unet import Cond
from .objectives import Denoiser
from .path import Path

SCHEDULERS = {"dpmsolver++": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler"}
PREDICTS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
BETAS = {"cosine": "squaredcos_cap_v2", "beta": "linear"}


def make_scheduler(name: str, path: Path, prediction_type: str, clip: float = 0.0) -> Any:
    """A scheduler for a network of this path and prediction_type; any clip above 0 limits x0 to [-1, 1] along the way."""
    import diffusers  # here: it imports slowly, and most policies do without

    return getattr(diffusers, SCHEDULERS[name])(
        num_train_timesteps=path.steps,
        beta_schedule=BETAS[path.name],
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type=PREDICTS[prediction_type],
        timestep_spacing="trailing",
        thresholding=clip > 0,
        sample_max_value=1.0,
        dynamic_thresholding_ratio=1.0,
    )


def sample_with_scheduler(
    denoiser: Denoiser, scheduler: Any, evaluations: int, noise: Tensor, cond: Cond
) -> Tensor:
    """Draw chunks (B, H, A) from noise (K, B, H, A) with one of diffusers' schedulers."""
    scheduler.set_timesteps(evaluations, device=noise.device)
    x = noise[0] * scheduler.init_noise_sigma
    for k in scheduler.timesteps:
        t = ((k.to(x) + 1) / scheduler.config.num_train_timesteps).expand(len(x))
        out = denoiser.net(scheduler.scale_model_input(x, k), t, cond)
        x = scheduler.step(out, k, x, return_dict=False)[0]
    return cond.impose(x)
