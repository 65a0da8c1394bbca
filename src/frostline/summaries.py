"""What is frozen, in exact numbers: a table in a terminal, HTML in a notebook, plain data."""

from __future__ import annotations

import io
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from frostline._console import prints_utf
from frostline._errors import DependencyError, SummaryError
from frostline._summaries import html, table
from frostline._summaries.layers import (
    Line,
    Node,
    layers_of,
    lines,
    printed,
    tree_of,
    tree_of_paths,
)
from frostline._summaries.numbers import Row, Totals, described, numbers
from frostline._summaries.rows import row_of, slots_of
from frostline._weights.tree import unique, weights_of

if TYPE_CHECKING:  # pandas is no dependency
    from pandas import DataFrame

__all__ = ["Row", "Summary", "summary"]


class Summary(Totals):
    """What is frozen in a layer or model. It prints as a table.

    Attributes:
        name: The name of the target.
        rows: A tuple with a `Row` for each weight that an optimizer can train; a shared weight
            is listed once.
        layers: A tuple with a `Summary` for each layer that has several weights in it. Its name is
            the path of the layer. A layer in a layer has a `Summary` too, with some of the same
            rows.
        size: Entries of all weights: the trainable parameters of the plain model.
        frozen: Entries that are frozen.
        trainable: Entries that are not frozen.
        trained: Entries that train now: `trainable`, without layers with `trainable=False`.
        share: `frozen / size`, 0 to 1.
        slots_kept: Values that the optimizer keeps for what trains, without what it keeps once,
            such as its step count. None if the model is not compiled, or if this number depends on
            more than the size of a weight.
        slots_saved: Values that the optimizer need not keep because of the freeze; None as for
            `slots_kept`.
        optimizer_bytes_kept: `slots_kept` in bytes.
        optimizer_bytes_saved: `slots_saved` in bytes.
        delta_bytes: Bytes of a delta file: the values that train, and for a partly frozen weight an
            index of 4 bytes for each position along an axis (a row, column, filter or head) or for
            each single entry (8 if the weight has 2^31 entries or more). The header of the file
            does not count, nor do values that layers update themselves, which `extract_delta`
            includes.
    """

    def __init__(
        self,
        name: str,
        rows: tuple[Row, ...],
        tree: Node | None = None,
        *,
        depth: int | None = None,
        fold: bool = True,
    ) -> None:
        super().__init__(rows)
        self.name = name
        self._tree = tree_of_paths(name, self.rows) if tree is None else tree
        self._depth = depth
        self._fold = fold

    @property
    def layers(self) -> tuple[Summary, ...]:
        """The layers that have several weights in them, outer layers first."""
        return tuple(
            Summary(node.path, node.totals.rows, node, depth=self._depth, fold=self._fold)
            for node in layers_of(self._tree)
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data, which `json` can write.

        Returns:
            A dictionary with the keys `name`, `size`, `frozen`, `trained`, `share`, `slots_kept`,
            `slots_saved`, `optimizer_bytes_kept`, `optimizer_bytes_saved` and `delta_bytes`, each
            the attribute of that name; `layers`, a list of dictionaries with the same numbers and
            the `path` of a layer and its count of `weights`; and `weights`, a list of dictionaries
            with the same numbers and `path`, `shape`, `dtype`, `kind` and `trains` of each weight.
            All weights are listed, whatever the table folds. Later versions may add keys.

        Examples:
            >>> import keras, frostline as fl
            >>> layer = keras.layers.Dense(3)
            >>> layer.build((None, 4))
            >>> _ = fl.freeze(layer, "kernel", fl.at[0])
            >>> found = fl.summary(layer).to_dict()
            >>> found["frozen"], found["weights"][0]["shape"], found["weights"][0]["delta_bytes"]
            (3, [4, 3], 48)
        """
        return {
            "name": self.name,
            **numbers(self),
            "layers": [
                {"path": layer.name, "weights": len(layer.rows), **numbers(layer)}
                for layer in self.layers
            ],
            "weights": [{**described(row), "shape": list(row.shape)} for row in self.rows],
        }

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text.

        Args:
            indent: Spaces for each level. One line by default.

        Returns:
            The text, with `null` for None.

        Examples:
            >>> import json, keras, frostline as fl
            >>> layer = keras.layers.Dense(3)
            >>> layer.build((None, 4))
            >>> json.loads(fl.summary(layer).to_json())["trained"]
            15
        """
        return json.dumps(self.to_dict(), indent=indent)

    def to_dataframe(self) -> DataFrame:
        """The weights as a table of pandas, one row a weight.

        Returns:
            A `pandas.DataFrame` whose columns are the keys of a weight in `to_dict`, with shapes
            as tuples. All weights are in it, whatever the printed table folds.

        Raises:
            DependencyError: pandas is not installed.

        Examples:
            The partly frozen weights, without pandas:

            >>> import keras, frostline as fl
            >>> layer = keras.layers.Dense(3)
            >>> layer.build((None, 4))
            >>> _ = fl.freeze(layer, "kernel", fl.at[0])
            >>> [w["path"] for w in fl.summary(layer).to_dict()["weights"] if 0 < w["share"] < 1]
            ['kernel']
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            raise DependencyError(
                "to_dataframe: needs pandas, which is not installed; got no module named 'pandas'. "
                "Run: pip install pandas"
            ) from None
        return pandas.DataFrame([described(row) for row in self.rows])

    def __str__(self) -> str:
        stream = io.StringIO()
        # No colour system: `FORCE_COLOR` would put escapes into a plain string.
        console = Console(file=stream, force_jupyter=False, color_system=None)
        for part in self._parts(console.width, ascii_only=not prints_utf()):
            console.print(part)
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n"))

    def __repr__(self) -> str:
        return str(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table: with bars if there is room, without shapes if there is little."""
        yield from self._parts(options.max_width, ascii_only=options.ascii_only)

    def _repr_html_(self) -> str:
        # A click opens a closed layer, so only what equal blocks fold is missing.
        listed = [line for _, line in printed(self._lines, closed=True)]
        notes = table.notes(listed, self, None, self._fold)
        return html.page(table.title(self.name, self), self._lines, self, notes)

    def _parts(self, width: int, *, ascii_only: bool) -> RenderResult:
        listed = [line for _, line in printed(self._lines)]
        yield Text(table.title(self.name, self))
        yield table.table(self._lines, self, width, ascii_only=ascii_only)
        yield Text("\n".join(table.notes(listed, self, self._depth, self._fold)))

    @cached_property
    def _lines(self) -> tuple[Line, ...]:
        return lines(self._tree, self._depth, self._fold)


def summary(target: Any, *, depth: int | None = None, fold: bool = True) -> Summary:
    """List what is frozen of each weight of a layer or model, in exact numbers.

    Args:
        target: A built layer or model. If it is a compiled model, the table says how many bytes
            its optimizer keeps, and how many the freeze saves.
        depth: How many levels of layers the table lists; 1 lists only the layers of the target
            itself. A layer further down adds to the line of the layer around it. All by default.
        fold: Show three or more equal blocks in a row as one: their totals, and one of them with a
            range (`26.3 to 26.6%`) where counts differ. Blocks are equal if their weights have the
            same names up to numbers, shapes, dtypes and kinds of freeze. `fold=False` lists each.

    Returns:
        A `Summary`: print it for a table, end a notebook cell with it for HTML, or read `.rows`
        and `.to_dict()`, which hold every weight whatever the table folds. It reads no weight, so
        large weights take no more time.

    Raises:
        TargetError: `target` is not a layer or model.
        NotBuiltError: `target` has no weights yet.
        PathError: `target` has no weights that train.
        SummaryError: `depth` is not a positive integer.

    Note:
        Keras's `model.summary()` counts variables. Its total is that of the plain model, except
        for weights of kind `"positions"` and `"entries"`, whose frozen part is as large as the
        whole weight.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> model.compile("adam", "mse")
        >>> _ = fl.freeze(model, "hidden/kernel", fl.at[:2, :])
        >>> row = fl.summary(model).rows[0]
        >>> row.path, row.frozen, row.size, row.share, row.kind, row.slots_saved
        ('hidden/kernel', 6, 12, 0.5, 'block', 12)
        >>> hidden = fl.summary(model).layers[0]
        >>> hidden.name, hidden.frozen, hidden.size, hidden.trained, hidden.delta_bytes
        ('hidden', 6, 15, 9, 44)
        >>> hidden.optimizer_bytes_kept, hidden.optimizer_bytes_saved
        (72, 48)
    """
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 1):
        raise SummaryError(
            f"depth: a positive number of layers; got depth={depth!r}. "
            "Leave it out to see every weight."
        )
    found = unique(weights_of(target))
    slots = slots_of(target)
    rows = tuple(row_of(weight, slots) for weight in found)
    tree = tree_of(target.name, found, rows)
    return Summary(target.name, rows, tree, depth=depth, fold=fold)
