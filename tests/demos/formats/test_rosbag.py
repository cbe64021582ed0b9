import sqlite3
import tracemalloc
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.demos.episode import Episode
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, Field

pytest.importorskip("rosbags")
pytest.importorskip("PIL")

from bags import LATE, Message, command, compressed, encoded, joints, pose, raw, write


def arm(seconds: float = 1.0, start: float = 0.0) -> list[Message]:
    """Joints a = t, b = -2 t at 100 Hz, and commands a = t + 1 at 50 Hz."""
    times = start + np.arange(round(seconds * 100) + 1) / 100
    return [joints(t, (t, -2 * t)) for t in times] + [command(t, (t + 1, 0)) for t in times[::2]]


JOINTS = "joints: {topic: /joint_states, value: position}"
ACTIONS = "actions: {joints: {topic: /joint_commands, value: data}}"


def yaml(observations: str = JOINTS, actions: str = ACTIONS, hz: str = "hz: 20") -> str:
    return f"{hz}\nobservations:\n  {observations}\n{actions}\n"


def episode(path: Path, fields: str) -> Episode:
    """Before a store compresses its images."""
    from fewstep.demos.formats.rosbag.reading import read

    file = path.with_suffix(".yaml")
    file.write_text(fields)
    with read(path, Choice(fields=str(file))) as source:
        (found,) = source.episodes
    return found


def imported(path: Path, fields: str | None = None, **choice: Any) -> DemoStore:
    file, out = path.with_suffix(".yaml"), path.with_suffix(".zarr")
    file.write_text(yaml() if fields is None else fields)
    import_demonstrations(path, out, Choice(fields=str(file), **choice))
    return DemoStore.open(out)


@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
@pytest.mark.parametrize("bare", [False, True])
def test_every_kind_of_bag_gives_the_same_episode(tmp_path: Path, kind: str, bare: bool) -> None:
    path = write(tmp_path / ("a.bag" if kind == "bag" else "a"), arm(), kind)
    if bare and kind != "bag":
        path = next(path.glob(f"*.{kind}"))
    store = imported(path)
    time = np.arange(21) / 20
    np.testing.assert_allclose(store.array("time"), time, rtol=1e-12)
    np.testing.assert_allclose(store.array("joints"), np.stack([time, -2 * time], 1), atol=1e-6)
    np.testing.assert_allclose(store.array("action"), np.stack([time + 1, 0 * time], 1), atol=1e-6)
    assert dict(store.spec.observations) == {"joints": Field((2,), names=("a", "b"))}
    assert store.success == [None]
    assert store.provenance["times"] == {
        "/joint_states": "header.stamp",
        "/joint_commands": "reception",
    }


