"""The features of a LeRobot dataset, and the observations that they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....envs import Field, Spec

VERSION = "v3.0"  # that is written
INFO = "meta/info.json"
OURS = "meta/fewstep.json"  # in an export of ours: Spec, provenance, and how each episode ended
OBSERVATION = "observation."
STATE = "observation.state"
IMAGES = "observation.images."
SUCCESS = "next.success"
CLOCK = "timestamp"
EPISODE = "episode_index"
Features = Mapping[str, Any]  # of meta/info.json: dtype, shape and names of each


@dataclass(frozen=True)
class FeatureSlice:
    """Where the numbers or pictures of a field are: a feature, or a part of one."""

    feature: str
    field: Field
    start: int = 0
    stop: int | None = None

    @property
    def is_image(self) -> bool:
        """Return whether these are pictures."""
        return self.field.is_image


def exported_slices(spec: Spec) -> dict[str, FeatureSlice]:
    """Return where an export of ours has put its observations."""
    slices = {}
    start = 0
    for key, field in spec.observations.items():
        if field.is_image:
            slices[key] = FeatureSlice(IMAGES + key, field)
        else:
            slices[key] = FeatureSlice(STATE, field, start, start + field.size)
            start += field.size
    return slices


def guessed_slices(features: Features) -> dict[str, FeatureSlice]:
    """Return every observation by its short name, where that is not another's as well."""
    observed = []
    for name, feature in features.items():
        if name.startswith(OBSERVATION) and feature["dtype"] != "string":
            observed.append(name)
    uses = Counter(map(short_name, observed))
    slices = {}
    for name in observed:
        short = short_name(name)
        key = short if uses[short] == 1 else name
        slices[key] = FeatureSlice(name, guess_field(features[name]))
    return slices


def short_name(feature: str) -> str:
    """Return the name of an observation without what all observations begin with."""
    return feature.removeprefix(IMAGES).removeprefix(OBSERVATION)


def guess_field(feature: Mapping[str, Any]) -> Field:
    """Return what a feature seems to be; the format knows no units."""
    shape = tuple(feature["shape"])
    if feature["dtype"] in ("video", "image"):
        channels_first = shape[0] == 3 != shape[-1]
        return Field((*shape[1:], 3) if channels_first else shape, kind="image")
    return Field(shape, names=_element_names(feature.get("names"), shape))


def _element_names(given: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the elements, where there is one for each.

    () where two have the same, or anything else is given.
    """
    listed = _listed_names(given)
    complete = len(listed) == np.prod(shape)
    if not complete or len(set(listed)) < len(listed):
        return ()
    return tuple(listed)


def _listed_names(given: Any) -> list[str]:
    """Return the names in a list, in a table of numbers, or one level deep in either."""
    if isinstance(given, dict):
        if all(isinstance(place, int) for place in given.values()):
            return sorted(given, key=given.__getitem__)
        given = list(given.values())
    if not isinstance(given, list):
        return []
    listed = []
    for part in given:
        listed += part if isinstance(part, list) else [part]
    if not all(isinstance(name, str | int) for name in listed):
        return []
    return [str(name) for name in listed]
