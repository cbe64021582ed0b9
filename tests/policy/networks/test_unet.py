from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewstep.envs import ConfigError
from fewstep.policy.diffusion.objectives import Denoiser
from fewstep.policy.diffusion.path import LINEAR
from fewstep.policy.diffusion.samplers import STEPS, Sampler, sample
from fewstep.policy.networks import layers
from fewstep.policy.networks.layers import Convolution, embed_time, mish
from fewstep.policy.networks.temporal_unet import (
    FoldedUnet,
    TemporalUnet,
    UnetConfig,
)

B, H, A, C = 3, 8, 2, 6
SMALL = UnetConfig(channels=(8, 16), kernel=3, groups=2, time_size=8, condition=C)
TIMES = (1.0, 0.5, 0.1, 0.0)


def build(
    config: UnetConfig = SMALL, action_size: int = A, horizon: int = H, seed: int = 0
) -> TemporalUnet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalUnet(action_size, horizon, config).requires_grad_(False)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(net: TemporalUnet) -> TemporalUnet:
    """The same network with every weight moved, so that nothing is zero any more."""
    for i, w in enumerate(net.parameters()):
        w.add_(0.1 * draw(*w.shape, seed=i))
    return net


def at(t: float, rows: int = B) -> Tensor:
    return torch.full((rows,), t)


@pytest.mark.parametrize("prefix", [False, True])
def test_a_folded_network_is_the_network_to_the_last_bit(prefix: bool) -> None:
    net = shaken(build(replace(SMALL, prefix=prefix)))
    folded = FoldedUnet(net)
    for rows in (B, 1, B):  # the table is per batch size: rounding may depend on it
        promised = (draw(rows, H, A, seed=2), torch.full((rows,), 3)) if prefix else ()
        for t in (*TIMES, *TIMES):
            condition = net.condition(draw(rows, C), *promised)
            x = draw(rows, H, A, seed=1)
            assert torch.equal(folded(x, at(t, rows), condition), net(x, at(t, rows), condition))
            assert torch.equal(folded.condition(draw(rows, C), *promised).film, condition.film)


def test_a_folded_network_computes_the_film_of_a_time_once(monkeypatch) -> None:
    net = build()
    folded = FoldedUnet(net)
    asked: list[float] = []
    original = net.time_film

    def time_film(t: Tensor) -> Tensor:
        asked.append(t[0].item())
        return original(t)

    monkeypatch.setattr(net, "time_film", time_film)
    for t in (1.0, 0.5, 1.0, 0.5):
        folded(draw(B, H, A), at(t), net.condition(draw(B, C)))
    assert asked == [1.0, 0.5]


@pytest.mark.parametrize(
    "action_size", [A, SMALL.channels[0] - 1], ids=["conv", "as many as channels"]
)
def test_new_network_does_not_look_at_the_mask(action_size: int) -> None:
    net = build(replace(SMALL, prefix=True), action_size)
    x = draw(B, H, action_size)
    features = draw(B, C)
    prefix_length = torch.tensor([0, 3, 8])
    free = net.condition(features)
    prefix = net.condition(features, x, prefix_length)
    torch.testing.assert_close(net(x, at(0.5), free), net(x, at(0.5), prefix), rtol=0, atol=0)
    shaken(net)
    a, b = (net(x, at(0.5), c) for c in (free, prefix))
    torch.testing.assert_close(a[0], b[0])
    assert (a[1:] - b[1:]).abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("step", STEPS)
