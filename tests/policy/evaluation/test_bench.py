"""Latency: every row in alternating rounds, beside the textbook."""

from pathlib import Path

import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, Field, Spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.engines.export import export_policy
from fewstep.policy.evaluation.bench import ROUNDS, Mode, bench, measure_alternately
from fewstep.policy.evaluation.bench_exact import measure_floor
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.training.processor import torch_threads

SPEC = Spec({"q": Field((2,), "rad")}, {"q": Field((2,), "rad")}, 20)
NET = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
ROW = {  # the contract of bench.json
    *("engine", "network_evaluations", "threads", "calls"),
    *("median_ms", "p99_ms", "max_ms", "min_ms"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bench") / "run"
    save_policy(Policy(SPEC, PolicyConfig(horizon=8, action_steps=4, net=NET)), folder, {})
    return folder


def test_every_mode_is_a_row_and_the_textbook_the_last(run: Path) -> None:
    rounds: list[int] = []
    result = bench(
        run,
        engines=("eager", "onnx"),
        network_evaluations=(3, 2),
        threads=(1, 2),
        calls=10,
        on_round=rounds.append,
    )
    rows = result["rows"]
    modes = [(row["engine"], row["network_evaluations"], row["threads"]) for row in rows]
    both = [("eager", 3), ("onnx", 3), ("eager", 2), ("onnx", 2)]
    asked = [(*mode, threads) for threads in (1, 2) for mode in both]
    assert modes == [*asked, ("encoder", 0, 1), ("textbook", 100, 1)]
    for row in rows[:-2]:
        assert {*row} == ROW | {"error", "floor_ms"}
        assert 0 < row["error"] < 1e-5 and row["floor_ms"] > 0
    assert [{*row} for row in rows[-2:]] == [ROW, ROW]
    assert result["control_period_ms"] == 50
    assert rounds == list(range(1, ROUNDS + 1))


def test_a_policy_without_weights_is_measured_as_it_was_exported(run: Path, tmp_path: Path) -> None:
    export_policy(run, tmp_path / "arm")
    result = bench(tmp_path / "arm", engines=("onnx",), network_evaluations=(1, 3), calls=10)
    (row,) = result["rows"]
    assert {*row} == ROW and (row["engine"], row["network_evaluations"]) == ("onnx", 2)


def test_where_no_engine_can_compute_it_that_is_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_policy(run, tmp_path / "arm", format="cpp")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CheckpointError, match="an export and a C\\+\\+ compiler"):
        bench(tmp_path / "arm", calls=10)


def test_the_floor_grows_with_every_evaluation(run: Path) -> None:
    floor = measure_floor(load_policy(run))
    each = floor.milliseconds(2) - floor.milliseconds(1)
    assert floor.milliseconds(10) == pytest.approx(floor.milliseconds(1) + 9 * each)
    network = sum(p.numel() for p in load_policy(run).net.parameters() if p.ndim == 3)
    assert floor.weights == 4 * network  # every convolution once


def test_the_threads_are_as_many_as_before(run: Path) -> None:
    with torch_threads(torch.get_num_threads() + 1):
        before = torch.get_num_threads()
        bench(run, engines=("eager",), network_evaluations=(1,), calls=10, threads=(1,))
        assert torch.get_num_threads() == before


def test_rows_take_turns() -> None:
    called: list[str] = []
    calculations = {
        Mode("one", 1): lambda: called.append("one"),
        Mode("two", 1): lambda: called.append("two"),
    }
    times = measure_alternately(calculations, 2 * ROUNDS)
    assert called == ["one", "two"] + ROUNDS * (3 * ["one"] + 3 * ["two"])
    assert [len(milliseconds) for milliseconds in times.values()] == [2 * ROUNDS, 2 * ROUNDS]


def test_an_unknown_engine_lists_the_valid_ones(run: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'steam'; valid: compiled, cpp, eager"):
        bench(run, engines=("steam",))
