"""The imports among the files of the library, read from their text."""

from __future__ import annotations

import ast
import graphlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import frostline

SOURCE = pathlib.Path(frostline.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """An import statement, or a call of `importlib.import_module` with a name.

    Attributes:
        file: The file that it stands in, below the package.
        module: What it imports, `frostline._weights.view` or `numpy`.
        line: The text of its first line.
        late: Whether it stands inside a function.
        typing_only: Whether it is for a type checker alone.
    """

    file: str
    module: str
    line: str
    late: bool = False
    typing_only: bool = False

    @property
    def ours(self) -> bool:
        return self.module.partition(".")[0] == "frostline"

    @property
    def target(self) -> str:
        """The file below the package that it imports."""
        path = pathlib.PurePath(*self.module.split(".")[1:])
        is_file = (SOURCE / path).with_suffix(".py").is_file()
        return str(path.with_suffix(".py") if is_file else path / "__init__.py")


@dataclass(frozen=True)
class Source:
    """A file of the library."""

    path: pathlib.Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(SOURCE))

    @cached_property
    def imports(self) -> list[Import]:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        return [
            Import(self.name, module, lines[line - 1], late, typing_only)
            for module, line, late, typing_only in _imports(ast.parse(text), False, False)
        ]


def room_of(file: str) -> str:
    """The file or folder at the root of the package that a file is or lies in."""
    return file.partition("/")[0].removesuffix(".py")


def levels(edges: dict[str, set[str]]) -> dict[str, int]:
    """How high each node stands: one above the highest that it imports, 1 on the ground.

    Raises:
        graphlib.CycleError: The imports run in a circle.
    """
    found: dict[str, int] = {}
    for node in graphlib.TopologicalSorter(edges).static_order():
        found[node] = 1 + max((found[below] for below in edges.get(node, ())), default=0)
    return found


def _imports(node: ast.AST, late: bool, typing_only: bool) -> Iterator[tuple[str, int, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        for module in _modules(child):
            yield module, child.lineno, late, typing_only  # type: ignore[attr-defined]
        function = isinstance(child, (ast.FunctionDef, ast.Lambda))
        checked = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        yield from _imports(child, late or function, typing_only or checked)


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [_module(node.module, alias.name) for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
    return []


def _module(package: str, name: str) -> str:
    """What `from package import name` imports: a module of the package, or the package itself."""
    inside = SOURCE.joinpath(*package.split(".")[1:], name)
    if package.partition(".")[0] == "frostline" and (
        inside.with_suffix(".py").is_file() or (inside / "__init__.py").is_file()
    ):
        return f"{package}.{name}"
    return package