def test_promised_actions_are_kept_and_the_free_ones_follow_them(step: str) -> None:
    net = shaken(build(replace(SMALL, prefix=True)))
    sampler = Sampler(step, 4)
    noise = draw(sampler.noises, B, H, A)
    prefix_length = torch.tensor([0, 3, 8])

    def chunk(prefix: Tensor) -> Tensor:
        return sample(
            Denoiser(net, LINEAR, "v"),
            sampler,
            noise,
            net.condition(draw(B, C), prefix, prefix_length),
        )

    one = draw(B, H, A, seed=3)
    other = draw(B, H, A, seed=4)
    a = chunk(one)
    b = chunk(other)
    for row, n in enumerate(prefix_length):
        assert torch.equal(a[row, :n], one[row, :n])
    assert torch.equal(a[0], b[0])
    assert (a[1, 3:] - b[1, 3:]).abs().max() > 1e-4
    beyond = torch.where((torch.arange(H) < prefix_length[:, None])[..., None], one, 1e3)
    assert torch.equal(chunk(beyond), a)


def test_network_without_prefix_refuses_promises() -> None:
    with pytest.raises(ConfigError, match="prefix"):
        build().condition(draw(B, C), draw(B, H, A), torch.tensor([1, 1, 1]))


@pytest.mark.parametrize("prefix", [(draw(B, H, A), None), (None, torch.tensor([1, 1, 1]))])
def test_promises_need_their_lengths(prefix) -> None:
    with pytest.raises(ConfigError, match="prefix_length"):
        build(replace(SMALL, prefix=True)).condition(draw(B, C), *prefix)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([4, 6, 8]), min_size=1, max_size=3),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.booleans(),
)
def test_every_network_that_can_be_built_works(
    channels, kernel, groups, folds, action_size, extras
) -> None:
    config = UnetConfig(tuple(channels), kernel, groups, 4, 3, prefix=extras)
    horizon = folds * 2 ** (len(channels) - 1)
    net = build(config, action_size, horizon)
    x = draw(2, horizon, action_size)
    assert net(x, at(0.3, 2), net.condition(draw(2, 3))).shape == x.shape


