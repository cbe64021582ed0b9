"""How dense the code reads.

`python tests/benchmarks/density.py [folder ...]`, by default the library.

Counted over the syntax tree of every .py file: list, set and dict comprehensions and generator
expressions; assignments of a literal tuple to a tuple (`a, b = x, y`); walruses. A line of code is
one that is not blank and holds more than a comment or a docstring. Lengths of names are means over
all `def` and their arguments, without self and cls.
"""

import ast
import io
import sys
import tokenize
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("policy", "envs", "demos")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SILENT_TOKENS = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
WIDTH = 100


@dataclass
class Counts:
    """What was counted over a set of files."""

    files: int = 0
    lines: int = 0
    code_lines: int = 0
    wide_lines: int = 0
    comprehensions: int = 0
    paired_assignments: int = 0
    walruses: int = 0
    functions: int = 0
    function_letters: int = 0
    arguments: int = 0
    argument_letters: int = 0
    longest_file: int = 0
    longest_function: int = 0

    def add(self, source: str) -> None:
        """Count one file."""
        tree = ast.parse(source)
        lines = source.splitlines()
        self.files += 1
        self.lines += len(lines)
        self.code_lines += len(code_lines(source, tree))
        self.wide_lines += sum(len(line) > WIDTH for line in lines)
        self.longest_file = max(self.longest_file, len(lines))
        for node in ast.walk(tree):
            self._add_node(node)

    def _add_node(self, node: ast.AST) -> None:
        self.comprehensions += isinstance(node, COMPREHENSIONS)
        self.walruses += isinstance(node, ast.NamedExpr)
        self.paired_assignments += is_paired(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.functions += 1
            self.function_letters += len(node.name.strip("_"))
            self.longest_function = max(self.longest_function, node.end_lineno - node.lineno + 1)
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
            self.arguments += len(names)
            self.argument_letters += sum(len(name) for name in names)


def is_paired(node: ast.AST) -> bool:
    """Whether a statement assigns a literal tuple to a tuple of names."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) for target in node.targets)


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.update(range(first.lineno, first.end_lineno + 1))
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT_TOKENS:
            found.update(range(token.start[0], token.end[0] + 1))
    return found - docstrings - {len(source.splitlines()) + 1}


def count(folder: Path) -> Counts:
    """Count all of a folder."""
    counts = Counts()
    for path in sorted(folder.rglob("*.py")):
        counts.add(path.read_text(encoding="utf-8"))
    return counts


def together(parts: list[Counts]) -> Counts:
    """Sums, and the longest of all."""
    total = Counts()
    for part in parts:
        for name in (field.name for field in fields(Counts)):
            join = max if name.startswith("longest") else sum
            setattr(total, name, join([getattr(total, name), getattr(part, name)]))
    return total


def row(name: str, counts: Counts) -> str:
    """One row of the table."""
    hundred = counts.code_lines / 100
    cells = [name, counts.files, counts.lines, counts.code_lines]
    cells += [
        f"{counts.comprehensions / hundred:.1f}",
        f"{counts.paired_assignments / hundred:.1f}",
    ]
    cells += [f"{counts.walruses / hundred:.2f}", f"{100 * counts.wide_lines / counts.lines:.1f} %"]
    cells += [f"{counts.function_letters / max(1, counts.functions):.1f}"]
    cells += [f"{counts.argument_letters / max(1, counts.arguments):.1f}"]
    cells += [counts.longest_file, counts.longest_function]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    """Print one row for each folder, and one for all of them."""
    folders = [Path(argument) for argument in sys.argv[1:]] or [ROOT / room for room in ROOMS]
    print(
        "| folder | files | lines | code | comprehensions/100 | pairs/100 | walruses/100 | wide |"
        " function name | argument name | longest file | longest function |"
    )
    print("|" + "---|" * 12)
    found = [count(folder) for folder in folders]
    for folder, counts in zip(folders, found, strict=True):
        print(row(folder.name, counts))
    if len(found) > 1:
        print(row("all", together(found)))


if __name__ == "__main__":
    main()
