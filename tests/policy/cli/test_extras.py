"""The extras of the package, and what errors say of them."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from fewstep.policy.cli.extras import LIBRARIES, extra_of

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Tasks by others pin versions of their own; dev is for those who change fewstep.
APART = {"pusht", "metaworld", "vit", "dev", "all"}


def package_name(requirement: str) -> str:
    """Return the name of a requirement, without its version and extras."""
    return re.split(r"[\[<>=~;! ]", requirement)[0].lower().replace("_", "-")


def listed(extra: str) -> set[str]:
    """Return the packages that an extra names itself."""
    return {package_name(requirement) for requirement in EXTRAS[extra]} - {"fewstep"}


@pytest.mark.parametrize("extra", LIBRARIES)
def test_the_extra_that_an_error_names_brings_the_library(extra):
    packages = packages_distributions()
    for library in LIBRARIES[extra]:
        names = {name.lower().replace("_", "-") for name in packages.get(library, [])}
        if names:  # else it is not installed here
            assert names & listed(extra), f"{library} is of {names}, which {extra} does not list"


def test_every_library_of_an_extra_is_known_to_errors():
    for extra, libraries in LIBRARIES.items():
        assert len(libraries) == len(listed(extra))
        assert all(extra_of(library) == extra for library in libraries)
    assert set(LIBRARIES) == set(EXTRAS) - {"all", "dev"}


def test_all_brings_every_extra_but_those_that_stand_apart():
    (requirement,) = EXTRAS["all"]
    named = set(re.findall(r"\w+", requirement.partition("[")[2]))
    assert named == set(EXTRAS) - APART
