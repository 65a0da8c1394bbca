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
    """What is frozen in a layer or model; printed it is a table.

    Attributes:
        name: The name of the target.
        rows: A tuple with a `Row` for each weight that an optimizer can train, shared ones once.
        layers: A tuple with a `Summary` for each layer that has several weights in it, named by
            its path; the rows of a layer are among those of the layers around it.
        size: Entries of all weights: the trainable parameters of the plain model.
        frozen: Entries that are frozen.
        trainable: Entries that are not.
        trained: Entries that train now: as `trainable`, without the layers that are off.
        share: `frozen / size`, 0 to 1.
        slots_kept: Values that the optimizer keeps for what trains; None where none is known.
            What it keeps once, as its step count, does not count.
        slots_saved: Optimizer values that need not exist; None where no optimizer is known.
        optimizer_bytes_kept: `slots_kept` in bytes.
        optimizer_bytes_saved: `slots_saved` in bytes.
        delta_bytes: Bytes of a file with what trains alone. It holds values, and where a weight
            trains in part an index of 4 bytes for each position along an axis (one a row, column,
            filter or head, however long) or for each single entry, of 8 bytes where the weight has
            2^31 entries or more. What a file format writes around them does not count,
            and neither does what `extract_delta` takes along for layers that update it themselves.
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
        """The layers that have several weights in them, the outer ones first."""
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
            Whatever the table folds, all are listed. Later versions may add keys.

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
            The text; what is None in the dictionary is `null`.

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
            as tuples. Whatever the printed table folds, all weights are in it.

        Raises:
            DependencyError: pandas is not installed.

        Examples:
            The weights that train in part, without pandas:

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
        """The table: with bars where there is room, without shapes where there is little."""
        yield from self._parts(options.max_width, ascii_only=options.ascii_only)

    def _repr_html_(self) -> str:
        # What lies deeper a notebook opens with a click; of blocks that are alike it has one.
        listed = sum(line.row is not None for _, line in printed(self._lines, closed=True))
        notes = table.notes(self, listed, None, self._fold)
        return html.page(table.title(self.name, self), self._lines, self, notes)

    def _parts(self, width: int, *, ascii_only: bool) -> RenderResult:
        listed = sum(line.row is not None for _, line in printed(self._lines))
        yield Text(table.title(self.name, self))
        yield table.table(self._lines, self, width, ascii_only=ascii_only)
        yield Text("\n".join(table.notes(self, listed, self._depth, self._fold)))

    @cached_property
    def _lines(self) -> tuple[Line, ...]:
        return lines(self._tree, self._depth, self._fold)


def summary(target: Any, *, depth: int | None = None, fold: bool = True) -> Summary:
    """Say what is frozen of each weight of a layer or model, in exact numbers.

    Args:
        target: A built layer or model. Where it is a compiled model, the table says how many bytes
            its optimizer keeps, and how many it need not keep.
        depth: How many layers down the table goes, 1 for those of the target alone. A layer that
            is not opened has one line with its totals. All the way down by default.
        fold: Show three or more layers in a row once, with their totals and the first of them, if
            all numbers in the table are equal for them and their names, up to the numbers in
            these. `fold=False` lists each.

    Returns:
        A `Summary`: print it for a table, end a notebook cell with it for HTML, or read `.rows`
        and `.to_dict()`, which hold every weight whatever the table folds. It takes no time that
        grows with the size of the weights.

    Raises:
        TargetError: `target` is not a layer or model.
        NotBuiltError: `target` has no weights yet.
        PathError: `target` has no weights that train.
        SummaryError: `depth` is not a positive integer.

    Note:
        `model.summary()` of Keras counts the variables that there are. It adds up to the same
        total as for the plain model, except that a weight frozen by single entries keeps the
        places of its trainable entries in the frozen part too.

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