def test_bags_without_definitions_are_read_as_ros_2_defines_them(tmp_path: Path) -> None:
    path = next(write(tmp_path / "a", arm(), "db3").glob("*.db3"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM message_definitions")
        database.execute("UPDATE topics SET type_description_hash = ''")
    assert imported(path).frames == 21


def test_a_folder_of_bags_has_one_episode_each_in_the_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bags"
    folder.mkdir()
    (folder / "notes.txt").write_text("not a bag")
    for k, kind in ((10, "bag"), (2, "bag"), (1, "mcap")):
        write(folder / f"try_{k}{'.bag' if kind == 'bag' else ''}", arm(k / 10, start=k), kind)
    store = imported(folder)
    assert np.diff([0, *store.ends]).tolist() == [3, 5, 21]
    np.testing.assert_allclose(store.array("joints")[[0, 3, 8], 0], [1, 2, 10], rtol=1e-6)


def test_frames_begin_when_all_are_heard_and_end_with_the_first_that_ends(tmp_path: Path) -> None:
    messages = [m for m in arm(2.0) if m.topic != "/joint_commands"]
    messages += [command(t, (t, 0)) for t in 0.33 + np.arange(31) / 50]
    store = imported(write(tmp_path / "a", messages), hz=50.0)
    assert (store.frames, store.spec.policy_hz) == (31, 50)
    np.testing.assert_allclose(store.array("joints")[:, 0], 0.33 + np.arange(31) / 50, atol=1e-6)


def test_messages_stand_for_the_time_of_their_header_else_of_their_reception(
    tmp_path: Path,
) -> None:
    times = np.arange(101) / 100
    for stamped in (True, False):
        messages = [joints(t, (t, 0), stamped=stamped) for t in times] + [
            command(t, (t, 0)) for t in times
        ]
        store = imported(write(tmp_path / str(stamped), messages))
        late = 0 if stamped else LATE / 1e9
        begin = store.array("action")[:, 0]
        np.testing.assert_allclose(store.array("joints")[:, 0], begin - late, atol=1e-6)
        assert store.provenance["times"]["/joint_states"] == (
            "header.stamp" if stamped else "reception"
        )


def test_messages_that_come_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    messages = arm()
    shuffled = [
        m._replace(time=m.time + 0.2 * (k % 3)) if m.topic == "/joint_states" else m
        for k, m in enumerate(messages)
    ]
    store = imported(write(tmp_path / "a", shuffled))
    np.testing.assert_allclose(store.array("joints")[:, 0], np.arange(21) / 20, atol=1e-6)


def test_names_pick_and_order_joints_whatever_order_a_message_has(tmp_path: Path) -> None:
    times = np.arange(51) / 50
    messages = [command(t, (t, 0)) for t in times]
    for k, t in enumerate(times):
        messages.append(
            joints(t, *([(t, 5, 7), ("a", "b", "c")] if k % 2 else [(7, t, 5), ("c", "a", "b")]))
        )
        messages.append(joints(t, (9,), ("finger",)))  # a gripper on the same topic
    store = imported(
        write(tmp_path / "a", messages), yaml(f"{JOINTS[:-1]}, names: [c, a], unit: rad}}")
    )
    assert store.spec.observations["joints"] == Field((2,), "rad", names=("c", "a"))
    np.testing.assert_allclose(
        store.array("joints"), np.stack([np.full(21, 7), np.arange(21) / 20], 1), atol=1e-6
    )


def test_between_messages_lines_angles_and_rotations_are_followed_and_discrete_values_held(
    tmp_path: Path,
) -> None:
    times = np.arange(21) / 10
    turn = np.pi * times  # about x, seen at 10 Hz; quaternions change their sign as they like
    sign = np.where(np.arange(21) % 3 == 0, -1, 1)
    messages = [
        pose(
            t,
            (t, t**2, a % (2 * np.pi) - np.pi),
            s * np.array([np.sin(a / 2), 0, 0, np.cos(a / 2)]),
        )
        for t, a, s in zip(times, turn, sign, strict=True)
    ]
    fields = """
  line: {topic: /tool/pose, value: pose.position, unit: m}
  angle: {topic: /tool/pose, value: pose.position.z, kind: angle, unit: rad}
  held: {topic: /tool/pose, value: pose.position.x, kind: discrete}
  rotation: {topic: /tool/pose, value: pose.orientation}
"""
    actions = "actions: {x: {topic: /tool/pose, value: pose.position.x, measured_by: held, low: [-9], high: [9]}}"
    store = imported(write(tmp_path / "a", messages), yaml(fields.strip(), actions, "hz: 40"))
    t = np.arange(81) / 40
    np.testing.assert_allclose(store.array("line")[:, 0], t, atol=1e-6)
    np.testing.assert_allclose(store.array("line")[:, 1], np.interp(t, times, times**2), atol=1e-6)
    np.testing.assert_allclose(store.array("held")[:, 0], np.floor(t * 10 + 1e-6) / 10, atol=1e-6)
    away = store.array("angle")[:, 0] - (np.pi * t - np.pi)
    np.testing.assert_allclose((away + np.pi) % (2 * np.pi), np.pi, atol=1e-5)
    want = np.stack([np.cos(np.pi * t / 2), np.sin(np.pi * t / 2), 0 * t, 0 * t], 1)  # w, x, y, z
    rotation = store.array("rotation")
    assert store.spec.observations["rotation"].kind == "quaternion"
    assert abs((rotation * want).sum(1)).min() > 1 - 1e-4
    np.testing.assert_allclose(np.linalg.norm(rotation, axis=1), 1, rtol=1e-6)
    assert store.spec.actions["x"] == Field((1,), measured_by="held", low=(-9,), high=(9,))


def test_a_frame_shows_the_latest_picture_and_never_a_later_one(tmp_path: Path) -> None:
    shots = np.arange(31) / 30 + 0.001
    pictures = [raw(t, np.full((4, 6, 3), k, np.uint8)) for k, t in enumerate(shots)]
    data = episode(write(tmp_path / "a", arm() + pictures), yaml("camera: {topic: /camera}")).data
    seen = data["camera"][:, 0, 0, 0]
    now = shots[0] + data["time"]
    assert (shots[seen] <= now + 1e-6).all()
    assert (shots[np.minimum(seen + 1, 30)] > now - 1e-6)[seen < 30].all()


def test_pictures_at_the_rate_of_the_frames_are_all_shown(tmp_path: Path) -> None:
    """A thirtieth of a second is no whole number of ns, and stamps are rounded."""
    pictures = [
        raw(k / 30 + (k % 3 - 1) * 2e-7, np.full((4, 6, 3), k, np.uint8)) for k in range(31)
    ]
    data = episode(
        write(tmp_path / "a", arm() + pictures), yaml("camera: {topic: /camera}", hz="hz: 30")
    ).data
    np.testing.assert_array_equal(data["camera"][:, 0, 0, 0], np.arange(len(data["camera"])))
    assert len(data["camera"]) in (30, 31)


COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)


@pytest.mark.parametrize(
    ("encoding", "channels", "order"),
    [
        ("rgb8", 3, [0, 1, 2]),
        ("bgr8", 3, [2, 1, 0]),
        ("rgba8", 4, [0, 1, 2]),
        ("bgra8", 4, [2, 1, 0]),
        ("mono8", 1, [0, 0, 0]),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
def test_raw_images_of_every_encoding_become_rgb(
    tmp_path: Path, encoding: str, channels: int, order: list[int], padding: int
) -> None:
    messages = [raw(t, COLOURS[:, :, :channels], encoding, padding) for t in (0, 1)]
    found = episode(write(tmp_path / "a", arm() + messages), yaml("camera: {topic: /camera}"))
    np.testing.assert_array_equal(found.data["camera"][3], COLOURS[:, :, order])


@pytest.mark.parametrize(
    ("data", "format_", "want"),
    [
        (encoded(COLOURS[:, :, :3], "png"), "png", COLOURS[:, :, :3]),
        (encoded(COLOURS, "png"), "rgba8; png compressed bgr8", COLOURS[:, :, :3]),
        (encoded(COLOURS[:, :, 0], "png"), "mono8; png compressed ", COLOURS[:, :, [0, 0, 0]]),
        (encoded(COLOURS[:, :, 2::-1], "png"), "rgb8; png compressed rgb8", COLOURS[:, :, :3]),
        (
            encoded(np.full((5, 7, 3), (200, 90, 10), np.uint8), "jpeg", quality=95),
            "jpeg",
            np.full((5, 7, 3), (200, 90, 10)),
        ),
    ],
)
def test_compressed_images_become_rgb(
    tmp_path: Path, data: bytes, format_: str, want: np.ndarray
) -> None:
    messages = [compressed(t, data, format_) for t in (0, 1)]
    found = episode(write(tmp_path / "a", arm() + messages), yaml("camera: {topic: /camera}"))
    np.testing.assert_allclose(
        found.data["camera"][3].astype(int), want, atol=3 if format_ == "jpeg" else 0
    )


def test_images_are_resized_to_height_and_width(tmp_path: Path) -> None:
    halves = np.zeros((40, 60, 3), np.uint8)
    halves[:, 30:] = 240
    messages = [raw(t, halves) for t in (0, 1)]
    found = episode(
        write(tmp_path / "a", arm() + messages), yaml("camera: {topic: /camera, size: [8, 16]}")
    )
    assert found.spec.observations["camera"] == Field((8, 16, 3), kind="image")
    columns = found.data["camera"][0, :, :, 0][:, [0, 6, 9, 15]]
    np.testing.assert_array_equal(columns, np.tile([0, 0, 240, 240], (8, 1)))


def test_keys_and_cameras_choose_among_the_fields(tmp_path: Path) -> None:
    both = yaml(f"{JOINTS}\n  camera: {{topic: /camera}}", ACTIONS[:-2] + ", measured_by: joints}}")
    path = write(tmp_path / "a", arm() + [raw(t, COLOURS[:, :, :3]) for t in (0, 1)])
    for k, (choice, want) in enumerate([({"cameras": ()}, "joints"), ({"keys": ()}, "camera")]):
        path = path.rename(tmp_path / f"{k}")
        spec = imported(path, both, **choice).spec
        assert set(spec.observations) == {want}
        assert spec.actions["joints"].measured_by == ("joints" if want == "joints" else "")
    for choice, message in [
        ({"keys": ("camera",)}, r"'camera' holds images: choose it with cameras=\[camera\]"),
        ({"cameras": ("wrist",)}, "no camera 'wrist'; valid: camera"),
    ]:
        with pytest.raises(DataError, match=message):
            imported(path, both, **choice)


def test_without_a_file_of_fields_the_error_holds_one_that_works(tmp_path: Path) -> None:
    still = (1, 2, 3), (0, 0, 0, 1)
    messages = [
        *arm(),
        *(pose(t, *still) for t in (0, 1)),
        *(raw(t, COLOURS[:, :, :3]) for t in (0, 1)),
    ]
    path = write(tmp_path / "a", messages)
    with pytest.raises(DataError, match=r"needs fields=FILE\.yaml") as caught:
        import_demonstrations(path, tmp_path / "out")
    text = str(caught.value)
    for topic, type_, count in {
        (m.topic, m.type, sum(n.topic == m.topic for n in messages)) for m in messages
    }:
        assert f"  {topic}  {type_}  {count} messages\n" in text
    store = imported(path, text[text.index("\nhz: 20") :])
    assert {key: field.shape for key, field in store.spec.observations.items()} == {
        "camera": (96, 96, 3),
        "joint_states": (2,),
        "tool_pose": (3,),
    }
    assert {key: field.shape for key, field in store.spec.actions.items()} == {
        "joint_commands": (2,)
    }


OF = "x: {topic: /joint_states, "


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            yaml("x: {topic: /joints}"),
            "no topic /joints for 'x'; valid: /joint_commands, /joint_states",
        ),
        (
            yaml(OF + "value: names}"),
            "no 'names' on the way to 'names'; valid: effort, header, name, position, vel",
        ),
        (
            yaml("x: {topic: /joint_states}"),
            r"JointState\) for 'x': 'the message' is no number.* valid: position",
        ),
        (yaml(OF + "value: header.frame_id}"), "'header.frame_id' is no number"),
        (yaml(OF + "value: velocity}"), "'velocity' is empty; valid: position"),
        (yaml(OF + "value: position, names: [a, c]}"), "no joint c; valid: a, b"),
        (yaml(OF + "value: position, names: [c, d]}"), "no message about c, d"),
        (yaml(OF + "value: position, low: [1, 2, 3]}"), "low has 3 elements, the field has 2"),
        (yaml(OF + "value: position, kind: curved}"), "unknown kind 'curved'; valid: angle"),
        (yaml(OF + "value: position, kind: quaternion}"), "a quaternion has shape"),
        (
            yaml(OF + "value: position, units: rad}"),
            "observations.x: unknown entry units; valid: acceleration",
        ),
        (yaml(OF + "value: position, low: 3}"), "observations.x.low: expected a list"),
        (
            yaml(OF + "value: position, size: [8]}"),
            r"x.size must be \[height, width\] in pixels, not \[8\]",
        ),
        (yaml(OF + "value: position, size: [8, 8]}"), "only a camera takes a size"),
        (yaml("x: 5"), "observations.x: expected a table, not 5"),
        (yaml("time: {topic: /joint_states, value: position}"), "cannot be called 'time'"),
        (yaml(actions=""), "at least one action field"),
        (
            yaml(actions=ACTIONS[:-2] + ", measured_by: arm}}"),
            "measured by 'arm', which is no observation; valid: joints",
        ),
        (yaml(hz=""), "names no rate to resample to: add `hz: 20`"),
        (yaml(hz="hz: -5"), "policy_hz must be positive"),
        (yaml(hz="hz: fast"), "hz: expected float, not 'fast'"),
        (yaml(f"{JOINTS}\n  {JOINTS}"), "it has 'joints' twice"),
        (yaml("x: {topic: !!python/object/apply:os.getcwd []}"), "no YAML file of fields"),
        ("hz: [", "no YAML file of fields"),
        ("- a", "expected a table"),
    ],
)
def test_a_file_of_fields_that_does_not_fit_says_why(
    tmp_path: Path, fields: str, message: str
) -> None:
    refused(write(tmp_path / "in", arm(0.2)), fields, message)


