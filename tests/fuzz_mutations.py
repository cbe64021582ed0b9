"""Ways in which an input can be wrong, each drawn by a generator."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3,
        10**3,
        10**9,
        2**31,
        2**63,
        10**18,
        10**400,
        0.5,
        -1.5,
        1e308,
        float("nan"),
    ),
    *(
        "",
        "x",
        "0",
        "../../etc/passwd",
        "/etc/passwd",
        "{0.__class__}",
        "{",
        "O",
        "|O",
        "<f8",
        "<M8[ns]",
        "|V1000000000",
    ),
    *(
        [],
        {},
        [[]],
        [0],
        [-1],
        [10**9, 10**9],
        ["a", "b"],
        {"id": "pickle"},
        {"id": "zlib", "level": 1},
    ),
]
NUMBERS = (
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01",
    b"\x80",
)
TEXTS = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 10_000,
    b"\xff\xfe",
    b"!!python/object:os.system",
    b"*a",
    b"&a [*a]",
)
WORDS = (".zarray", ".zattrs", ".zgroup", ".json", ".jsonl")
KEYS = ("x", "", "a.b.c", "hydra", "defaults", "_target_", "+x", "~x", "++a", "recipe", "-x", "--x")
GIVEN = (
    "1",
    "-1",
    "x",
    "[1,2]",
    "{a:1}",
    "null",
    "${x}",
    "${oc.env:HOME}",
    "???",
    "1e999",
    "[[",
    "a=b",
    "@",
    "",
)
LETTERS = "abz09=.,:[]{}()'\"\\$@~+-/ !#%*\t\nüß€\x00\x1b"


def damage(files: list[Path], rng: np.random.Generator) -> str:
    """Damage one file, the descriptions more often than the data; says how."""
    described = [file for file in files if file.name.endswith(WORDS)]
    file = pick(rng, described if described and rng.random() < 0.5 else files)
    ways = [_bytes] * 8 + [_file] + ([_structure] * 20 if file in described else [])
    return f"{file.name}: {pick(rng, ways)(file, rng)}"


def _bytes(file: Path, rng: np.random.Generator) -> str:
    content, done = bytearray(file.read_bytes()), []
    for _ in range(int(rng.integers(1, 5))):
        at, count = int(rng.integers(len(content) + 1)), int(rng.integers(1, 20))
        way = pick(rng, ("flip", "number", "insert", "delete", "copy", "cut", "text"))
        match way:
            case "flip":
                for place in rng.integers(0, max(len(content), 1), count if content else 0):
                    content[place] ^= 1 << int(rng.integers(8))
            case "number":
                new = pick(rng, NUMBERS)
                content[at : at + len(new)] = new
            case "insert":
                content[at:at] = rng.bytes(count)
            case "delete":
                del content[at : at + count]
            case "copy":
                content[at:at] = content[at : at + 50 * count]
            case "cut" if rng.random() < 0.3:
                del content[at:]
            case "text" if rng.random() < 0.3:
                content[at:at] = pick(rng, TEXTS)
        done.append(way)
    file.write_bytes(content)
    return " ".join(done)


def _file(file: Path, rng: np.random.Generator) -> str:
    way = pick(rng, ("gone", "empty", "folder", "pipe", "device", "leaving", "dangling", "loop"))
    file.unlink()
    match way:
        case "empty":
            file.touch()
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "gone":
            pass
        case _:
            file.symlink_to(
                {"device": "/dev/zero", "leaving": "/etc/passwd", "dangling": "/nothing"}.get(
                    way, file
                )
            )
    return way


def _structure(file: Path, rng: np.random.Generator) -> str:
    """Another value, or none, at some place of a JSON file, or of one line of JSON lines."""
    before, text, after = "", file.read_text(), ""
    if file.suffix == ".jsonl":
        lines = text.splitlines(keepends=True) or ["{}"]
        number = int(rng.integers(len(lines)))
        text = lines[number]
        before, after = "".join(lines[:number]), "\n" + "".join(lines[number + 1 :])
    content = json.loads(text)
    *path, last = pick(rng, list(_places(content))[1:] or [("x",)])
    inner = content
    for part in path:
        inner = inner[part]
    if rng.random() < 0.15 and last in (inner if isinstance(inner, dict) else range(len(inner))):
        del inner[last]
        value = "(deleted)"
    else:
        inner[last] = value = pick(rng, VALUES)
    file.write_text(before + json.dumps(content) + after)
    return f"{[*path, last]} = {value!r:.50}"


def _places(value: Any, path: tuple = ()) -> Any:
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from _places(part, (*path, key))


WORK = {  # of verbs that are really run: what makes them begin, in a folder of fuzz_inputs.workshop
    "check": ["data=work/store"],
    "export": ["data=work/store", "out=out"],
    "import": ["source=work/buffer", "data=out"],
}


def arguments(verbs: dict[str, list[str]], rng: np.random.Generator) -> list[str]:
    """A command line with a few words that are odd."""
    verb = pick(rng, [*sorted(verbs), *WORK, *WORK])
    return [
        verb,
        *WORK.get(verb, ()),
        *(_word(verbs[verb], rng) for _ in range(int(rng.integers(1, 4)))),
    ]


def _word(keys: list[str], rng: np.random.Generator) -> str:
    key, value = pick(rng, [*keys, *keys, *KEYS]), pick(rng, GIVEN)
    if rng.random() < 0.3:
        key = _odd(key, rng)
    if rng.random() < 0.5:
        value = _odd(value, rng)
    usual = f"{key}={value}"
    return pick(rng, (usual, usual, usual, key, f"{key}.{key}={value}", f"{key}@{value}"))


def _odd(text: str, rng: np.random.Generator) -> str:
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(text) + 1))
        text = text[:at] + pick(rng, list(LETTERS)) + text[at:]
    return text if rng.random() < 0.98 else "[" * 5000 + text


def pick(rng: np.random.Generator, things: Any) -> Any:
    """One of some things."""
    return things[int(rng.integers(len(things)))]


def copy(source: Path, to: Path) -> None:
    """A file or a folder."""
    shutil.copytree(source, to) if source.is_dir() else shutil.copyfile(source, to)
