"""Demonstrations, and a training of them that nothing interrupts."""

from pathlib import Path

import pytest
from training_runs import CONFIG, weights, write

from fewstep.policy.training.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    train(data, out, CONFIG)
    return weights(out)
