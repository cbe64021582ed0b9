"""ROS bags: .bag of ROS 1, folders, .db3 and .mcap of ROS 2, or a folder of such; each bag becomes one episode."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import DataError, Spec
from ....envs.errors import names
from ....envs.files import require_plain
from ...episode import ACTION, TIME, Episode
from .. import is_bag
from ..natural_order import natural
from ..source import Choice, Source, reader
from .bag import Bag, opened, saying
from .fields import Found, Plan, load, skeleton
from .resampling import check_gaps, latest, resample, ticks
from .streams import Heard, Stream, hear, pictures, stream
from .values import CAMERAS, joints, paths


@reader("ROS bags")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """One episode for each bag, resampled to the rate of the choice, else of the file of fields.

    A message stands for the time in its header where that is set, else for that of its reception; the notes say which.
    Frames begin when all topics have been heard and end with the first topic that ends. Between two messages linear
    fields are interpolated, angles the short way round, quaternions on the sphere; of discrete fields and images, a
    frame has the latest.
    """
    bags = _bags(path)
    with opened(bags[0]) as bag:
        if not choice.fields:
            raise DataError(
                f"{bag.path} needs fields=FILE.yaml, which maps topics to fields; {skeleton(_found(bag))}"
            )
        plan = _plan(bag, choice)
        observations = [stream(bag, key, entry) for key, entry in plan.observations.items()]
        actions = [stream(bag, key, entry) for key, entry in plan.actions.items()]
    with saying(choice.fields):
        spec = Spec(
            {s.key: s.field for s in observations}, {s.key: s.field for s in actions}, plan.hz
        )
    times = {
        s.entry.topic: "header.stamp" if s.stamped else "reception"
        for s in (*observations, *actions)
    }
    images = choice.images or "lossless"
    notes = {
        "source": path.name,
        "format": "ROS bag",
        "fields": Path(choice.fields).name,
        "times": times,
    }
    yield Source(
        spec, notes, (_episode(bag, observations, actions, spec, images) for bag in bags), images
    )


def _bags(path: Path) -> list[Path]:
    """One bag, or all in a folder; their files are plain ones, and lie in them."""
    bags = (
        [path]
        if is_bag(path)
        else sorted(filter(is_bag, path.iterdir()), key=lambda bag: natural(bag.name))
    )
    for bag in bags:
        require_plain(bag, None if bag == path else path)
        for file in bag.iterdir() if bag.is_dir() else ():
            require_plain(file, bag)
    return bags


def _found(bag: Bag) -> dict[str, Found]:
    """What a file of fields can be made of."""
    out = {}
    for topic, kind in bag.topics.items():
        _, _, message = next(bag.messages([topic]), (topic, 0, None))
        camera = kind in CAMERAS
        values = () if camera else tuple(paths(message))
        out[topic] = Found(
            kind, bag.count(topic), camera, values, joints(message) if values else ()
        )
    return out


def _plan(bag: Bag, choice: Choice) -> Plan:
    """The file of fields, less what the choice leaves out."""
    plan = load(Path(choice.fields))
    for key, entry in (*plan.observations.items(), *plan.actions.items()):
        bag.require(entry.topic, key)
    if not (hz := choice.hz or plan.hz):
        raise DataError(
            f"{choice.fields} names no rate to resample to: add `hz: 20`, or give hz=20"
        )
    cameras = [
        key for key, entry in plan.observations.items() if bag.topics[entry.topic] in CAMERAS
    ]
    numbers = [key for key in plan.observations if key not in cameras]
    for what, wanted, valid in (
        ("keys", choice.keys, numbers),
        ("cameras", choice.cameras, cameras),
    ):
        if unknown := set(wanted or ()) - set(valid):
            raise DataError(
                f"{choice.fields} has no {names(unknown)} among its {what}; valid: {names(valid)}"
            )
    taken = (
        numbers if choice.keys is None else choice.keys,
        cameras if choice.cameras is None else choice.cameras,
    )
    left = {k: entry for k, entry in plan.observations.items() if k in (*taken[0], *taken[1])}
    dropped = plan.observations.keys() - left.keys()
    actions = {
        k: replace(e, measured_by="") if e.measured_by in dropped else e
        for k, e in plan.actions.items()
    }
    return Plan(hz, left, actions)


def _episode(
    path: Path, observations: list[Stream], actions: list[Stream], spec: Spec, images: str
) -> Episode:
    streams = [*observations, *actions]
    with opened(path) as bag:
        heard = list(zip(streams, hear(bag, streams), strict=True))
        at = _ticks(bag, heard, spec.policy_hz)
        wanted = {s.key: h.times[latest(h.times, at)] for s, h in heard if s.camera}
        data: dict[str, Any] = {**pictures(bag, [s for s in streams if s.camera], wanted, images)}
    numbers = [(s.key, resample(s.field, h.times, h.values, at)) for s, h in heard if not s.camera]
    data |= dict(numbers[: -len(actions)])
    data |= {ACTION: np.concatenate([x for _, x in numbers[-len(actions) :]], axis=1)}
    return Episode({**data, TIME: np.arange(len(at)) / spec.policy_hz}, spec)


def _ticks(bag: Bag, heard: list[tuple[Stream, Heard]], hz: float) -> np.ndarray:
    with saying(str(bag.path)):
        at = ticks([(s.entry.topic, h.times) for s, h in heard], hz)
    for s, h in heard:
        if s.field.kind != "discrete":
            with saying(bag.where(s.entry.topic)):
                check_gaps(h.times, at)
    return at
