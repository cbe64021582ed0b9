"""ROS bags: .bag of ROS 1, folders, .db3 and .mcap of ROS 2, or a folder of such.

Each bag becomes one episode.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import DataError, Spec
from ....envs.files import require_plain
from ...episode import ACTION, TIME, Episode
from .. import is_bag
from ..choosing import Choice, Offer
from ..natural_order import natural_key
from ..source import Source, reader
from .bag import Bag, naming, open_bag
from .fields import FieldsFile, read_fields_file
from .resampling import latest_message, place_ticks, require_no_gaps, resample
from .skeleton import write_skeleton
from .subscriptions import Messages, Subscription, hear, read_images, subscribe
from .values import CAMERAS


@reader("ROS bags")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """Yield one episode for each bag, resampled.

    The rate is that of the choice, else of the file of fields.

    A message stands for the time in its header where that is set, else for that of its reception;
    the notes say which.
    Frames begin when all topics have been heard and end with the first topic that ends. Between two
    messages linear fields are interpolated, angles the short way round, quaternions on the sphere;
    of discrete fields and images, a frame has the latest.
    """
    bags = _list_bags(path)
    with open_bag(bags[0]) as bag:
        if not choice.fields:
            raise DataError(
                f"{bag.path} needs fields=FILE.yaml, which maps topics to fields;"
                f" {write_skeleton(bag)}"
            )
        plan = _choose_fields(bag, choice)
        observed = [subscribe(bag, key, entry) for key, entry in plan.observations.items()]
        commanded = [subscribe(bag, key, entry) for key, entry in plan.actions.items()]
    with naming(choice.fields):
        observations = {subscription.key: subscription.field for subscription in observed}
        actions = {subscription.key: subscription.field for subscription in commanded}
        spec = Spec(observations, actions, plan.hz)
    times = {}
    for subscription in (*observed, *commanded):
        times[subscription.topic] = "header.stamp" if subscription.stamped else "reception"
    notes = {
        "source": path.name,
        "format": "ROS bag",
        "fields": Path(choice.fields).name,
        "times": times,
    }
    resampler = BagResampler(observed, commanded, spec, choice.encoding())
    yield Source(spec, notes, map(resampler.read_episode, bags), len(bags), choice.encoding())


def _list_bags(path: Path) -> list[Path]:
    """Return one bag, or all in a folder; their files are plain ones, and lie in them."""
    if is_bag(path):
        bags = [path]
    else:
        bags = sorted(filter(is_bag, path.iterdir()), key=lambda bag: natural_key(bag.name))
    for bag in bags:
        require_plain(bag, None if bag == path else path)
        if bag.is_dir():
            for file in bag.iterdir():
                require_plain(file, bag)
    return bags


def _choose_fields(bag: Bag, choice: Choice) -> FieldsFile:
    """Return the file of fields, less what the choice leaves out."""
    plan = read_fields_file(Path(choice.fields))
    for key, entry in (*plan.observations.items(), *plan.actions.items()):
        bag.require(entry.topic, key)
    hz = choice.hz or plan.hz
    if not hz:
        raise DataError(
            f"{choice.fields} names no rate to resample to: add `hz: 20`, or give hz=20"
        )
    images = []
    numbers = []
    for key, entry in plan.observations.items():
        if bag.topics[entry.topic] in CAMERAS:
            images.append(key)
        else:
            numbers.append(key)
    with naming(choice.fields):
        chosen = Offer(numbers, images).choose(choice)
    observations = {}
    dropped = []
    for key, entry in plan.observations.items():
        if key in chosen:
            observations[key] = entry
        else:
            dropped.append(key)
    actions = {}
    for key, entry in plan.actions.items():
        lost = entry.measured_by in dropped
        actions[key] = replace(entry, measured_by="") if lost else entry
    return FieldsFile(hz, observations, actions)


@dataclass(frozen=True)
class BagResampler:
    """Makes an episode of a bag. images: how they shall be kept."""

    observed: Sequence[Subscription]
    commanded: Sequence[Subscription]
    spec: Spec
    images: str

    def read_episode(self, path: Path) -> Episode:
        """Return the one episode of a bag."""
        subscriptions = [*self.observed, *self.commanded]
        with open_bag(path) as bag:
            heard = list(zip(subscriptions, hear(bag, subscriptions), strict=True))
            ticks = _place_ticks(bag, heard, self.spec.policy_hz)
            cameras = []
            shown = {}
            for subscription, messages in heard:
                if subscription.is_image:
                    cameras.append(subscription)
                    latest = latest_message(messages.times, ticks)
                    shown[subscription.key] = messages.times[latest]
            data: dict[str, Any] = {**read_images(bag, cameras, shown, self.images)}
        actions = []
        for index, (subscription, messages) in enumerate(heard):
            if subscription.is_image:
                continue
            values = resample(subscription.field, messages.times, messages.values, ticks)
            if index < len(self.observed):
                data[subscription.key] = values
            else:
                actions.append(values)
        data[ACTION] = np.concatenate(actions, axis=1)
        data[TIME] = np.arange(len(ticks)) / self.spec.policy_hz
        return Episode(data, self.spec)


def _place_ticks(bag: Bag, heard: Sequence[tuple[Subscription, Messages]], hz: float) -> np.ndarray:
    """Return the times of the frames, (T,) [ns]; DataError where a topic is silent too long."""
    with naming(str(bag.path)):
        times = [(subscription.topic, messages.times) for subscription, messages in heard]
        ticks = place_ticks(times, hz)
    for subscription, messages in heard:
        if subscription.field.kind != "discrete":
            with naming(bag.where(subscription.topic)):
                require_no_gaps(messages.times, ticks)
    return ticks
