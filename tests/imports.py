"""The imports between the files of the library, parsed from the source."""

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
    """An import statement, or a call of `importlib.import_module`.

    Attributes:
        file: The importing file, relative to the package.
        package: The package that it imports from, such as `frostline._weights` or `numpy`.
        name: The imported name; "" for the module itself.
        line: The text of its first line.
        late: Whether it is inside a function.
        typing_only: Whether only a type checker sees it.
    """

    file: str
    package: str
    name: str
    line: str
    late: bool = False
    typing_only: bool = False

    @property
    def module(self) -> str:
        """The imported module, also if `from package import name` names a module."""
        inside = SOURCE.joinpath(*self.package.split(".")[1:], self.name)
        is_file = inside.with_suffix(".py").is_file() or (inside / "__init__.py").is_file()
        return (
            f"{self.package}.{self.name}" if self.ours and self.name and is_file else self.package
        )

    @property
    def ours(self) -> bool:
        return self.package.partition(".")[0] == "frostline"

    @property
    def target(self) -> str:
        """The imported file, relative to the package."""
        path = pathlib.PurePosixPath(*self.module.split(".")[1:])
        is_file = (SOURCE / path).with_suffix(".py").is_file()
        return (path.with_suffix(".py") if is_file else path / "__init__.py").as_posix()


@dataclass(frozen=True)
class Source:
    """A file of the library."""

    path: pathlib.Path

    @property
    def name(self) -> str:
        return self.path.relative_to(SOURCE).as_posix()

    @cached_property
    def imports(self) -> list[Import]:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        return [
            Import(self.name, package, name, lines[line - 1], late, typing_only)
            for package, name, line, late, typing_only in _imports(ast.parse(text), False, False)
        ]


def room_of(file: str) -> str:
    """The top-level file or folder of the package that a file belongs to."""
    return file.partition("/")[0].removesuffix(".py")


def levels(edges: dict[str, set[str]]) -> dict[str, int]:
    """The level of each node: one more than the highest node that it imports, 1 if it has none.

    Raises:
        graphlib.CycleError: The imports form a cycle.
    """
    found: dict[str, int] = {}
    for node in graphlib.TopologicalSorter(edges).static_order():
        found[node] = 1 + max((found[below] for below in edges.get(node, ())), default=0)
    return found


_CHECKING = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _imports(
    node: ast.AST, late: bool, typing_only: bool
) -> Iterator[tuple[str, str, int, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        # The `else` of `if TYPE_CHECKING` does run.
        checked = typing_only or (
            isinstance(node, ast.If) and child in node.body and ast.unparse(node.test) in _CHECKING
        )
        for package, name in _modules(child):
            yield package, name, child.lineno, late, checked  # type: ignore[attr-defined]
        yield from _imports(child, late or isinstance(child, _FUNCTIONS), checked)


def _modules(node: ast.AST) -> list[tuple[str, str]]:
    """The imported modules and names; "" for the module itself."""
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.module, f"line {node.lineno}: write `from frostline...`"
        assert not node.level, f"line {node.lineno}: write `from frostline...`"
        return [(node.module, alias.name) for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        (called,) = (*node.args, *(keyword.value for keyword in node.keywords))
        return [(_text(called), "")]
    return []


def _text(node: ast.expr) -> str:
    """The name of a module; for an f-string, the package before its first brace."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    assert isinstance(first, ast.Constant), f"line {node.lineno}: name the module"
    return str(first.value).removesuffix(".")
