"""Tuning: the cheapest mode that loses nothing is chosen, and chunks are compared with what was
shown nearby.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import ConfigError, DataError, Field, Spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.evaluation.chunk_quality import NEAR, Nearby, _measure_outside, measure_unlike
from fewstep.policy.evaluation.tune import GRIDS, Tuning, choose, modes
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.policy_folder import read_meta

SPEC = Spec({"q": Field((2,), "rad")}, {"q": Field((2,), "rad")}, 10)
NET = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)


def policy_for(spec: Spec, **settings) -> Policy:
    torch.manual_seed(0)
    return Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET, **settings)).eval()


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    """Ten walks whose actions are what is seen next."""
    path, rng = tmp_path_factory.mktemp("tune") / "demos", np.random.default_rng(0)
    with DemoStore.create(path, SPEC) as store:
        for _ in range(10):
            q = np.cumsum(rng.normal(size=(31, 2)), 0).astype(np.float32) / 10
            store.append(Episode({"q": q[:-1], "action": q[1:], "time": np.arange(30) / 10}, SPEC))
    return path


def chunks(n: int, *size: int) -> torch.Tensor:
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(n))


# Choosing

TRIED = [Sampler(times=t) for t in ((1.0, 0.0), (1.0, 0.1, 0.0), (1.0, 0.3, 0.0))] + [
    Sampler(network_evaluations=10)
]


@pytest.mark.parametrize(
    "lows, chosen",
    [
        ((-0.2, -0.2, -0.2), 3),
        ((-0.2, -0.04, -0.2), 1),
        ((-0.2, -0.04, -0.01), 2),
        ((-0.04, 0.0, 0.0), 0),
    ],
)
def test_the_cheapest_that_surely_loses_less_than_the_margin_is_chosen(lows, chosen):
    rows = [{"success_difference": (low + 0.02, low, low + 0.04)} for low in (*lows, 0.0)]
    assert choose(rows, TRIED, 0.05) == chosen


def test_without_rollouts_the_chunks_decide():
    rows = [{"like_difference": (d, d - 0.01, d + 0.01)} for d in (-0.5, 0.0, -0.1, 0.0)]
    assert choose(rows, TRIED, 0.05) == 1


def test_without_a_success_flag_the_score_decides_by_its_span():
    rows = []
    for low in (-9.0, -4.0, -9.0, 0.0):
        difference = (low + 2, low, low + 4)
        rows.append({"success_difference": None, "score_difference": difference, "margin": 5.0})
    assert choose(rows, TRIED, 0.05) == 1


def test_tuning_says_how_many_more_rollouts_would_decide():
    rows = []
    for low, more in ((-0.09, 1118), (-0.3, 0), (-0.04, 0), (0.0, 0)):
        difference = (low + 0.08, low, low + 0.16)
        rows.append(
            {
                "success_difference": difference,
                "margin": 0.05,
                "more_episodes": more,
                "episodes": 200,
            }
        )
    lines = Tuning(rows, TRIED, 2).undecided()
    assert lines == [
        "undecided for [1, 0]: 200 episodes cannot show a loss below 0.05; 1118 more would tell"
    ]


def test_every_kind_of_policy_has_its_modes():
    flow, v, eps = (modes(policy_for(SPEC, objective=o)) for o in ("flow_atoms", "v", "eps"))
    assert [s.grid() for s in flow[:-1]] == list(GRIDS) and flow[-1].cost == 10
    assert [(s.step, s.cost) for s in v] == [
        ("ddim", 2),
        ("ddim", 3),
        ("ddim", 10),
        ("ddpm", 100),
    ]
    assert eps[-1].step == "ddpm"
    assert {s.grid()[0] for s in modes(policy_for(SPEC, objective="eps", path="linear"))} == {0.999}
    with pytest.raises(ConfigError, match="nothing to choose"):
        modes(policy_for(SPEC, objective="regression"))


# Chunks and demonstrations


def test_chunks_between_demonstrated_ones_lie_in_their_span_and_others_do_not():
    near = chunks(3, NEAR, 40)
    inside = near[:, :3].mean(1)
    assert _measure_outside(inside[None], near).max() < 1e-5
    away = torch.randn(3, 40, generator=torch.Generator().manual_seed(5))
    span = torch.linalg.qr((near - near.mean(1, keepdim=True)).mT)[0][..., : NEAR - 1]
    rest = away - near.mean(1) - (span @ span.mT @ (away - near.mean(1))[..., None])[..., 0]
    torch.testing.assert_close(
        _measure_outside(away[None], near)[0], rest.square().mean(-1).sqrt(), rtol=1e-3, atol=1e-4
    )
    doubled = near.repeat(1, 2, 1)
    torch.testing.assert_close(
        _measure_outside(away[None], doubled),
        _measure_outside(away[None], near),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_mean_of_two_answers_is_unlike_both():
    sides = torch.where(torch.rand(8, 50, 1) < 0.5, -1.0, 1.0) + 0.01 * chunks(8, 50, 6)
    again = torch.where(torch.rand(8, 50, 1) < 0.5, -1.0, 1.0) + 0.01 * chunks(9, 50, 6)[:8]
    assert measure_unlike(torch.zeros(8, 50, 6), (sides, again)).mean() > 0.99
    assert measure_unlike(again, (sides, again)).mean() == pytest.approx(0.05, abs=0.02)


def test_held_back_demonstrations_are_near_the_others(demos):
    policy = policy_for(SPEC)
    found = Nearby.find(policy, demos)
    assert found.chunks.shape == (len(found.obs["q"]), NEAR, 16) and found.reach > 0
    assert found.measure(found.chunks[:, :4].transpose(0, 1))["far"].max() == 0
    assert found.measure(found.chunks[:, :4].transpose(0, 1) + 100)["far"].min() == 1
    x = found.draw(policy, Sampler(network_evaluations=1), 0, samples=3)
    assert x.shape == (3, len(found.chunks), 16)
    assert torch.equal(x, found.draw(policy, Sampler(network_evaluations=1), 0, samples=3))


def test_one_episode_is_too_little(tmp_path):
    with DemoStore.create(tmp_path / "one", SPEC) as store:
        store.append(
            Episode(
                {"q": np.zeros((30, 2)), "action": np.ones((30, 2)), "time": np.arange(30) / 10},
                SPEC,
            )
        )
    with pytest.raises(DataError, match="too few episodes"):
        Nearby.find(policy_for(SPEC), tmp_path / "one")


# The verb


def test_choice_and_evidence_land_in_the_checkpoint(demos, tmp_path, capsys):
    save_policy(policy_for(SPEC), tmp_path / "run", {"data": "kept"})
    before = {k: v.clone() for k, v in load_policy(tmp_path / "run").state_dict().items()}
    assert main(["tune", f"policy={tmp_path}/run", f"data={demos}"]) == 0
    tuned, evidence = load_policy(tmp_path / "run"), read_meta(tmp_path / "run")["provenance"]
    assert evidence["data"] == "kept"
    found = evidence["tuned"]
    assert json.dumps(found, allow_nan=False) and len(found["modes"]) == len(GRIDS) + 1
    assert tuned.config.drawn_by.grid() == tuple(
        found["modes"][found["chosen"]]["sampler"]["times"]
    )
    assert {"spread", "off_span", "far", "unlike", "latency_ms"} <= found["modes"][0].keys()
    assert all(torch.equal(v, before[k]) for k, v in tuned.state_dict().items())
    assert "chosen: " in capsys.readouterr().out


def test_nothing_to_measure_with_is_refused(tmp_path, capsys):
    save_policy(policy_for(SPEC), tmp_path / "run", {})
    assert main(["tune", f"policy={tmp_path}/run"]) == 2
    assert "task= to roll out in" in capsys.readouterr().err
