"""Objectives and samplers against distributions whose optimal denoiser is known in closed form."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from fewstep.envs import ConfigError
from fewstep.policy.diffusion.objectives import (
    LATE_TIME,
    OBJECTIVES,
    SINGLE_STEP,
    Denoiser,
    choose_objective,
)
from fewstep.policy.diffusion.path import LINEAR, PATHS, Path
from fewstep.policy.diffusion.samplers import Sampler, even_grid, sample
from fewstep.policy.networks.network import Condition
from fewstep.policy.policy import PolicyConfig

N = 2500
STEPS = {
    "ddim": 100,
    "ddpm": 400,
}  # enough of them that what is left is the sampling error
MEAN, STD = 0.4, 0.3
MODES = (
    torch.tensor([-0.8, 0.6]).double(),
    torch.tensor([0.3, 0.7]).double(),
    0.1,
)  # means, weights, std of each
COND = Condition(torch.zeros(1, 1))
PAIRS = [
    (name, path)
    for name, objective in OBJECTIVES.items()
    if name not in SINGLE_STEP
    for path in objective.paths
]
each_pair = pytest.mark.parametrize("name, path", PAIRS)


class Optimal:
    """The best network there is for a mixture of Gaussians, plus an optional mistake."""

    def __init__(
        self,
        path: Path,
        prediction_type: str,
        means: Tensor,
        weights: Tensor,
        std: float,
        mistake=lambda out: out,
    ) -> None:
        self.path = path
        self.prediction_type = prediction_type
        self.mistake = mistake
        self.means = means
        self.logs = weights.log()
        self.var = std**2

    def condition(self, features: Tensor, prefix=None, prefix_length=None) -> Condition:
        return COND

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        alpha, sigma = (c.reshape(-1, 1, 1, 1) for c in self.path.coefficients(t.double()))
        spread = alpha**2 * self.var + sigma**2
        z = (x.double().unsqueeze(-1) - alpha * self.means) / spread  # (B, H, A, modes)
        share = torch.softmax(self.logs - z**2 * spread / 2, -1)
        x0, eps = ((share * v).sum(-1) for v in (self.means + alpha * self.var * z, sigma * z))
        return self.mistake(self.path.target(x0, eps, t.double(), self.prediction_type).to(x))


def gaussian(
    path: Path, prediction_type: str, mistake: Callable[[Tensor], Tensor] = lambda out: out
) -> Denoiser:
    one = torch.ones(1, dtype=torch.float64)
    return Denoiser(
        Optimal(path, prediction_type, MEAN * one, one, STD, mistake), path, prediction_type
    )


def mixture(
    path: Path, prediction_type: str, mistake: Callable[[Tensor], Tensor] = lambda out: out
) -> Denoiser:
    return Denoiser(Optimal(path, prediction_type, *MODES, mistake), path, prediction_type)


def even_noise() -> Tensor:
    """The quantiles of a normal distribution, (1, N, 1, 1): a sample without sampling error."""
    p = (torch.arange(N, dtype=torch.float64) + 0.5) / N
    return torch.special.ndtri(p).reshape(1, N, 1, 1)


def draw(denoiser: Denoiser, step: str) -> Tensor:
    """N samples, (N,), by many steps."""
    first = 0.999 if denoiser.prediction_type == "eps" and denoiser.path is LINEAR else 1.0
    sampler = Sampler(step, times=(first, *even_grid(STEPS[step])[1:]))
    generator = Generator().manual_seed(3)
    fresh = torch.randn(sampler.noises - 1, N, 1, 1, generator=generator, dtype=torch.float64)
    return sample(denoiser, sampler, torch.cat([even_noise(), fresh]), COND).flatten()


@each_pair
@pytest.mark.parametrize("step", STEPS)
def test_every_pair_of_objective_and_sampler_recovers_a_gaussian(
    name: str, path: str, step: str
) -> None:
    objective, chosen = choose_objective(name, path)
    x = draw(gaussian(chosen, objective.prediction_type), step)
    assert x.mean().item() == pytest.approx(MEAN, abs=5 * STD / math.sqrt(N))
    assert x.std().item() == pytest.approx(STD, rel={"ddim": 0.06, "ddpm": 0.05}[step])
    z = (x - x.mean()) / x.std()
    assert (z**3).mean().item() == pytest.approx(0, abs=0.1)
    assert (z**4).mean().item() == pytest.approx(3, abs=0.2)


@each_pair
@pytest.mark.parametrize("step", STEPS)
def test_every_pair_of_objective_and_sampler_recovers_both_modes(
    name: str, path: str, step: str
) -> None:
    objective, chosen = choose_objective(name, path)
    x = draw(mixture(chosen, objective.prediction_type), step)
    means, weights, std = MODES
    for i, part in enumerate((x[x < 0], x[x > 0])):
        assert len(part) / N == pytest.approx(weights[i].item(), abs=0.02)
        assert part.mean().item() == pytest.approx(means[i].item(), abs=0.02)
        assert part.std().item() == pytest.approx(std, rel=0.12)


def test_two_evaluations_of_a_gaussian_shrink_it_as_computed_by_hand() -> None:
    x = sample(gaussian(LINEAR, "v"), Sampler(times=(1.0, 0.1, 0.0)), even_noise(), COND)
    shrunk = (
        0.9 * STD**2 * 0.1 / ((0.9 * STD) ** 2 + 0.1**2)
    )  # alpha s^2 / (alpha^2 s^2 + sigma^2) of what is left of eps
    torch.testing.assert_close(x, MEAN + shrunk * even_noise()[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction_type", ["v", "x0"])
@pytest.mark.parametrize("case", [gaussian, mixture])
def test_one_evaluation_gives_the_conditional_mean_whatever_the_noise(
    case: Callable, prediction_type: str
) -> None:
    x = sample(case(LINEAR, prediction_type), Sampler(network_evaluations=1), even_noise(), COND)
    mean = MEAN if case is gaussian else (MODES[0] * MODES[1]).sum().item()
    torch.testing.assert_close(x, torch.full_like(x, mean), rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction_type", ["v", "x0"])
def test_two_evaluations_of_two_modes_take_a_side(prediction_type: str) -> None:
    x = sample(mixture(LINEAR, prediction_type), Sampler(), even_noise(), COND).flatten()
    nearest = (x[:, None] - MODES[0]).abs().amin(1)
    collapsed = abs((MODES[0] * MODES[1]).sum() - MODES[0][1])
    assert nearest.mean() < collapsed / 2


def drawn(normal: Callable[[int], Tensor], n: int = 20_000) -> Tensor:
    return normal(n).reshape(n, 1, 1)


def gaussian_data(n: int) -> Tensor:
    return MEAN + STD * torch.randn(n, generator=Generator().manual_seed(1), dtype=torch.float64)


def mixture_data(n: int) -> Tensor:
    generator = Generator().manual_seed(1)
    means, weights, std = MODES
    mode = (torch.rand(n, generator=generator) < weights[1]).long()
    return means[mode] + std * torch.randn(n, generator=generator, dtype=torch.float64)


def losses(denoiser: Denoiser, name: str, data: Callable[[int], Tensor]) -> Tensor:
    objective, _ = choose_objective(name, denoiser.path.name)
    return objective.loss(denoiser, drawn(data), COND, Generator().manual_seed(2))


def irreducible(path: Path, prediction_type: str, t: np.ndarray) -> np.ndarray:
    """Variance of the target given x_t, for Gaussian data."""
    alpha, sigma = (c.numpy() for c in path.coefficients(torch.as_tensor(t)))
    p, q = {"x0": (1, 0), "eps": (0, 1), "v": (-sigma, alpha) if path.preserving else (-1, 1)}[
        prediction_type
    ]
    return (p * sigma - q * alpha) ** 2 * STD**2 / (alpha**2 * STD**2 + sigma**2)


def expected(name: str, path: Path, prediction_type: str) -> float:
    """Return the irreducible loss of an objective, the mean over the times that it draws."""
    flow = math.pi / 2 * STD  # integral of s^2 / ((1 - t)^2 s^2 + t^2) over t
    if name == "flow":
        return flow
    if name == "flow_atoms":
        return float(
            np.dot([0.2, 0.2], irreducible(path, prediction_type, np.array([1.0, LATE_TIME])))
            + 0.6 * flow
        )
    if path.steps:
        return float(
            irreducible(path, prediction_type, np.arange(1, path.steps + 1) / path.steps).mean()
        )
    return float(irreducible(path, prediction_type, (np.arange(100_000) + 0.5) / 100_000).mean())


@each_pair
def test_loss_of_the_optimal_network_is_the_irreducible_one(name: str, path: str) -> None:
    objective, chosen = choose_objective(name, path)
    loss = losses(gaussian(chosen, objective.prediction_type), name, gaussian_data)
    error = loss.std().item() / math.sqrt(len(loss))
    assert loss.mean().item() == pytest.approx(
        expected(name, chosen, objective.prediction_type), abs=5 * error
    )


@each_pair
@pytest.mark.parametrize(
    "case, data", [(gaussian, gaussian_data), (mixture, mixture_data)], ids=["gaussian", "mixture"]
)
def test_no_perturbation_of_the_optimal_network_lowers_the_loss(
    name: str, path: str, case: Callable, data
) -> None:
    objective, chosen = choose_objective(name, path)
    best = losses(case(chosen, objective.prediction_type), name, data)
    for d in (-0.2, 0.2):
        worse = (
            losses(case(chosen, objective.prediction_type, lambda out, d=d: out + d), name, data)
            - best
        )
        error = worse.std().item() / math.sqrt(len(worse))
        assert worse.mean().item() == pytest.approx(d**2, abs=5 * error)
        scaled = (
            losses(
                case(chosen, objective.prediction_type, lambda out, d=d: out * (1 + d)), name, data
            )
            - best
        )
        assert scaled.mean() > 0.1 * d**2 * best.mean()


@pytest.mark.parametrize("name, path", PAIRS)
def test_committed_actions_do_not_count(name: str, path: str) -> None:
    objective, chosen = choose_objective(name, path)
    free = torch.tensor([[True, True], [False, True], [False, False]])[..., None]
    x0 = torch.randn(3, 2, 4, generator=Generator().manual_seed(0), dtype=torch.float64)
    condition = Condition(torch.zeros(3, 1), x0, ~free)

    def loss(condition: Condition, mistake: Tensor) -> Tensor:
        denoiser = gaussian(chosen, objective.prediction_type, lambda out: out + mistake)
        return objective.loss(denoiser, x0, condition, Generator().manual_seed(5))

    none = torch.zeros(3, 2, 1)
    assert torch.equal(loss(condition, none), loss(condition, 1e3 * ~free))
    assert torch.equal(loss(condition, none)[0], loss(COND, none)[0])
    assert loss(condition, none)[2] == 0
    assert loss(condition, none + 1e3)[1] > 1e5


@each_pair
def test_loss_is_reproducible_and_per_sample(name: str, path: str) -> None:
    objective, chosen = choose_objective(name, path)
    denoiser = gaussian(chosen, objective.prediction_type)
    x0 = gaussian_data(24).reshape(4, 3, 2)
    a, b, c = (objective.loss(denoiser, x0, COND, Generator().manual_seed(s)) for s in (1, 1, 2))
    assert a.shape == (4,) and (a >= 0).all()
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_time_atoms_have_their_shares() -> None:
    t, silent = OBJECTIVES["flow_atoms"].draw_times(LINEAR, 100_000, Generator().manual_seed(0))
    assert (t == 1).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (t == LATE_TIME).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (t[silent] == 1).all()
    assert silent.double().mean().item() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("path", [p for p in PATHS.values() if p.steps], ids=lambda p: p.name)
def test_discrete_objectives_draw_every_discrete_time(path: Path) -> None:
    t, silent = OBJECTIVES["eps"].draw_times(path, 100 * path.steps, Generator().manual_seed(0))
    assert sorted({round(x * path.steps) for x in t.tolist()}) == list(range(1, path.steps + 1))
    assert not silent.any()


@pytest.mark.parametrize("name", SINGLE_STEP)
def test_a_network_that_is_asked_once_takes_no_sampler_that_asks_more_often(name: str) -> None:
    with pytest.raises(ConfigError, match="asked once, not 5 times"):
        PolicyConfig(objective=name, sampler=Sampler(network_evaluations=5))


def test_a_sampler_that_cannot_be_is_told_while_a_network_is_built_without_memory() -> None:
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match="eps cannot be split at t = 1 on the linear path"),
    ):
        PolicyConfig(objective="eps", path="linear", sampler=Sampler())


@pytest.mark.parametrize("name", SINGLE_STEP)
def test_a_network_that_is_asked_once_is_trained_where_it_is_asked(name: str) -> None:
    seen = []
    objective, path = choose_objective(name)
    noise = torch.randn(7, 2, 3, generator=Generator().manual_seed(0))

    def net(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        seen.append((x, t))
        return noise - 0.5  # right where the noise was not silenced and every x0 is a half

    x0 = torch.full_like(noise, 0.5)
    loss = objective.loss(
        Denoiser(net, path, objective.prediction_type), x0, COND, Generator(), noise
    )  # pyright: ignore
    x, t = seen[0]
    silent = name == "regression"
    assert t.eq(1).all() and torch.equal(x, torch.zeros_like(x) if silent else noise)
    torch.testing.assert_close(loss, noise.square().mean((1, 2)) if silent else torch.zeros(7))


def test_what_fills_a_chunk_up_does_not_count() -> None:
    objective, path = choose_objective("one_step")
    net: Any = lambda x, t, condition: 0.3 * x  # noqa: E731
    denoiser = Denoiser(net, path, objective.prediction_type)
    generator = Generator().manual_seed(0)
    x0, other, noise = torch.randn(3, 5, 8, 2, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([8, 7, 4, 2, 1])
    recorded = (torch.arange(8) < lengths[:, None])[..., None]
    filled = torch.where(recorded, x0, other)

    def loss(x0: Tensor, condition: Condition = COND) -> Tensor:
        return objective.loss(denoiser, x0, condition, Generator(), noise, recorded)

    torch.testing.assert_close(loss(filled), loss(x0))
    error = (0.3 * noise - (noise - x0)).square().mean(2)
    by_hand = [row[:length].mean() for row, length in zip(error, lengths, strict=True)]
    torch.testing.assert_close(loss(x0), torch.stack(by_hand))
    prefix = Condition(COND.film, x0, (torch.arange(8) < 3)[None, :, None].expand(5, 8, 1))
    by_hand = []
    for row, length in zip(error, lengths, strict=True):
        by_hand.append(row[3:length].sum() / max(1, length - 3))
    torch.testing.assert_close(loss(x0, prefix), torch.stack(by_hand))


def test_names_come_from_closed_tables() -> None:
    with pytest.raises(
        ConfigError, match=r"'flw'; valid: eps, flow, flow_atoms, one_step, regression, v, x0"
    ):
        choose_objective("flw")
    with pytest.raises(ConfigError, match=r"'cos'; valid: beta, cosine, linear"):
        choose_objective("eps", "cos")
    with pytest.raises(ConfigError, match=r"'flow' is not defined on path 'cosine'; valid: linear"):
        choose_objective("flow", "cosine")
    assert (
        choose_objective("eps")[1].name == "cosine" and choose_objective("flow_atoms")[1] is LINEAR
    )


@each_pair
def test_a_preconditioned_network_learns_what_the_guess_leaves(name: str, path: str) -> None:
    objective, chosen = choose_objective(name, path)
    kind = objective.prediction_type
    generator = Generator().manual_seed(1)
    x0 = torch.randn(4, 8, 3, generator=generator, dtype=torch.float64)

    class Rest:
        """A network that knows x0, and says what has to be added to the guess."""

        condition = None

        def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            alpha, sigma = (part.reshape(-1, 1, 1) for part in chosen.coefficients(t))
            eps = torch.where(sigma > 0, (x - alpha * x0) / sigma, 0.0)
            return chosen.target(x0, eps, t, kind) - chosen.guess(x, t, kind)

    net: Any = Rest()
    denoiser = Denoiser(net, chosen, kind, preconditioned=True)
    loss = objective.loss(denoiser, x0, COND, Generator().manual_seed(2))
    torch.testing.assert_close(loss, torch.zeros(4).double(), rtol=0, atol=1e-12)
    t = torch.full((4,), 0.4, dtype=torch.float64)
    found, _ = denoiser(chosen.mix(x0, torch.ones_like(x0), t), t, COND)
    torch.testing.assert_close(found, x0)
