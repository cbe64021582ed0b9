"""Latency: every row in alternating rounds, beside the textbook."""

from pathlib import Path

import pytest
import torch

from fewstep.envs import ConfigError, Field, Spec
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.evaluation.bench import ROUNDS, Mode, bench, measure_alternately
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.training.threads import torch_threads

SPEC = Spec({"q": Field((2,), "rad")}, {"q": Field((2,), "rad")}, 20)
NET = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
ROW = [  # the contract of bench.json
    "engine",
    "network_evaluations",
    "threads",
    "calls",
    "median_ms",
    "p99_ms",
    "max_ms",
    "floor_ms",
    "max_error",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bench") / "run"
    save_policy(Policy(SPEC, PolicyConfig(horizon=8, action_steps=4, net=NET)), folder, {})
    return folder


def test_the_textbook_is_the_last_row_wherever_it_was_asked_for(run: Path) -> None:
    rounds: list[int] = []
    result = bench(run, network_evaluations=(100, 2), calls=10, on_round=rounds.append)
    rows = result["rows"]
    assert [list(row) for row in rows] == [ROW, ROW]
    assert [(row["engine"], row["network_evaluations"]) for row in rows] == [
        ("eager", 2),
        ("eager", 100),
    ]
    assert [row["max_error"] for row in rows] == [0.0, 0.0]
    assert result["control_period_ms"] == 50
    assert rounds == list(range(1, ROUNDS + 1))


def test_the_threads_are_as_many_as_before(run: Path) -> None:
    with torch_threads(torch.get_num_threads() + 1):
        before = torch.get_num_threads()
        bench(run, network_evaluations=(1,), calls=10, threads=1)
        assert torch.get_num_threads() == before


def test_rows_take_turns() -> None:
    called: list[str] = []
    calculations = {
        Mode("one", 1): lambda: called.append("one"),
        Mode("two", 1): lambda: called.append("two"),
    }
    times = measure_alternately(calculations, 2 * ROUNDS)
    assert called == ["one", "two"] + ROUNDS * ["one", "one", "two", "two"]
    assert [len(milliseconds) for milliseconds in times.values()] == [2 * ROUNDS, 2 * ROUNDS]


def test_an_unknown_engine_lists_the_valid_ones(run: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'steam'; valid: eager"):
        bench(run, engines=("steam",))


def test_the_encoder_is_timed_beside_the_chunks(run: Path) -> None:
    encoder = bench(run, network_evaluations=(2,), calls=10)["encoder_ms"]
    assert 0 < encoder["median"] <= encoder["p99"]
