"""The flow map: its loss vanishes for a true map, and training teaches it to keep two modes in one jump."""

import pytest
import torch
from torch import Generator

from fewstep.envs import ConfigError, Field, Spec
from fewstep.policy.flow_map import map_loss
from fewstep.policy.objectives import Denoiser
from fewstep.policy.path import LINEAR
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.samplers import Sampler, sample
from fewstep.policy.unet import Cond

POINT = 0.7
COND = Cond(torch.zeros(64, 1))


class OnePoint:
    """The map of data that are one point: straight lines to it."""

    def condition(self, features, committed=None, lengths=None):
        return COND

    def __call__(self, x, t, r, cond):
        return (x - POINT) / t[:, None, None]


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_the_loss_vanishes_for_a_true_map(progress):
    x0 = torch.full((64, 4, 1), POINT)
    loss = map_loss(OnePoint(), OnePoint(), x0, COND, COND, Generator().manual_seed(0), progress)
    assert loss.shape == (64,)
    torch.testing.assert_close(loss, torch.zeros(64), atol=1e-6, rtol=0)


def test_jumps_of_a_true_map_end_in_the_data_from_any_grid():
    x = torch.randn(1, 64, 4, 1)
    for n in (1, 3):
        out = sample(Denoiser(OnePoint(), LINEAR, "v"), Sampler("jump", n), x, COND)
        torch.testing.assert_close(out, torch.full((64, 4, 1), POINT))


def test_a_network_without_a_second_time_is_refused():
    spec = Spec({"joint": Field((1,), "rad")}, {"joint": Field((1,), "rad")}, 10)
    with pytest.raises(ConfigError, match="jump=true"):
        Policy(spec, PolicyConfig(objective="flow_map"))
