"""The fields of an episode, and the messages of a bag that make them."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....envs import DataError, Field
from ....envs.errors import names, pick
from ...storage.images import ENCODINGS, EncodedImages, Spool
from .bag import Bag, damage, naming
from .fields import FieldEntry
from .values import (
    CAMERAS,
    find_numbers,
    follow_path,
    header_time,
    is_quaternion,
    joint_names,
    read_field,
    read_image,
)

# what an entry passes on to its Field
MEANING = ("unit", "low", "high", "measured_by", "velocity", "acceleration")


@dataclass(frozen=True)
class Subscription:
    """A field, and where its messages are.

    stamped: whether they carry their time; chosen: whether the joints were chosen, so that others
    may be passed over.
    """

    key: str
    entry: FieldEntry
    field: Field
    stamped: bool
    chosen: bool

    @property
    def is_image(self) -> bool:
        """Return whether it is made of pictures."""
        return self.field.is_image

    @property
    def topic(self) -> str:
        """Return where its messages are."""
        return self.entry.topic


@dataclass(frozen=True)
class Messages:
    """What was heard of a field.

    times: (m,) [ns], in order; values: (m, n), which pictures have not.
    """

    times: np.ndarray
    values: np.ndarray


def subscribe(bag: Bag, key: str, entry: FieldEntry) -> Subscription:
    """Return what the first message says about a field."""
    for topic, _, message in bag.messages([entry.topic]):
        with naming(f"{bag.where(topic)} for {key!r}"), damage(bag.path):
            field = _describe(message, entry, bag.topics[topic] in CAMERAS)
        if field:
            stamped = header_time(message) > 0
            chosen = bool(entry.names)
            return Subscription(key, replace(entry, names=field.names), field, stamped, chosen)
    raise DataError(f"{bag.where(entry.topic)} for {key!r}: no message{_about(entry)}")


def _describe(message: Any, entry: FieldEntry, camera: bool) -> Field | None:
    """Return the field that a message holds, None where it is about other joints."""
    if camera and entry.value:
        raise DataError("a camera takes no value")
    if entry.size and not camera:
        raise DataError("only a camera takes a size")
    meaning = {name: getattr(entry, name) for name in MEANING}
    if camera:
        shape = read_image(message, entry.size).shape
        return Field(shape, kind=entry.kind or "image", names=entry.names, **meaning)
    found = read_field(message, entry)
    if found is None:
        return None
    if not len(found):
        raise DataError(f"{entry.value!r} is empty; valid: {names(find_numbers(message))}")
    kind = "quaternion" if is_quaternion(follow_path(message, entry.value)) else "linear"
    known = joint_names(message)
    if len(known) != len(found):
        known = ()
    return Field(found.shape, kind=entry.kind or kind, names=entry.names or known, **meaning)


def hear(bag: Bag, subscriptions: Sequence[Subscription]) -> list[Messages]:
    """Read all messages; of pictures only the times."""
    by_topic: dict[str, list[int]] = defaultdict(list)
    for index, subscription in enumerate(subscriptions):
        bag.require(subscription.topic, subscription.key)
        by_topic[subscription.topic].append(index)
    times = [array("q") for _ in subscriptions]
    values = [array("d") for _ in subscriptions]
    for topic, time, message in bag.messages(by_topic):
        for index in by_topic[topic]:
            numbers = _numbers(bag, subscriptions[index], message)
            if numbers is not None:
                times[index].append(time)
                values[index].frombytes(numbers.tobytes())
    heard = []
    for index, subscription in enumerate(subscriptions):
        heard.append(_sort(bag, subscription, times[index], values[index]))
    return heard


def _numbers(bag: Bag, subscription: Subscription, message: Any) -> np.ndarray | None:
    """Return the numbers of a message, None where it is about other joints."""
    if subscription.is_image:
        return np.empty(0)
    entry = subscription.entry
    size = subscription.field.size
    with naming(f"{bag.where(subscription.topic)} for {subscription.key!r}"):
        found = read_field(message, entry)
        if found is None and not subscription.chosen:
            raise DataError(
                f"messages are about {names(entry.names)},"
                f" and about {names(joint_names(message))}: give names"
            )
        if found is not None and len(found) != size:
            raise DataError(
                f"{entry.value!r} has {len(found)} numbers, the first message had {size}"
            )
    return found


def _sort(bag: Bag, subscription: Subscription, times: array, values: array) -> Messages:
    """Put messages in the order of their times."""
    if not times:
        raise DataError(
            f"{bag.where(subscription.topic)} for {subscription.key!r}:"
            f" no message{_about(subscription.entry)}"
        )
    # where two have the same time, the later message stays the later
    order = np.argsort(times, kind="stable")
    if len(values):
        numbers = np.frombuffer(values).reshape(len(times), -1)
    else:
        numbers = np.empty((len(times), 0))
    return Messages(np.frombuffer(times, np.int64)[order], numbers[order])


def _about(entry: FieldEntry) -> str:
    return f" about {names(entry.names)}" if entry.names else ""


def read_images(
    bag: Bag,
    cameras: Sequence[Subscription],
    wanted: Mapping[str, np.ndarray],
    encoding: str,
) -> dict[str, EncodedImages]:
    """Return T pictures of each camera. wanted: the times (T,) of which."""
    encode = pick(ENCODINGS, encoding, "encoding of images").encode
    spools = {}
    frames = {}
    for camera in cameras:
        spools[camera.key] = Spool(len(wanted[camera.key]))
        frames[camera.key] = _frames_by_time(wanted[camera.key])
    for topic, time, message in bag.messages({camera.topic for camera in cameras}):
        for camera in cameras:
            if camera.topic != topic or time not in frames[camera.key]:
                continue
            with naming(f"{bag.where(topic)} for {camera.key!r}"), damage(bag.path):
                content = encode(_pixels(message, camera))
                spools[camera.key].put(content, *frames[camera.key][time])
    images = {}
    for camera in cameras:
        images[camera.key] = EncodedImages(spools[camera.key], camera.field.shape, encoding)
    return images


def _frames_by_time(times: np.ndarray) -> dict[int, list[int]]:
    """Return which frames show the picture of a time."""
    frames = defaultdict(list)
    for frame, time in enumerate(times.tolist()):
        frames[time].append(frame)
    return dict(frames)


def _pixels(message: Any, camera: Subscription) -> np.ndarray:
    pixels = read_image(message, camera.entry.size)
    if pixels.shape != camera.field.shape:
        raise DataError(
            f"an image is {pixels.shape[:2]} large, the first one was {camera.field.shape[:2]};"
            " add a size"
        )
    return pixels
