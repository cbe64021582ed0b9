import math
import types
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fewstep.envs import ConfigError
from fewstep.policy.diffusion.objectives import Denoiser
from fewstep.policy.diffusion.path import BETA, COSINE, LINEAR, PATHS, Path
from fewstep.policy.diffusion.samplers import STEPS, Sampler, sample
from fewstep.policy.networks.network import Condition

COND = Condition(torch.zeros(3, 1))
SHAPE = (3, 4, 2)
PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
SCHEDULES = {
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    "beta": {"beta_schedule": "linear", "num_train_timesteps": 1000},
}


class Net:
    """Some smooth function of x and t that remembers when it was asked."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def condition(self, features: Tensor, prefix=None, prefix_length=None) -> Condition:
        return COND

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        assert t.shape == x.shape[:1]
        self.times.append(t[0].item())
        return 1.3 * torch.tanh(x.flip(-1) + t[:, None, None]) - 0.2 * x


class Gaussian(Net):
    """The optimal denoiser of data from N(0.3, 0.5^2)."""

    def __init__(self, path: Path, prediction_type: str) -> None:
        self.path = path
        self.prediction_type = prediction_type

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        alpha, sigma = (c[:, None, None] for c in self.path.coefficients(t))
        z = (x - alpha * 0.3) / ((alpha * 0.5) ** 2 + sigma**2)
        return self.path.target(0.3 + alpha * 0.25 * z, sigma * z, t, self.prediction_type)


@pytest.fixture
def exact(monkeypatch):
    """Let diffusers compute its schedules in float64, which it does not offer."""
    double = types.ModuleType("torch")
    double.__dict__.update(torch.__dict__, float32=torch.float64)
    for module in (scheduling_ddpm, scheduling_ddim):
        monkeypatch.setattr(module, "torch", double)

    def build(scheduler: type, path: Path, **config):
        out = scheduler(**SCHEDULES[path.name], **config)
        out.one = torch.ones((), dtype=torch.float64)
        return out

    return build


def noises(count: int) -> Tensor:
    return torch.randn(
        count, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )


def scaled(noise: Tensor, path: Path, t: float) -> Tensor:
    """Start `sample` at noise itself, as diffusers does, instead of at sigma(t) times it."""
    return torch.cat(
        [noise[:1] / path.coefficients(torch.tensor(t, dtype=noise.dtype))[1], noise[1:]]
    )


def sample_by_scheduler(denoiser: Denoiser, scheduler, evaluations: int, noise: Tensor) -> Tensor:
    """What one of diffusers' schedulers makes of the same network and noise (K, B, H, A)."""
    scheduler.set_timesteps(evaluations)
    x = noise[0] * scheduler.init_noise_sigma
    for k in scheduler.timesteps:
        t = ((k.to(x) + 1) / scheduler.config.num_train_timesteps).expand(len(x))
        out = denoiser.net(scheduler.scale_model_input(x, k), t, COND)
        x = scheduler.step(out, k, x, return_dict=False)[0]
    return x


each_case = pytest.mark.parametrize(
    "path, steps", [(COSINE, 100), (COSINE, 10), (BETA, 50)], ids=["full", "ten", "beta"]
)
each_kind = pytest.mark.parametrize("prediction_type", PREDICTION)
each_clip = pytest.mark.parametrize("clip", [0.0, 1.0, 0.6])


@each_case
@each_kind
@each_clip
def test_ddpm_follows_diffusers_from_noise_to_data(
    path, steps, prediction_type, clip, exact
) -> None:
    scheduler = exact(
        DDPMScheduler,
        path,
        variance_type="fixed_small",
        prediction_type=PREDICTION[prediction_type],
        clip_sample=bool(clip),
        clip_sample_range=clip,
    )
    scheduler.set_timesteps(steps)
    net = Net()
    noise = noises(1)[0]
    generator = torch.Generator().manual_seed(7)
    x = noise
    for k in scheduler.timesteps:
        t = torch.full((3,), (k.item() + 1) / path.steps, dtype=torch.float64)
        x = scheduler.step(net(x, t, COND), k, x, generator=generator).prev_sample

    generator = torch.Generator().manual_seed(7)
    fresh = [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(steps - 1)]
    times = (*((k.item() + 1) / path.steps for k in scheduler.timesteps), 0.0)
    sampler = Sampler("ddpm", times=times, clip=clip)
    assert sampler.noises == 1 + len(fresh)
    ours = sample(
        Denoiser(net, path, prediction_type),
        sampler,
        scaled(torch.stack([noise, *fresh]), path, times[0]),
        COND,
    )
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-9)


