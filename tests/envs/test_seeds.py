"""Start seeds: choosing, demonstrating and reporting never mix."""

import pytest

from fewstep.envs import ConfigError
from fewstep.envs.seeds import evaluation_seeds


@pytest.mark.parametrize(
    ("first", "episodes"), [(0, 1), (0, 10_000), (9_999, 1), (100_000, 1), (100_000, 20_000)]
)
def test_validation_and_test_seeds_are_taken_in_order(first: int, episodes: int) -> None:
    assert evaluation_seeds(first, episodes) == tuple(range(first, first + episodes))


@pytest.mark.parametrize(
    ("first", "episodes"),
    [(9_999, 2), (10_000, 1), (99_999, 2), (0, 100_001), (-1, 2), (-5, 1)],
)
def test_seeds_of_demonstrations_and_mixtures_are_refused(first: int, episodes: int) -> None:
    said = rf"^start={first} .*validation seeds \(0 to 9999\).*test seeds \(100000 upwards\)"
    with pytest.raises(ConfigError, match=said):
        evaluation_seeds(first, episodes, "start")


@pytest.mark.parametrize("episodes", [0, -1])
def test_an_evaluation_has_episodes(episodes: int) -> None:
    with pytest.raises(ConfigError, match=f"^episodes must be at least 1, not {episodes}"):
        evaluation_seeds(0, episodes)
