"""Streams: the fields of an episode, while the messages of a bag that make them are read."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....envs import DataError, Field
from ....envs.errors import names, pick
from ...storage.images import ENCODINGS, EncodedImages, Spool
from .bag import Bag, damage, saying
from .fields import Entry
from .values import CAMERAS, follow, is_quaternion, joints, paths, picture, stamp, value

MEANING = (
    "unit",
    "low",
    "high",
    "measured_by",
    "velocity",
    "acceleration",
)  # what an Entry passes on to its Field


@dataclass(frozen=True)
class Stream:
    """A field, and where its messages are.

    stamped: whether they carry their time; chosen: whether the joints were chosen, so that others may be passed over.
    """

    key: str
    entry: Entry
    field: Field
    stamped: bool
    chosen: bool

    @property
    def camera(self) -> bool:
        """Whether it is made of pictures."""
        return self.field.is_image


@dataclass(frozen=True)
class Heard:
    """The messages of a stream: times (m,) [ns], in order, and values (m, n), which pictures have not."""

    times: np.ndarray
    values: np.ndarray


def stream(bag: Bag, key: str, entry: Entry) -> Stream:
    """What the first message says about a field."""
    for topic, _, message in bag.messages([entry.topic]):
        with saying(f"{bag.where(topic)} for {key!r}"), damage(bag.path):
            field = _field(message, entry, bag.topics[topic] in CAMERAS)
        if field:
            return Stream(
                key, replace(entry, names=field.names), field, stamp(message) > 0, bool(entry.names)
            )
    raise DataError(f"{bag.where(entry.topic)} for {key!r}: no message{_about(entry)}")


def hear(bag: Bag, streams: Sequence[Stream]) -> list[Heard]:
    """All messages but the pictures, of which there is only the time."""
    by_topic: dict[str, list[int]] = defaultdict(list)
    for k, s in enumerate(streams):
        bag.require(s.entry.topic, s.key)
        by_topic[s.entry.topic].append(k)
    times, values = [array("q") for _ in streams], [array("d") for _ in streams]
    for topic, time, message in bag.messages(by_topic):
        for k in by_topic[topic]:
            if (numbers := _numbers(bag, streams[k], message)) is not None:
                times[k].append(time)
                values[k].frombytes(numbers.tobytes())
    return [_heard(bag, *parts) for parts in zip(streams, times, values, strict=True)]


def pictures(
    bag: Bag, streams: Sequence[Stream], wanted: Mapping[str, np.ndarray], encoding: str
) -> dict[str, EncodedImages]:
    """T pictures of each camera. wanted: of which times (T,)."""
    encode = pick(ENCODINGS, encoding, "encoding of images").encode
    out = {s.key: Spool(len(wanted[s.key])) for s in streams}
    frames = {s.key: _frames(wanted[s.key]) for s in streams}
    for topic, time, message in bag.messages({s.entry.topic for s in streams}):
        for s in (s for s in streams if s.entry.topic == topic and time in frames[s.key]):
            with saying(f"{bag.where(topic)} for {s.key!r}"), damage(bag.path):
                out[s.key].put(encode(_picture(message, s)), *frames[s.key][time])
    return {s.key: EncodedImages(out[s.key], s.field.shape, encoding) for s in streams}


def _field(message: Any, entry: Entry, camera: bool) -> Field | None:
    meaning = {key: getattr(entry, key) for key in MEANING}
    if entry.value if camera else entry.size:
        raise DataError("a camera takes no value" if camera else "only a camera takes a size")
    if camera:
        return Field(
            picture(message, entry.size).shape,
            kind=entry.kind or "image",
            names=entry.names,
            **meaning,
        )
    found = value(message, entry)
    if found is None:
        return None
    if not len(found):
        raise DataError(f"{entry.value!r} is empty; valid: {names(paths(message))}")
    kind = "quaternion" if is_quaternion(follow(message, entry.value)) else "linear"
    known = joints(message) if len(joints(message)) == len(found) else ()
    return Field(found.shape, kind=entry.kind or kind, names=entry.names or known, **meaning)


def _numbers(bag: Bag, s: Stream, message: Any) -> np.ndarray | None:
    if s.camera:
        return np.empty(0)
    with saying(f"{bag.where(s.entry.topic)} for {s.key!r}"):
        found = value(message, s.entry)
        if found is None and not s.chosen:
            raise DataError(
                f"messages are about {names(s.entry.names)}, and about {names(joints(message))}: give names"
            )
        if found is not None and len(found) != s.field.size:
            raise DataError(
                f"{s.entry.value!r} has {len(found)} numbers, the first message had {s.field.size}"
            )
    return found


def _heard(bag: Bag, s: Stream, times: array, values: array) -> Heard:
    if not times:
        raise DataError(f"{bag.where(s.entry.topic)} for {s.key!r}: no message{_about(s.entry)}")
    order = np.argsort(
        times, kind="stable"
    )  # where two have the same time, the later message stays the later
    numbers = (
        np.frombuffer(values).reshape(len(times), -1) if len(values) else np.empty((len(times), 0))
    )
    return Heard(np.frombuffer(times, np.int64)[order], numbers[order])


def _about(entry: Entry) -> str:
    return f" about {names(entry.names)}" if entry.names else ""


def _frames(times: np.ndarray) -> dict[int, list[int]]:
    """Which frames show the picture of a time."""
    out = defaultdict(list)
    for frame, time in enumerate(times.tolist()):
        out[time].append(frame)
    return dict(out)


def _picture(message: Any, s: Stream) -> np.ndarray:
    pixels = picture(message, s.entry.size)
    if pixels.shape != s.field.shape:
        raise DataError(
            f"an image is {pixels.shape[:2]} large, the first one was {s.field.shape[:2]}; add a size"
        )
    return pixels
