"""The one family of errors: everything that a user can cause derives from FewstepError."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class FewstepError(Exception):
    """Root of every error that fewstep raises on purpose."""


class SpecError(FewstepError):
    """Raised when a Spec is inconsistent, or data or robots do not match it."""


class DataError(FewstepError):
    """Raised when demonstrations are missing, damaged or do not fit together."""


class RobotError(FewstepError):
    """Raised when a robot or environment cannot be driven as asked."""


class CheckpointError(FewstepError):
    """Raised when a saved policy is damaged or does not fit."""


class ConfigError(FewstepError):
    """Raised when a setting does not exist or settings contradict each other."""


class ProtocolError(FewstepError):
    """Raised when the other end of a connection is not there, or says what cannot be understood."""


class FewstepWarning(UserWarning):
    """What went on all the same, and a user should know of."""


@contextmanager
def refusing(kind: type[FewstepError], what: str, file: object = None) -> Iterator[None]:
    """Turn whatever the block raises into `kind`, which begins with `what`.

    Our own errors pass, and name the file. For reading what others wrote: where a file is damaged,
    the libraries below may raise anything.
    """
    try:
        yield
    except FewstepError as error:
        if file is None or str(file) in str(error):
            raise
        raise type(error)(f"{file}: {error}") from error
    except Exception as error:
        said = " ".join(str(error).split())
        if isinstance(error, KeyError):
            said = f"it lacks {said}"
        elif not said or not isinstance(error, OSError | ValueError | RuntimeError):
            said = f"{type(error).__name__} {said}".rstrip()
        raise kind(f"{what}: {said}") from error


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Look `name` up in a closed table, or raise ConfigError listing what is valid."""
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"unknown {what} {name!r}; valid: {names(table)}")
    return table[name]


def names(valid: Iterable[object]) -> str:
    """Join names for an error message."""
    return ", ".join(sorted(map(str, valid))) or "(none)"