@each_case
@each_kind
@each_clip
def test_ddim_follows_diffusers_by_its_scheduler(path, steps, prediction_type, clip, exact) -> None:
    scheduler = exact(
        DDIMScheduler,
        path,
        prediction_type=PREDICTION[prediction_type],
        clip_sample=bool(clip),
        clip_sample_range=clip,
    )
    denoiser = Denoiser(Net(), path, prediction_type)
    noise = noises(1)
    theirs = sample_by_scheduler(denoiser, scheduler, steps, noise)
    times = (*((k.item() + 1) / path.steps for k in scheduler.timesteps), 0.0)
    ours = sample(
        denoiser, Sampler("ddim", times=times, clip=clip), scaled(noise, path, times[0]), COND
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("path", [COSINE, BETA], ids=["cosine", "beta"])
def test_default_grid_of_ddpm_is_the_discrete_schedule(path: Path) -> None:
    scheduler = DDPMScheduler(**SCHEDULES[path.name])
    times = [(k.item() + 1) / path.steps for k in scheduler.timesteps]
    assert Sampler("ddpm", path.steps).grid() == (*times, 0.0)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # diffusers with numpy 2
@pytest.mark.parametrize("path", [COSINE, BETA], ids=["cosine", "beta"])
@each_kind
@pytest.mark.parametrize("solver", [DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_many_steps_end_where_a_solver_of_higher_order_ends(
    path: Path, prediction_type: str, solver: type
) -> None:
    scheduler = solver(
        **SCHEDULES[path.name],
        prediction_type=PREDICTION[prediction_type],
        timestep_spacing="trailing",
    )
    denoiser = Denoiser(Gaussian(path, prediction_type), path, prediction_type)
    theirs = sample_by_scheduler(denoiser, scheduler, 30, noises(1))
    ours = sample(denoiser, Sampler("ddim", 1000), noises(1), COND)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.03)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_halving_the_steps_of_ddim_halves_its_error(path: Path) -> None:
    fine = torch.linspace(0, 0.9, 100_001, dtype=torch.float64)

    def error(steps: int) -> float:
        even = np.linspace(0, path.progress(fine)[-1].item(), steps + 1)[::-1]
        times = tuple(np.interp(even, path.progress(fine), fine).tolist())
        alpha, sigma = path.coefficients(fine[-1])
        x = sample(Denoiser(Gaussian(path, "v"), path, "v"), Sampler(times=times), noises(1), COND)
        z = (sigma * noises(1)[0] - alpha * 0.3) / ((alpha * 0.5) ** 2 + sigma**2).sqrt()
        return (x - 0.3 - 0.5 * z).abs().max().item()

    assert math.log2(error(20) / error(40)) == pytest.approx(1, abs=0.2)


def test_ddim_on_the_linear_path_is_eulers_step() -> None:
    net = Net()
    noise = noises(1)
    x = noise[0]
    for t, r in [(1.0, 0.4), (0.4, 0.1), (0.1, 0.0)]:
        at = torch.full((3,), t, dtype=torch.float64)
        x = x + (r - t) * net(x, at, COND)
    found = sample(Denoiser(net, LINEAR, "v"), Sampler(times=(1.0, 0.4, 0.1, 0.0)), noise, COND)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 7, 10])
def test_network_evaluations_are_those_that_happen(step: str, evaluations: int) -> None:
    net = Net()
    sampler = Sampler(step, evaluations)
    sample(Denoiser(net, COSINE, "v"), sampler, noises(sampler.noises), COND)
    assert len(net.times) == sampler.cost == evaluations
    assert set(net.times) == set(sampler.grid()[:-1])


def test_two_and_three_evaluations_split_late() -> None:
    assert Sampler(network_evaluations=2).grid() == (1, 0.3, 0)
    assert Sampler(network_evaluations=3).grid() == (1, 0.5, 0.1, 0)
    assert Sampler(network_evaluations=4).grid() == (1, 0.75, 0.5, 0.25, 0)