SQUARE = np.zeros((4, 4, 3), np.uint8)
DEPTH = encoded(SQUARE[:, :, 0].astype(np.uint16), "png")
CAMERA = yaml("camera: {topic: /camera}")


@pytest.mark.parametrize(
    ("messages", "fields", "message"),
    [
        ([], yaml(), "no topic /joint_states for 'joints'; valid: .none."),
        ([command(0.501, (1, 2, 3))], yaml(), "'data' has 3 numbers, the first message had 2"),
        (
            [raw(0, SQUARE[:, :, :2], "yuv422")],
            CAMERA,
            "encoded as 'yuv422'; valid: bgr8, bgra8, mono8, rgb8, rgba8",
        ),
        (
            [raw(0, SQUARE), raw(1, SQUARE[:3])],
            CAMERA,
            r"image is \(3, 4\) large, the first one was \(4, 4\); add a size",
        ),
        (
            [joints(0.501, (1,), ("finger",))],
            yaml(),
            "are about a, b, and about finger: give names",
        ),
        (
            [raw(0, SQUARE)],
            CAMERA.replace("camera}", "camera, value: data}"),
            "a camera takes no value",
        ),
        ([raw(0, SQUARE, "rgba8")], CAMERA, "4 x 4 in rows of 12 bytes cannot have 48 bytes"),
        (
            [compressed(0, b"nonsense", "jpeg")],
            CAMERA,
            "cannot decode an image of format 'jpeg'.* valid: jpeg, png",
        ),
        (
            [compressed(0, encoded(SQUARE, "bmp"), "bmp")],
            CAMERA,
            "cannot decode an image of format 'bmp'",
        ),
        (
            [compressed(0, DEPTH, "16UC1; png")],
            CAMERA,
            "'16UC1; png' is of mode I;16; valid: L, RGB, RGBA",
        ),
        ([compressed(0, DEPTH[:40], "png")], CAMERA, "cannot decode an image of format 'png'"),
        (
            [raw(0, SQUARE)],
            yaml(actions="actions: {x: {topic: /camera}}"),
            "action 'x' .* cannot be an image",
        ),
    ],
)
def test_messages_that_do_not_fit_say_why(
    tmp_path: Path, messages: list[Message], fields: str, message: str
) -> None:
    refused(write(tmp_path / "in", [*arm(), *messages] if messages else []), fields, message)


