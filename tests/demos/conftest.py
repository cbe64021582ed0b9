"""What the tests of demonstrations share."""

from pathlib import Path

import pytest

from fewstep.demos.formats import import_demonstrations
from fewstep.demos.store import DemoStore

HUMAN = Path(__file__).parents[3] / "shared/data/pusht/pusht_cchi_v7_replay.zarr"


@pytest.fixture(scope="session")
def human_source() -> Path:
    """The human Push-T demonstrations as they were published."""
    if not HUMAN.exists():
        pytest.skip(f"the human Push-T demonstrations are not at {HUMAN}")
    return HUMAN


@pytest.fixture(scope="session")
def human(human_source: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    """The same, imported for `task=pusht`."""
    path = tmp_path_factory.mktemp("pusht") / "out"
    import_demonstrations(human_source, path, task="pusht")
    return DemoStore.open(path)
