"""The shape of the source.

Who may import whom, nothing that loads code from files, no long files.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "envs": {"envs"},
    "demos": {"demos", "envs"},
    "policy": {"policy", "demos", "envs"},
    "configs": set(),
}
# Sub-folders of a room, from the lowest up; a file that stands in the room itself is below them,
# unless it is named.
LAYERS = {
    "envs": [
        ("web", "safety", "ros2"),
        ("teleop",),
        ("sim",),
        ("hardware", "cameras"),
        ("control",),
    ],
    "demos": [
        ("storage", "episode", "store"),
        ("curating", "spec_editing", "doctor", "formats", "recording"),
        ("viewer",),
    ],
    "policy": [
        ("networks",),
        ("diffusion",),
        ("normaliser",),
        ("policy",),
        ("checkpoint",),
        ("engines",),
        ("monitoring",),
        ("training", "serving"),
        ("evaluation",),
        ("cli",),
    ],
}
STORE = LAYERS["demos"][0]  # one idea in several files
MODULES = sorted(
    path.relative_to(ROOT) for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")
)
RUNS_CODE = {
    "pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "torch.load",
    "torch.save",
} | {
    f"hydra.utils.{name}"
    for name in ("call", "get_class", "get_method", "get_object", "instantiate")
}

# What only the command line may know.
OF_THE_COMMAND_LINE = {"hydra", "omegaconf", "rich"}

every_module = pytest.mark.parametrize("path", MODULES, ids=str)


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """What a module imports, at its top or later.

    Absolute dotted names, and how many dots the import starts with.
    """
    package = ("fewstep", *path.parent.parts)
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            yield from (
                (".".join([*parents, *filter(None, [node.module]), a.name]), node.level)
                for a in node.names
            )


def dotted(node: ast.AST) -> str:
    """`torch.load` for the expression torch.load; empty for anything but names and dots."""
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def loads_weights_only(call: ast.Call) -> bool:
    """Whether a call is torch.load that reads tensors and runs nothing."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    only = given.get("weights_only")
    return (
        dotted(call.func) == "torch.load" and isinstance(only, ast.Constant) and only.value is True
    )


@every_module
def test_imports_go_one_way(path: Path) -> None:
    rooms = {name.split(".")[1] for name, _ in imported(path) if name.startswith("fewstep.")}
    assert rooms <= MAY_IMPORT[path.parts[0]]


def layer(room: str, name: str) -> int:
    """How high a part of a room stands."""
    return next((i for i, names in enumerate(LAYERS[room], 1) if name in names), 0)


@every_module
def test_imports_within_a_room_go_down(path: Path) -> None:
    room, part = path.parts[0], path.with_suffix("").parts[1]
    if room not in LAYERS or part == "__init__":  # a room's face names what stands anywhere in it
        return
    own = layer(room, part)
    imports = {
        name.split(".")[2] for name, _ in imported(path) if name.startswith(f"fewstep.{room}.")
    }
    higher = {name for name in imports if layer(room, name) > own}
    beside = {name for name in imports if layer(room, name) == own and name != part and own} - {
        *STORE
    }
    assert not higher | beside


@every_module
def test_rooms_import_each_other_relatively(path: Path) -> None:
    assert not [
        name
        for name, dots in imported(path)
        if not dots and name.split(".")[0] in {"fewstep", *MAY_IMPORT}
    ]


@every_module
def test_nothing_that_runs_what_a_file_says(path: Path) -> None:
    nodes = list(ast.walk(parse(path)))
    safe = {call.func for call in nodes if isinstance(call, ast.Call) and loads_weights_only(call)}
    used = {name for name, _ in imported(path)}
    used |= {dotted(node) for node in nodes if node not in safe}
    assert not {name for name in used if name in RUNS_CODE or name.split(".")[0] in RUNS_CODE}


@every_module
def test_only_the_command_line_knows_hydra_and_rich(path: Path) -> None:
    if path.parts[:2] == ("policy", "cli"):
        return
    assert not {name.split(".")[0] for name, _ in imported(path)} & OF_THE_COMMAND_LINE


def module_name(path: Path) -> str:
    """The name that a file is imported by."""
    parts = ("fewstep", *path.with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(path: Path, names: set[str]) -> set[str]:
    """The modules of this project that a file imports, at its top or later."""
    found = set()
    for name, _ in imported(path):
        module = name if name in names else name.rpartition(".")[0]
        found.add(module)
    return found & names


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path) for path in MODULES}
    waiting = {module_name(path): imported_modules(path, names) for path in MODULES}
    while True:
        free = {name for name, imports in waiting.items() if not imports}
        if not free:
            break
        waiting = {name: imports - free for name, imports in waiting.items() if name not in free}
    assert not waiting, f"a circle is among {sorted(waiting)}"


@every_module
def test_no_assignment_hides_in_an_expression(path: Path) -> None:
    assert not [node for node in ast.walk(parse(path)) if isinstance(node, ast.NamedExpr)]


@every_module
def test_no_long_functions(path: Path) -> None:
    long = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last_line = node.end_lineno or node.lineno
            if last_line - node.lineno >= 50:
                long.add(node.name)
    assert not long


@every_module
def test_no_long_files(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 300


def test_configs_hold_data_only() -> None:
    for path in (p for p in MODULES if p.parts[0] == "configs"):
        assert all(
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            for node in parse(path).body
        )


def test_every_package_is_shipped() -> None:
    """A folder that pyproject.toml does not list twice would be missing from the wheel only."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {str(path.parent) for path in MODULES if path.name == "__init__.py"}
    assert folders == set(setuptools["package-dir"].values())
    assert set(setuptools["packages"]) == set(setuptools["package-dir"])


def test_a_robot_computer_needs_neither_torch_nor_mujoco() -> None:
    subprocess.run([sys.executable, ROOT / "tests" / "smoke_wheel.py", "imports"], check=True)


def test_no_command_waits_for_diffusers() -> None:
    """Importing it takes about as long as all the rest, and every worker of an evaluation would."""
    code = "import sys; from fewstep.policy.cli.main import main; main(['--help']); "
    code += "assert 'diffusers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