def test_topics_that_never_overlap_or_fall_silent_are_told(tmp_path: Path) -> None:
    early = [m for m in arm(3) if (m.time < 1) == (m.topic == "/joint_states")]
    refused(
        write(tmp_path / "in", early),
        yaml(),
        "all topics are heard: /joint_commands 1.000 to 3.000 s, /joint_st",
    )
    jump = [
        *arm(),
        joints(-1.69e9, (0, 0)),
        command(-1.69e9, (0, 0)),
    ]  # a computer whose clock was set while it ran
    refused(write(tmp_path / "jump", jump), yaml(), "frames: does a clock jump")
    silent = [m for m in arm(9) if not (m.topic == "/joint_commands" and 2 < m.time < 6)]
    path = write(tmp_path / "silent", silent)
    refused(
        path, yaml(), r"topic /joint_commands .*: silent for 4.0 s, 2.0 s after the first frame"
    )
    held = imported(path, yaml(actions=ACTIONS[:-2] + ", kind: discrete}}"))
    np.testing.assert_allclose(held.array("action")[[40, 60, 119, 120], 0], [3, 3, 3, 7], atol=1e-6)


def refused(path: Path, fields: str, message: str) -> None:
    before = {left.name for left in path.parent.iterdir()} | {path.with_suffix(".yaml").name}
    with pytest.raises(DataError, match=message):
        imported(path, fields)
    assert {left.name for left in path.parent.iterdir()} == before


