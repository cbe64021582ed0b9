"""Cameras that are plugged in, the page that shows them, and the file that names them."""

import time
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until

from fewstep.envs.cameras.camera_config import CameraConfig, read_cameras
from fewstep.envs.cameras.devices import Device, find_devices
from fewstep.envs.cameras.page import CameraPage
from fewstep.envs.cameras.rings import PictureRing
from fewstep.policy.cli.main import main

TWO = "cameras={a: {source: simulated, width: 64, height: 48}, b: simulated}"


def plug_in(folder: Path, name: str, index: int, model: str) -> None:
    (folder / "class" / name).mkdir(parents=True)
    (folder / "class" / name / "index").write_text(f"{index}\n")
    (folder / "class" / name / "name").write_text(f"{model}\n")
    (folder / "dev").mkdir(exist_ok=True)
    (folder / "dev" / name).touch()


def test_devices_are_found_by_links_that_last_without_their_nodes_of_data(tmp_path: Path) -> None:
    for k, (index, model) in enumerate([(0, "HD Webcam"), (1, "HD Webcam"), (0, "Wrist")]):
        plug_in(tmp_path, f"video{k}", index, model)
    plug_in(tmp_path, "video10", 0, "Depth")
    links = tmp_path / "v4l"
    for kind, name, node in [
        ("by-id", "usb-HD-index0", "video0"),
        ("by-path", "pci-0:1", "video0"),
        ("by-path", "pci-0:2", "video2"),
    ]:
        (links / kind).mkdir(parents=True, exist_ok=True)
        (links / kind / name).symlink_to(tmp_path / "dev" / node)
    dev = tmp_path / "dev"
    assert find_devices(tmp_path / "class", links, dev) == [
        Device(str(links / "by-id" / "usb-HD-index0"), str(dev / "video0"), "HD Webcam"),
        Device(str(links / "by-path" / "pci-0:2"), str(dev / "video2"), "Wrist"),
        Device(str(dev / "video10"), str(dev / "video10"), "Depth"),
    ]


def test_where_there_are_none_nothing_is_found(tmp_path: Path) -> None:
    assert find_devices(tmp_path / "none", tmp_path, tmp_path) == []


def test_names_write_a_file_that_record_and_run_take(tmp_path: Path, capsys) -> None:
    out = tmp_path / "cameras.yaml"
    assert main(["cameras", TWO, "names=[front,wrist]", f"out={out}"]) == 0
    assert read_cameras(str(out)) == {
        "front": CameraConfig("simulated", 64, 48),
        "wrist": CameraConfig("simulated"),
    }
    assert "64x48 at" in capsys.readouterr().out
    assert main(["cameras", TWO, "names=[front,wrist]", f"out={out}"]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["cameras={a: /dev/video77}"], "none of these cameras gives pictures"),
        (["cameras={a: {source: simulated, format: h264}}"], "a.format must be mjpeg or yuyv422"),
        ([TWO, "names=[front]"], "names= has 1, and there are 2 cameras"),
        ([TWO, "names=[front,front]"], "cameras need names that differ"),
        ([TWO, "names=[front,'the wrist']"], "cannot be called 'the wrist'"),
    ],
)
def test_what_cannot_be_is_told(settings: list[str], said: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "cameras.yaml"
    assert main(["cameras", *settings, f"out={out}"]) != 0
    captured = capsys.readouterr()
    assert said in " ".join((captured.out + captured.err).split())
    assert not out.exists()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_on_the_page_a_person_sees_every_camera_and_names_it(tmp_path: Path) -> None:
    rings = {"camera0": PictureRing((48, 64), 30.0), "camera1": PictureRing((48, 64), 30.0)}
    written: list[dict[str, str]] = []

    def write(names: dict[str, str]) -> str:
        written.append(names)
        return "cameras.yaml is written"

    def look() -> dict[str, str]:
        return {"camera0": "", "camera1": "is black"}

    page = CameraPage(rings, {"camera0": "HD Webcam", "camera1": "Wrist"}, 0, write, look)
    try:
        with browser(tmp_path) as tab:
            tab.call("Page.navigate", url=page.address)

            def shown() -> bool:
                for k, ring in enumerate(rings.values()):
                    ring.write(time.monotonic(), np.full((48, 64, 3), 100 + 100 * k, np.uint8))
                page.look()
                return (
                    tab.run(
                        "[...document.querySelectorAll('canvas')].map(c => "
                        "c.getContext('2d').getImageData(9, 9, 1, 1).data[0]).join()"
                    )
                    == "100,200"
                )

            until(shown)
            until(lambda: shown() and "is black" in tab.run("document.body.innerText"))
            tab.run("document.querySelectorAll('input')[0].value = 'front'")
            tab.run("document.querySelectorAll('input')[1].value = ''")
            tab.run("document.querySelector('button').click()")

            def said() -> bool:
                page.look()
                return tab.run("document.getElementById('said').textContent") == (
                    "cameras.yaml is written"
                )

            until(said)
    finally:
        page.close()
    assert written == [{"camera0": "front"}]
