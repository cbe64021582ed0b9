"""What to take of a foreign dataset: the same settings, and the same errors, for every format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...envs import ConfigError, DataError
from ...envs.errors import names, pick
from ..storage.images import ENCODINGS


@dataclass(frozen=True)
class Choice:
    """What to take of a dataset; a setting that its format has no use for is refused by name."""

    keys: Sequence[str] | None = None  # observations that are no images; None takes the usual ones
    cameras: Sequence[str] | None = None  # images; None takes the usual ones
    hz: float = 0.0  # [Hz] rate of the frames; 0 takes what the dataset says
    fields: str = ""  # a YAML file that maps topics to fields, for bags
    images: str = ""  # how the store keeps images; "" takes JPEG for videos, else lossless

    def __post_init__(self) -> None:
        for setting in ("keys", "cameras"):
            _require_names(setting, getattr(self, setting))
        if self.images:
            pick(ENCODINGS, self.images, "encoding of images")

    def encoding(self, usual: str = "lossless") -> str:
        """Return how to keep the images."""
        return self.images or usual

    def refuse_rate(self, known: float) -> None:
        """Raise DataError where another rate is chosen than the `known` one [Hz] of the dataset."""
        if self.hz not in (0, known):
            raise DataError(f"it says itself that it has {known:g} frames a second: leave out hz=")

    def refuse_fields(self) -> None:
        """Raise DataError where a file of fields is given to a format that has its own names."""
        if self.fields:
            raise DataError("its fields have names already: leave out fields=, which is for bags")


@dataclass(frozen=True)
class Offer:
    """What a dataset holds: the names of its numbers and of its images, and which are usual."""

    numbers: Sequence[str]
    images: Sequence[str]
    usual_numbers: Sequence[str] | None = None  # None: all numbers
    usual_images: Sequence[str] | None = None  # None: all images

    def choose(self, choice: Choice) -> list[str]:
        """Return what is chosen, numbers before images; DataError lists what is there."""
        numbers = choice.keys
        if numbers is None:
            numbers = self.numbers if self.usual_numbers is None else self.usual_numbers
        images = choice.cameras
        if images is None:
            images = self.images if self.usual_images is None else self.usual_images
        for name in numbers:
            self._require_number(name)
        for name in images:
            self._require_image(name)
        if choice.images and not images:
            raise DataError("no images are taken that could be kept so: leave out images=")
        return list(dict.fromkeys([*numbers, *images]))

    def _require_number(self, name: str) -> None:
        if name in self.images:
            raise DataError(f"{name!r} holds images: choose it with cameras=[{name}]")
        if name not in self.numbers:
            raise DataError(f"no key {name!r}; valid: {names(self.numbers)}")

    def _require_image(self, name: str) -> None:
        if name in self.numbers:
            raise DataError(
                f"{name!r} holds no images: choose it with keys=[{name}];"
                f" valid cameras: {names(self.images)}"
            )
        if name not in self.images:
            raise DataError(f"no camera {name!r}; valid: {names(self.images)}")


def _require_names(setting: str, given: Iterable[str] | None) -> None:
    if given is None:
        return
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"{setting} must be a list, as in {setting}=[a,b], not {given!r}")