def test_a_bag_that_fails_in_the_middle_of_a_folder_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "bags"
    folder.mkdir()
    write(folder / "1", arm())
    write(folder / "2", [m for m in arm() if m.topic != "/joint_commands"])
    with pytest.raises(
        DataError,
        match=f"{folder / '2'} has no topic /joint_commands for 'joints'; valid: /joint_states",
    ):
        imported(folder)
    assert sorted(left.name for left in tmp_path.iterdir()) == ["bags", "bags.yaml"]


@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
def test_a_damaged_bag_is_called_so_whatever_part_is_damaged(tmp_path: Path, kind: str) -> None:
    whole = write(tmp_path / ("a.bag" if kind == "bag" else "a"), arm(0.2), kind)
    whole = whole if kind == "bag" else next(whole.glob(f"*.{kind}"))
    content, rng = whole.read_bytes(), np.random.default_rng(0)
    path = tmp_path / f"in.{kind}"
    for part in (0.0, 0.01, 0.3, 0.7, 0.99):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(DataError, match=f"cannot read {path} as a ROS bag"):
            imported(path)
    for _ in range(10):  # a changed number may be none the worse
        bad = bytearray(content)
        for place in rng.integers(0, len(bad), 30):
            bad[place] ^= 0xFF
        path.write_bytes(bad)
        with suppress(DataError):
            episode(path, yaml())
    assert not [left for left in tmp_path.iterdir() if left.name.startswith(".")]