@given(st.integers(1, 300))
def test_every_default_grid_falls_from_one_to_zero(evaluations: int) -> None:
    for step in STEPS:
        times = Sampler(step, evaluations).grid()
        assert times[0] == 1 and times[-1] == 0
        assert list(times) == sorted(set(times), reverse=True)


@given(st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=6, unique=True))
def test_falling_times_are_a_grid(times: list[float]) -> None:
    grid = (*sorted(times, reverse=True), 0.0)
    assert Sampler("ddpm", times=grid).grid() == grid


@pytest.mark.parametrize(
    "times",
    [
        *[
            (0.0,),
            (1.0,),
            (1.0, 0.5),
            (1.0, 1.0, 0.0),
            (0.1, 1.0, 0.0),
            (1.1, 0.0),
            (1.0, -0.1),
            (1.0, 0.0, 0.0),
        ],
        *[(math.nan, 0.0), (1.0, math.nan, 0.0), (1.0, math.nan), (math.inf, 0.0), (0.0, 0.0)],
    ],
)
def test_times_that_do_not_fall_to_zero_are_refused(times: Sequence[float]) -> None:
    with pytest.raises(ConfigError, match="times must fall from 1 to 0"):
        Sampler(times=tuple(times)).grid()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("evaluations", [0, -1, -100, 10**12])
def test_numbers_of_evaluations_without_a_grid_are_refused(step: str, evaluations: int) -> None:
    with pytest.raises(ConfigError, match="evaluations"):
        Sampler(step, evaluations).grid()


@pytest.mark.parametrize("times", [(), (1.0, 0.0)])
def test_unknown_steps_are_refused_with_the_valid_ones(times: tuple[float, ...]) -> None:
    sampler = Sampler("euler", times=times)
    for use in (sampler.grid, lambda: sampler.noises, lambda: sampler.cost):
        with pytest.raises(ConfigError, match="'euler'; valid: ddim, ddpm"):
            use()


@pytest.mark.parametrize(
    "setting", [{"start": math.nan}, {"noise": -1.0}, {"clip": -1.0}, {"clip": math.nan}]
)
def test_scales_that_mean_nothing_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Sampler(**setting).grid()


@pytest.mark.parametrize("step", STEPS)
def test_eps_on_the_linear_path_cannot_start_at_one(step: str) -> None:
    denoiser = Denoiser(Net(), LINEAR, "eps")
    with pytest.raises(ConfigError, match=r"0\.999"):
        sample(denoiser, Sampler(step, 4), noises(4), COND)
    late = Sampler(step, times=(0.999, 0.5, 0.0))
    assert sample(denoiser, late, noises(late.noises), COND).isfinite().all()


def test_too_few_noises_are_refused() -> None:
    with pytest.raises(ConfigError, match="noise"):
        sample(Denoiser(Net(), COSINE, "eps"), Sampler("ddpm", 5), noises(1), COND)


def test_noise_scale_zero_leaves_the_mean_of_ddpm() -> None:
    denoiser = Denoiser(Net(), COSINE, "eps")
    noise = noises(5)
    quiet = Sampler("ddpm", 5, noise=0.0)
    other = torch.cat([noise[:1], 9 * noise[1:]])
    assert torch.equal(sample(denoiser, quiet, noise, COND), sample(denoiser, quiet, other, COND))
    loud = Sampler("ddpm", 5)
    assert not torch.equal(sample(denoiser, loud, noise, COND), sample(denoiser, loud, other, COND))


def test_start_zero_forgets_the_noise() -> None:
    still = Sampler(start=0.0)
    a, b = (
        sample(Denoiser(Net(), LINEAR, "v"), still, noise, COND)
        for noise in (noises(1), -3 * noises(1))
    )
    assert torch.equal(a, b)


def test_another_number_of_evaluations_takes_its_own_grid() -> None:
    s = Sampler("ddim", times=(1.0, 0.7, 0.0), clip=1.0, start=0.5)
    assert s.at(2) is s
    assert s.at(3) == Sampler("ddim", 3, clip=1.0, start=0.5)
    assert s.at(3).grid() == (1, 0.5, 0.1, 0)


def test_clipping_bounds_the_last_step() -> None:
    noise = 5 * noises(1)
    denoiser = Denoiser(Net(), LINEAR, "v")
    assert sample(denoiser, Sampler(clip=0.5), noise, COND).abs().max() <= 0.5
    assert sample(denoiser, Sampler(), noise, COND).abs().max() > 0.5
