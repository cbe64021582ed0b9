"""What the documents name is there: files, headings, and the keys of commands."""

import re
from pathlib import Path

import pytest

from fewstep.envs import ConfigError
from fewstep.policy.cli.command import load
from fewstep.policy.cli.overrides import settings_from
from fewstep.policy.cli.verbs import VERBS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)")
COMMAND = re.compile(rf"^fewstep ({'|'.join(VERBS)}) ([^#\n]*)", re.M)
KEY = re.compile(r"(?:^|[ '])\+?([a-z_.]+)=")


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", document.read_text(), re.M):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def keys_of(verb: str) -> set[str]:
    """Return the keys of a verb, which an unknown one makes it list."""
    with pytest.raises(ConfigError) as error:
        settings_from(verb, load(verb).settings, ["no_such_key=1"])
    return set(str(error.value).rpartition(": ")[2].split(", "))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    for name, anchor in LINK.findall(document.read_text()):
        target = document.parent / name if name else document
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_use_keys_that_exist(document: Path):
    for verb, arguments in COMMAND.findall(document.read_text().replace("\\\n", " ")):
        known = keys_of(verb)
        for key in KEY.findall(arguments):
            group = key.partition(".")[0]
            assert key in known or group in known, f"fewstep {verb} {key}="