def test_a_folder_whose_description_is_broken_is_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a", arm(0.2))
    for text in (
        "",
        "- 1",
        "rosbag2_bagfile_information: {version: 99}",
        "{",
        "rosbag2_bagfile_information: 5",
    ):
        (path / "metadata.yaml").write_text(text)
        with pytest.raises(DataError, match=f"cannot read {path} as a ROS bag"):
            imported(path)


def test_a_bag_cannot_run_what_its_definitions_say(tmp_path: Path) -> None:
    path = next(write(tmp_path / "a", arm(0.2), "db3").glob("*.db3"))
    sign = tmp_path / "sign"
    for name in (
        f"x/msg/X:\n  pass\nopen({str(sign)!r}, 'w')\nclass Y",
        f'x/msg/X"""\n    open({str(sign)!r}, "w")\n    """',
    ):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE message_definitions SET topic_type = ?", (name,))
            database.execute("UPDATE topics SET type = ?", (name,))
        with pytest.raises(DataError, match="cannot read"):
            imported(path)
    assert not sign.exists()


def test_pictures_of_a_bag_are_never_all_in_memory(tmp_path: Path) -> None:
    from fewstep.demos.formats.rosbag.reading import read

    pictures = [raw(k / 100, np.full((120, 160, 3), k, np.uint8)) for k in range(101)]
    path, fields = write(tmp_path / "a", arm() + pictures, "db3"), tmp_path / "fields.yaml"
    fields.write_text(yaml("camera: {topic: /camera, size: [60, 80]}"))
    with read(path, Choice(fields=str(fields))) as source:
        tracemalloc.start()
        (found,) = source.episodes
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found.data["camera"].shape == (21, 60, 80, 3)
    assert peak < 0.5 * len(pictures) * 120 * 160 * 3