@pytest.mark.parametrize(
    "horizon, change, says",
    [
        (7, {}, "horizon"),
        (0, {}, "horizon"),
        (-8, {}, "horizon"),
        (2, {"groups": 8}, "GroupNorm"),
        (8, {"channels": (8, 15)}, "groups"),
        (8, {"channels": ()}, "channels"),
        (8, {"channels": (8, 0)}, "channels"),
        (8, {"channels": (-8, 16)}, "channels"),
        (8, {"groups": 0}, "groups"),
        (8, {"groups": -2}, "groups"),
        (8, {"kernel": 4}, "kernel"),
        (8, {"kernel": 0}, "kernel"),
        (8, {"kernel": -1}, "kernel"),
        (8, {"time_size": 7}, "time_size"),
        (8, {"time_size": 0}, "time_size"),
        (8, {"condition": 0}, "condition"),
    ],
)
def test_impossible_networks_are_refused(horizon: int, change: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(replace(SMALL, **change), horizon=horizon)


def test_a_group_of_one_value_would_forget_its_input() -> None:
    with pytest.raises(ConfigError, match="two values"):
        build(replace(SMALL, channels=(8,), groups=8), horizon=1)
    build(replace(SMALL, channels=(8,), groups=8), horizon=2)


def test_a_chunk_depends_on_nothing_but_its_own_row() -> None:
    net = shaken(build())
    x = draw(5, H, A)
    features = draw(5, C, seed=1)
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    together = net(x, t, net.condition(features))
    for i in range(5):
        alone = net(x[i : i + 1], t[i : i + 1], net.condition(features[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_same_inputs_give_the_same_bits_whatever_the_global_stream() -> None:
    net = shaken(build())
    sampler = Sampler("ddpm", 3)
    noise = draw(3, B, H, A)

    def chunk() -> Tensor:
        return sample(Denoiser(net, LINEAR, "v"), sampler, noise, net.condition(draw(B, C)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = chunk()
        torch.manual_seed(2)
        before = torch.random.get_rng_state()
        assert torch.equal(chunk(), first)
        assert torch.equal(torch.random.get_rng_state(), before)


def test_every_action_sees_the_whole_chunk_its_time_and_its_observation() -> None:
    net = shaken(build(replace(SMALL, channels=(8, 16, 16))))
    x, t, features = (v.requires_grad_() for v in (draw(1, H, A), at(0.5, 1), draw(1, C)))
    out = net(x, t, net.condition(features))
    for i in (0, H - 1):
        grads = torch.autograd.grad(out[0, i].sum(), (x, t, features), retain_graph=True)
        assert all((g != 0).all() for g in grads)


def test_every_weight_is_trained() -> None:
    net = shaken(build(replace(SMALL, prefix=True))).requires_grad_(True)
    condition = net.condition(draw(B, C), draw(B, H, A), torch.tensor([2, 3, 4]))
    net(draw(B, H, A, seed=1), at(0.7), condition).square().sum().backward()
    assert [name for name, w in net.named_parameters() if w.grad is None or not w.grad.any()] == []


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=6, unique=True))
def test_times_a_thousandth_apart_have_different_embeddings(times: list[float]) -> None:
    t = torch.tensor(sorted(times))
    for a, b in pairwise(embed_time(t, 64)):
        assert a.abs().max() <= 1
        if (t.diff() > 1e-3).all():
            assert (a - b).abs().max() > 0.01


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (5, 1), (3, 2)])
@pytest.mark.parametrize("in_bfloat16", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_a_convolution_has_its_gradients_however_it_is_computed(
    large: bool, in_bfloat16: bool, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = Convolution(A + 1, 4, kernel, stride=stride, padding=kernel // 2)
    found = []
    for as_asked in (False, True):
        if as_asked and large:
            monkeypatch.setattr(layers, "LARGE", 0)
        x = draw(B, A + 1, 1, H).bfloat16().float().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=as_asked and in_bfloat16):
            out = layer(x)
        out.backward(draw(*out.shape, seed=1).bfloat16().to(out.dtype))
        found.append([out.float(), x.grad, *(w.grad for w in layer.parameters())])
        layer.zero_grad()
    assert out.dtype == (torch.bfloat16 if in_bfloat16 else torch.float32)
    close = {"rtol": 0.01, "atol": 0.02} if in_bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for exact, computed in zip(*found, strict=True):
        torch.testing.assert_close(computed, exact, **close)


def test_a_network_learns_the_same_in_bfloat16() -> None:
    gradients = []
    for in_bfloat16 in (False, True):
        net = shaken(build(replace(SMALL, prefix=True))).requires_grad_(True)
        promised = (draw(B, H, A, seed=2), torch.full((B,), 3))
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            out = net(draw(B, H, A, seed=1), at(0.5), net.condition(draw(B, C), *promised))
        (out.float() * draw(B, H, A, seed=3)).sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in net.parameters()]))
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() < 0.05 * exact.norm()


def test_mish_is_that_of_torch() -> None:
    x = torch.cat([torch.linspace(-60, 60, 4001), torch.tensor([0.0, -1e4, 1e4, -1e20, 1e20])])
    for dtype in (torch.float32, torch.float64):
        ours, theirs = (x.to(dtype, copy=True).requires_grad_() for _ in range(2))
        out = mish(ours)
        torch.testing.assert_close(out, nn.functional.mish(theirs))
        weight = torch.linspace(-2, 2, len(x), dtype=dtype)
        out.backward(weight)
        nn.functional.mish(theirs).backward(weight)
        torch.testing.assert_close(ours.grad, theirs.grad)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-40, 40), min_size=1, max_size=5))
def test_gradient_of_mish_is_its_slope(values: list[float]) -> None:
    assert torch.autograd.gradcheck(
        mish, torch.tensor(values, dtype=torch.float64, requires_grad=True)
    )


def test_mish_has_no_wrong_second_derivative() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mish(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(slope.sum(), x)


def test_mish_without_gradient_is_the_same_function() -> None:
    x = torch.linspace(-30, 30, 1001)
    torch.testing.assert_close(mish(x), mish(x.clone().requires_grad_()).detach())
