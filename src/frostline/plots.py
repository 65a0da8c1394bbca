"""Maps of what is frozen in each weight and of what moved, drawn with matplotlib."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from frostline._console import each, percent
from frostline._errors import PathError, PlotError, TargetError
from frostline._plots import Gallery, drawing, drawn, drift_panel, frozen_panel
from frostline._plots.values import BEFORE, pairs, subject_of
from frostline._weights.earlier import Earlier
from frostline._weights.tree import Found, select, weights_of
from frostline.summaries import row_of

if TYPE_CHECKING:  # matplotlib is an extra, and slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LISTED = 3  # paths in a message


def plot(
    model: Any,
    weights: Any = "*",
    *,
    ax: Axes | None = None,
    limit: int = 48,
    fold: bool = True,
) -> Figure:
    """Draw what is frozen, one map for each partly frozen weight.

    Inputs run down and outputs run across; a vector is a strip, the window of a convolution is
    drawn for each pair of channels, heads and gates are side by side. A weight with more entries
    than pixels is drawn in cells, at most 512 along a side, whose colour shows whether none, some
    or all of their entries are frozen. What is smaller than two pixels is drawn larger and marked.

    Args:
        model: A built layer or model.
        weights: Which weights, as in `freeze`: a glob on the path, a regex, a variable, a list.
        ax: Axes of matplotlib to draw one weight on. A new figure by default.
        limit: How many maps are drawn at most. The figure says how many weights are not drawn.
        fold: Give weights that are frozen whole or not at all one line a block, and draw one map
            for weights that are alike: three or more of one shape, kind and path up to the numbers
            in it, if their maps are equal or there are more than 12. `fold=False` draws all,
            in their order.

    Returns:
        A `matplotlib.figure.Figure`, which is not registered with pyplot: a notebook shows it,
        `figure.savefig("frozen.png")` saves it. With `ax`, the figure of those axes.

    Raises:
        DependencyError: matplotlib is not installed.
        TargetError: `model` is not a layer or model, or `ax` is not plain matplotlib axes.
        NotBuiltError: `model` has no weights yet.
        PathError: `weights` names no weight, or names several and there is one `ax`.
        PlotError: `limit` is not a positive integer.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel", fl.at[:, 0])
        >>> figure = fl.plot(layer)
        >>> [axes.get_title("left") for axes in figure.axes]
        ['kernel']
    """
    page = _drawing("plot", ax, limit)
    chosen = _chosen(model, weights, ax)
    rows = [row_of(weight) for weight in chosen]
    pixels = functools.partial(page.pixels, axes=ax, weights=drawn(rows, limit, fold))
    gallery = Gallery(limit, fold)
    for subject in each("drawing", list(map(subject_of, chosen, rows))):
        gallery.add(frozen_panel(subject, subject.grid(pixels)))
    frozen, size = sum(row.frozen for row in rows), sum(row.size for row in rows)
    title = f"{model.name}: {frozen:,} of {size:,} entries frozen ({percent(frozen, size)})"
    return _figure(page, gallery, title, ax)


def plot_drift(
    before: Any,
    after: Any,
    weights: Any = "*",
    *,
    ax: Axes | None = None,
    limit: int = 48,
    fold: bool = True,
) -> Figure:
    """Draw how far each entry moved between two states of a model, one map for each weight.

    The colour of a cell is the largest `|after - before|` in it, on one scale for all weights that
    follows the values. Bit-identical entries have a colour of their own, and so have those that
    became NaN or infinite. What is frozen is hatched. A frozen entry whose bits changed, even if
    only the sign of a zero did, is marked and counted in the title. Entries lie as in `plot`.

    Args:
        before: What `snapshot` returned, any mapping from paths to arrays, or another model with
            weights of the same paths. A key is a path as in `weights`, with or without the name of
            the model before it, or the `variable.path` of Keras.
        after: A built layer or model. What is frozen in it now must not have moved.
        weights: Which weights of `after`, as in `freeze`.
        ax: Axes of matplotlib to draw one weight on. A new figure by default.
        limit: How many maps are drawn at most. All weights are compared, those with a frozen entry
            that moved come first, and the figure says how many are not drawn.
        fold: Give weights in which nothing moved one line a block, unless they are partly frozen,
            and draw one map for weights that are alike if there are more than 12, as in `plot`. A
            weight with a frozen entry that moved always has its own.

    Returns:
        A `matplotlib.figure.Figure`, as `plot` does.

    Raises:
        DependencyError: matplotlib is not installed.
        TargetError: `after` is not a layer or model, `before` is neither that nor a mapping, or
            `ax` is not plain matplotlib axes.
        NotBuiltError: A model has no weights yet.
        PathError: `weights` names no weight, `before` lacks one or names one twice, two weights
            have the same path, or `weights` names several and there is one `ax`.
        PlotError: An array has another shape or dtype than its weight, or shares its memory;
            `limit` is not a positive integer.

    Note:
        Weights are read one at a time, which needs memory for two copies of the largest.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel", fl.at[0])
        >>> before = fl.snapshot(layer)
        >>> _ = layer.kernel.assign(layer.kernel + 1)
        >>> fl.plot_drift(before, layer).axes[0].get_title("left").splitlines()
        ['kernel', '3 frozen entries moved']
    """
    page = _drawing("plot_drift", ax, limit)
    chosen = _chosen(after, weights, ax)
    earlier = Earlier(before, chosen, BEFORE)
    gallery = Gallery(limit, fold)
    pixels = functools.partial(page.pixels, axes=ax, weights=min(len(chosen), limit))
    for weight in each("comparing", chosen):
        subject = subject_of(weight, row_of(weight))
        gallery.add(drift_panel(subject, subject.grid(pixels), pairs(weight, earlier)))
    return _figure(page, gallery, f"{after.name}: {gallery.said}", ax)


def _figure(page: Any, gallery: Gallery, title: str, ax: Axes | None) -> Figure:
    if ax is not None:
        return page.on_axes(gallery.shown[0], ax)
    return page.page(gallery.shown, title, page.notes(gallery.left, gallery.seen), gallery.lines)


def _drawing(function: str, ax: Any, limit: Any) -> Any:
    """The module that draws, when all that it is given besides weights is good."""
    page = drawing(function)
    from matplotlib.axes import Axes

    if ax is not None and not (isinstance(ax, Axes) and ax.name == "rectilinear"):
        raise TargetError(
            f"ax: not the plain axes of a matplotlib figure; got ax={type(ax).__name__}. "
            f"Pass one of `figure.subplots()`, or leave it out: `fl.{function}` makes a figure."
        )
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise PlotError(
            f"limit: a positive number of weights; got limit={limit!r}. "
            "Leave it out to draw the first 48."
        )
    return page


def _chosen(model: Any, weights: Any, ax: Any) -> list[Found]:
    found = weights_of(model)
    chosen = select(model, found, weights)
    if ax is not None and len(chosen) > 1:
        paths = ", ".join(repr(weight.path) for weight in chosen[:_LISTED])
        raise PathError(
            f"{model.name}: one ax holds one weight; got weights={weights!r}, which names "
            f"{len(chosen)}: {paths}{', ...' * (len(chosen) > _LISTED)}. Name one of them, or "
            "leave `ax` out."
        )
    return chosen
