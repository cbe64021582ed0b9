import math
import types

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.policy.diffusion.path import (
    BETA,
    COSINE,
    DATA_VARIANCE,
    LINEAR,
    PATHS,
    PREDICTION_TYPES,
    Path,
)

each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
each_type = pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
inner = st.lists(st.floats(1e-3, 1 - 1e-3), min_size=3, max_size=3).map(
    lambda t: torch.tensor(t, dtype=torch.float64)
)


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64).unbind(0)


@each_path
@each_type
@settings(deadline=None, max_examples=40)
@given(t=inner, seed=st.integers(0, 1000))
def test_split_inverts_mix(path: Path, prediction_type: str, t: torch.Tensor, seed: int) -> None:
    x0, eps = pair(seed)
    found = path.split(
        path.mix(x0, eps, t), t, path.target(x0, eps, t, prediction_type), prediction_type
    )
    torch.testing.assert_close(found, (x0, eps), rtol=0, atol=1e-10)


@each_path
@each_type
@settings(deadline=None, max_examples=40)
@given(t=inner, seed=st.integers(0, 1000))
def test_split_of_any_output_mixes_back_and_has_it_as_its_target(
    path, prediction_type, t, seed
) -> None:
    x_t, out = pair(seed)
    x0, eps = path.split(x_t, t, out, prediction_type)
    torch.testing.assert_close(path.mix(x0, eps, t), x_t, rtol=0, atol=1e-10)
    torch.testing.assert_close(path.target(x0, eps, t, prediction_type), out, rtol=0, atol=1e-8)


@each_path
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_velocity_can_be_split_at_both_ends(path: Path, end: float) -> None:
    x0, eps = pair(0)
    t = torch.full((3,), end, dtype=torch.float64)
    found = path.split(path.mix(x0, eps, t), t, path.target(x0, eps, t, "v"), "v")
    torch.testing.assert_close(found, (x0, eps), rtol=0, atol=1e-12)


@each_path
@settings(deadline=None, max_examples=40)
@given(t=st.floats(2e-3, 0.98))
def test_velocity_is_the_slope_of_x_along_progress(path: Path, t: float) -> None:
    x0, eps = pair(1)
    at = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    alpha, sigma, ds = (
        torch.autograd.grad(f, at, retain_graph=True)[0]
        for f in (*path.coefficients(at), path.progress(at))
    )
    slope = (alpha * x0 + sigma * eps) / ds
    torch.testing.assert_close(slope, path.target(x0, eps, at.detach(), "v"), rtol=0, atol=1e-8)


@each_path
def test_one_time_for_all_rows_is_the_same_time_in_every_row(path: Path) -> None:
    x0, eps = pair(2)
    one = torch.tensor(0.3, dtype=torch.float64)
    rows = torch.full((3,), 0.3, dtype=torch.float64)
    assert torch.equal(path.mix(x0, eps, one), path.mix(x0, eps, rows))


@each_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_turns_into_noise_without_turning_back(path: Path, dtype: torch.dtype) -> None:
    t = (
        torch.cat(
            [torch.logspace(-12, -3, 2001, dtype=dtype), torch.linspace(0, 1, 4001, dtype=dtype)]
        )
        .sort()
        .values
    )
    alpha, sigma = path.coefficients(t)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert 0 <= alpha[-1] < 0.01 and sigma[-1] > 0.99
    slack = torch.finfo(dtype).eps
    assert (alpha.diff() <= slack).all() and (sigma.diff() >= -math.sqrt(slack)).all()
    assert torch.isfinite(sigma).all()
    if path.preserving:
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))


def in_double(monkeypatch: pytest.MonkeyPatch, **config) -> torch.Tensor:
    """Diffusers' own alpha-bar, computed by its code in float64, which it does not offer."""
    double = types.ModuleType("torch")
    double.__dict__.update(torch.__dict__, float32=torch.float64)
    monkeypatch.setattr(scheduling_ddpm, "torch", double)
    return DDPMScheduler(**config).alphas_cumprod


@pytest.mark.parametrize(
    "path, config",
    [
        (COSINE, {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100}),
        (BETA, {"beta_schedule": "linear", "num_train_timesteps": 1000}),
    ],
    ids=["cosine", "beta"],
)
def test_alpha_bar_is_that_of_diffusers_at_every_discrete_time(
    path: Path, config: dict, monkeypatch
) -> None:
    steps = config["num_train_timesteps"]
    assert path.steps == steps
    t = torch.tensor([(k + 1) / steps for k in range(steps)], dtype=torch.float64)
    torch.testing.assert_close(
        path.coefficients(t)[0] ** 2, in_double(monkeypatch, **config), rtol=1e-11, atol=1e-14
    )
    monkeypatch.undo()
    single = path.coefficients(t.float())[0] ** 2
    torch.testing.assert_close(single, DDPMScheduler(**config).alphas_cumprod, rtol=1e-4, atol=1e-6)


def test_cosine_is_capped_at_the_last_time_only() -> None:
    t = torch.tensor([0.98, 0.99, 1.0], dtype=torch.float64)
    bar = COSINE.coefficients(t)[0] ** 2
    assert bar[2] / bar[1] == pytest.approx(0.001, rel=1e-12)
    plain = [math.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2 for x in (0.98, 0.99)]
    assert bar[1] / bar[0] == pytest.approx(plain[1] / plain[0], rel=1e-12)


def test_beta_is_log_linear_between_its_discrete_times() -> None:
    t = torch.tensor([0.5, 0.5004, 0.501], dtype=torch.float64)
    logs = (BETA.coefficients(t)[0] ** 2).log().numpy()
    assert logs[1] == pytest.approx(np.interp(0.4, [0, 1], logs[[0, 2]]), rel=1e-12)


def test_linear_velocity_is_noise_minus_data() -> None:
    x0, eps = pair(3)
    assert torch.equal(LINEAR.target(x0, eps, torch.tensor(0.7), "v"), eps - x0)


@each_path
@each_type
@pytest.mark.parametrize("time", [0.05, 0.2, 0.7, 1.0])
def test_no_other_linear_guess_is_better(path: Path, prediction_type: str, time: float) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 1, 100_000, 1, generator=generator, dtype=torch.float64)
    noise = (noise - noise.mean(2, keepdim=True)) / noise.std(2, correction=0, keepdim=True)
    x0 = DATA_VARIANCE**0.5 * noise[0]
    eps = noise[1] - (noise[0] * noise[1]).mean() * noise[0]  # exactly uncorrelated
    eps = eps / eps.std(correction=0)
    t = torch.tensor([time], dtype=torch.float64)
    x_t = path.mix(x0, eps, t)
    rest = path.target(x0, eps, t, prediction_type) - path.guess(x_t, t, prediction_type)
    assert (rest * x_t).mean().item() == pytest.approx(0, abs=1e-9)


def test_from_pure_noise_the_guess_of_the_slope_is_the_noise() -> None:
    noise, _ = pair(0)
    assert torch.equal(LINEAR.guess(noise, torch.ones(3).double(), "v"), noise)
