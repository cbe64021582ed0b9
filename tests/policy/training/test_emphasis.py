"""What is learnt from, and how often."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.demos.windows import make_windows
from fewstep.envs import ConfigError, DataError, Field, Spec
from fewstep.policy.cli.main import main
from fewstep.policy.training.config import TrainConfig
from fewstep.policy.training.emphasis import RowDraw, weigh_windows

SPEC = Spec({"x": Field((1,))}, {"x": Field((1,))}, 10.0)
SOURCES = [1, 1, 2, 2, 2]  # a policy, then an operator


@pytest.fixture
def store(tmp_path: Path) -> DemoStore:
    """A success and a failure in which an operator took over, and an episode of nobody."""
    path = tmp_path / "demos"
    with DemoStore.create(path, SPEC) as made:
        for success, source in ((True, SOURCES), (False, SOURCES), (None, None)):
            x = np.arange(5.0)[:, None]
            data = {"x": x, "action": x, "time": np.arange(5) / 10}
            made.append(Episode(data, SPEC, success, None if source is None else np.array(source)))
    return DemoStore.open(path)


@pytest.mark.parametrize(
    "emphasis, expected",
    [
        ({"operator": 3.0}, [1, 1, 3, 3, 3, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1]),
        ({"failure": 0.0, "operator": 2.0}, [1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ({"policy": 0.0, "unknown": 0.0}, [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]),
    ],
)
def test_windows_weigh_what_source_and_ending_say(
    store: DemoStore, emphasis: dict[str, float], expected: list[float]
) -> None:
    weights = weigh_windows(store, make_windows(store.ends, 1, 2), emphasis)
    assert weights is not None and weights.tolist() == expected


def test_windows_are_drawn_as_often_as_they_weigh() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0, 6.0, 0.0])
    rows = RowDraw(6, weights, torch.device("cpu")).draw(20_000, torch.Generator().manual_seed(0))
    share = np.bincount(rows.numpy(), minlength=6) / len(rows)
    assert (share[weights == 0] == 0).all()
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.02)


def test_without_a_weight_the_draw_is_that_of_before() -> None:
    drawn = RowDraw(9, None, torch.device("cpu")).draw(50, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, torch.randint(9, (50,), generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    "emphasis, message",
    [
        ({"robot": 1.0}, "'robot' is no source or ending; valid: .*operator"),
        ({"operator": -1.0}, "emphasis.operator must be a number from 0 to 1e.06"),
        ({"operator": 1e308}, "emphasis.operator must be a number from 0 to 1e.06"),
        ({"operator": True}, "emphasis.operator must be a number"),
        ({"operator": float("nan")}, "emphasis.operator must be a number from 0 to 1e.06"),
    ],
)
def test_an_emphasis_that_says_nothing_is_refused(emphasis: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(emphasis=emphasis)


def test_an_emphasis_that_leaves_nothing_is_refused(store: DemoStore) -> None:
    with pytest.raises(DataError, match="leaves nothing to learn from"):
        weigh_windows(
            store, make_windows(store.ends, 1, 2), {"success": 0, "failure": 0, "unknown": 0}
        )


def test_the_command_line_takes_an_emphasis(store: DemoStore, tmp_path: Path) -> None:
    words = ["steps=2", "batch=4", "threads=1", "export=false", "model.net.channels=[8,16]"]
    words += [
        "model.net.groups=4",
        "model.action_steps=2",
        "model.horizon=4",
        "+emphasis.operator=4",
    ]
    assert main(["train", f"data={store.path}", f"out={tmp_path}/out", "held_out=0", *words]) == 0
