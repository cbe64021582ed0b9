"""Start seeds: which ones choose, which ones demonstrate, which ones report; never mixed."""

from __future__ import annotations

from .errors import ConfigError

VALIDATION_SEEDS = range(0, 10_000)  # choosing: tuning, development
DEMONSTRATION_SEEDS = range(10_000, 100_000)  # recording
FIRST_TEST_SEED = 100_000  # reporting: from here upwards


def evaluation_seeds(first: int, episodes: int, key: str = "seed") -> tuple[int, ...]:
    """Return the start seeds first, first + 1, … of an evaluation.

    key: what the user calls the first one. Raises ConfigError unless there are some, and all are
    validation seeds or all are test seeds.
    """
    if episodes < 1:
        raise ConfigError(f"episodes must be at least 1, not {episodes}")
    last = first + episodes - 1
    choosing = first in VALIDATION_SEEDS and last in VALIDATION_SEEDS
    reporting = first >= FIRST_TEST_SEED
    if not (choosing or reporting):
        raise ConfigError(
            f"{key}={first} with episodes={episodes}: seeds {first} to {last} are neither"
            f" validation seeds ({VALIDATION_SEEDS.start} to {VALIDATION_SEEDS.stop - 1})"
            f" nor test seeds ({FIRST_TEST_SEED} upwards);"
            " the seeds in between belong to demonstrations"
        )
    return tuple(range(first, last + 1))
