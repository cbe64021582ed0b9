"""docs/architecture.md and docs/glossary.md speak of what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
PLACES = re.compile(r"(?:policy|envs|demos|configs|tests)/[\w/]*(?:\.py)?")
SUBSYSTEMS = sorted(
    folder
    for room in ("policy", "envs", "demos")
    for folder in (ROOT / room).iterdir()
    if folder.is_dir() and not folder.name.startswith("_")
)


@pytest.mark.parametrize("document", [ARCHITECTURE, GLOSSARY], ids=["architecture", "glossary"])
def test_places_that_are_named_are_there(document: str) -> None:
    missing = {place for place in PLACES.findall(document) if not (ROOT / place).exists()}
    assert not missing


@pytest.mark.parametrize(
    "folder", SUBSYSTEMS, ids=lambda folder: f"{folder.parent.name}/{folder.name}"
)
def test_every_folder_of_a_room_is_drawn(folder: Path) -> None:
    assert f" {folder.name}/" in ARCHITECTURE
