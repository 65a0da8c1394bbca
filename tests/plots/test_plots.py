"""`fl.plot` and `fl.plot_drift`: the data in the images, and the figures around them."""

import importlib
import pickle
import sys
from typing import Any

import keras
import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

import frostline as fl
from frostline._backends.current import backend
from helpers import assert_same_bits, image, maps, value, weights
from models import dense, holder, two_of_one_path

pytestmark = pytest.mark.once


def model():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name="hidden"),
            keras.layers.Dense(4, name="out"),
        ],
        name="model",
    )


def drawn(figure):
    """Draw a figure on a new canvas, since its own draws nothing before it is saved."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def test_a_dollar_in_a_name_is_no_formula():
    layer = keras.layers.Dense(2, name="cost_$x_{$")
    target = keras.Sequential([keras.Input((2,)), layer], name="a$_{$")
    drawn(fl.plot(target))
    drawn(fl.plot_drift(fl.snapshot(target), target))


def write(variable, entry, number):
    changed = value(variable)
    changed[entry] = number
    variable.assign(changed)


def facts(axes):
    return "\n".join(text.get_text() for text in axes.texts)


RANKS = {
    "scalar": ((), (1, 1)),
    "one": ((1,), (1, 1)),
    "vector": ((7,), (1, 7)),
    "long vector": ((5000,), (1, 512)),
    "matrix": ((3, 4), (3, 4)),
    "row": ((1, 4), (1, 4)),
    "column": ((4, 1), (4, 1)),
    "three": ((2, 3, 4), (6, 4)),
    "five": ((2, 1, 3, 2, 4), (12, 4)),
}


@pytest.mark.parametrize(("shape", "shown"), RANKS.values(), ids=RANKS)
def test_a_weight_of_any_rank_is_drawn(shape, shown):
    layer = holder(shape)
    before = fl.snapshot(layer)
    layer.w.assign(value(layer.w) + 1)
    figures = [fl.plot(layer), fl.plot_drift(before, layer)]
    assert image(maps(figures[0])[0], "frozen").shape == shown
    drift = image(maps(figures[1])[0], "drift")
    assert drift.shape == shown
    assert (drift == 1).all()
    for figure in figures:
        assert str(shape) in facts(maps(figure)[0])
        drawn(figure)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_a_weight_without_entries(shape):
    layer = holder(shape)
    figures = [fl.plot(layer), fl.plot_drift(fl.snapshot(layer), layer)]
    for figure in figures:
        assert "no entries" in facts(figure.axes[0])
        drawn(figure)


# Maps of what is frozen.


@pytest.mark.once(False)
def test_the_map_is_the_mask():
    layer = dense()
    fl.freeze(layer, "kernel", lambda w: w > 0)
    (axes,) = maps(fl.plot(layer, "kernel"))
    assert_array_equal(image(axes, "frozen"), fl.frozen_mask(layer.kernel))
    assert axes.get_title("left") == "kernel"
    frozen = int(fl.frozen_mask(layer.kernel).sum())
    assert facts(axes) == f"(6, 8), {frozen / 48:.1%} frozen (entries)"


@pytest.mark.once(False)
@pytest.mark.parametrize("where", [fl.at[:, 5], fl.at[::3], fl.at[3, 2], None], ids=repr)
def test_all_kinds_of_plans(where):
    layer = dense()
    fl.freeze(layer, "kernel", where)
    (axes,) = maps(fl.plot(layer, "kernel"))
    assert_array_equal(image(axes, "frozen"), fl.frozen_mask(layer.kernel))


@pytest.mark.parametrize("thawed", [False, True], ids=["one frozen", "one thawed"])
def test_one_entry_of_a_large_weight_has_a_colour_of_its_own(thawed):
    layer = dense(4096, 4096)
    where = fl.at[1234, 567]
    fl.freeze(layer, "kernel", ~where if thawed else where)
    figure = fl.plot(layer, "kernel")
    (axes,) = maps(figure)
    share = image(axes, "frozen")
    assert max(share.shape) <= 512
    odd = (share > 0) & (share < 1)
    assert odd.sum() == 1
    assert np.argwhere(odd)[0].tolist() == [
        1234 * share.shape[0] // 4096,
        567 * share.shape[1] // 4096,
    ]
    colors = axes.images[0].to_rgba(share)[..., :3]
    rest = colors[~odd]
    assert (rest == rest[0]).all()
    assert np.abs(colors[odd][0] - rest[0]).max() > 0.1
    # A cell covers at least one pixel, so it cannot fall between two of them.
    box = axes.get_window_extent()
    assert share.shape[0] <= box.height + 1
    assert share.shape[1] <= box.width + 1


def test_flat_weights_have_no_more_cells_than_pixels():
    layer = dense(600, 30_000)
    (axes,) = maps(fl.plot(layer, "kernel"))
    box = axes.get_window_extent()
    assert image(axes, "frozen").shape[0] <= box.height + 1
    assert image(axes, "frozen").shape[1] <= 512


def test_the_head_of_the_figure_counts_what_summary_counts():
    target = model()
    fl.freeze(target, "*/kernel", fl.at[0])
    summary = fl.summary(target)
    figure = fl.plot(target, fold=False)
    text = said(figure)
    assert f"{summary.frozen:,} of {summary.size:,} entries frozen" in text
    titles = [axes.get_title("left") for axes in maps(figure)]
    assert titles == [row.path for row in summary.rows]


def test_a_layer_that_is_off_says_so():
    layer = dense()
    layer.trainable = False
    assert facts(maps(fl.plot(layer, "kernel"))[0]).endswith("0.0% frozen, off (trainable=False)")


# Maps of what moved.


def frozen_kernel(inputs=6, units=8, where: Any = fl.at[:, :3]):
    layer = dense(inputs, units)
    fl.freeze(layer, "kernel", where)
    return layer, fl.snapshot(layer)


def test_drift_is_the_distance_and_equal_is_masked():
    layer, before = frozen_kernel()
    changed = value(layer.kernel)
    changed[2, 5] += 0.25
    changed[4, 7] -= 1e-5
    layer.kernel.assign(changed)
    figure = fl.plot_drift(before, layer, "kernel")
    (axes,) = maps(figure)
    drift = image(axes, "drift")
    moved = ~np.ma.getmaskarray(drift)
    assert np.argwhere(moved).tolist() == [[2, 5], [4, 7]]
    apart = np.abs(changed.astype(float) - before["kernel"])
    assert_array_equal(drift.data[moved], apart[moved])
    assert image(axes, "leaked") is None
    assert image(axes, "nonfinite") is None
    assert axes.get_title("left") == "kernel"
    assert "moved by up to 0.25" in facts(axes)
    assert figure.texts[0].get_text() == "hidden: no frozen entry moved"


def test_a_map_says_that_nothing_moved():
    layer, before = frozen_kernel()
    for axes in maps(fl.plot_drift(before, layer)):
        assert np.ma.getmaskarray(image(axes, "drift")).all()
        assert "nothing moved" in facts(axes)


def quiet_nan(array):
    """An array of the same shape, filled with a NaN that has another payload."""
    other = array.copy()
    other.view("u4")[...] = 0x7FC00001
    return other


LEAKS = {
    "a step": (1.0, 2.0),
    "sign of a zero": (0.0, -0.0),
    "became NaN": (1.0, np.nan),
    "was NaN": (np.nan, 1.0),
    "infinite": (1.0, np.inf),
    "smallest": (0.0, 1e-45),
}


@pytest.mark.once(False)
@pytest.mark.parametrize(("then", "now"), LEAKS.values(), ids=LEAKS)
def test_a_frozen_entry_that_moved_is_a_leak(then, now):
    layer = dense()
    fl.freeze(layer, "kernel", fl.at[:, :3])
    write(layer.kernel, (4, 2), then)
    before = fl.snapshot(layer)
    assert_same_bits(before["kernel"], value(layer.kernel))
    write(layer.kernel, (4, 2), now)
    figure = fl.plot_drift(before, layer)
    axes = maps(figure)[0]
    assert axes.get_title("left") == "kernel\n1 frozen entry moved"
    leaked = image(axes, "leaked")
    assert np.argwhere(~np.ma.getmaskarray(leaked)).tolist() == [[4, 2]]
    assert figure.texts[0].get_text() == "hidden: 1 frozen entry moved in 1 of 2 weights"
    odd = image(axes, "nonfinite")
    assert (odd is not None) == (not np.isfinite(then + now))
    drawn(figure)


@pytest.mark.once(False)
def test_the_payload_of_a_nan_is_a_leak():
    layer = dense()
    fl.freeze(layer, "kernel", fl.at[:, :3])
    write(layer.kernel, (4, 2), np.nan)
    before = fl.snapshot(layer)
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    assert image(axes, "leaked") is None  # bit for bit the same
    before["kernel"][4, 2:3] = quiet_nan(before["kernel"][4, 2:3])
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    assert image(axes, "leaked").sum() == 1


def test_what_trains_and_became_nan_is_no_leak():
    layer, before = frozen_kernel()
    write(layer.kernel, (4, 7), np.nan)
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    assert image(axes, "leaked") is None
    assert np.argwhere(~np.ma.getmaskarray(image(axes, "nonfinite"))).tolist() == [[4, 7]]
    assert "1 NaN or infinite" in facts(axes)


def test_one_leaked_entry_of_a_large_weight_is_in_the_image():
    layer, before = frozen_kernel(4096, 4096, fl.at[:, :2048])
    changed = value(layer.kernel)
    changed[:, 2048:] += 1
    changed[3000, 77] = np.nextafter(changed[3000, 77], 9, dtype="float32")
    layer.kernel.assign(changed)
    figure = fl.plot_drift(before, layer, "kernel")
    (axes,) = maps(figure)
    leaked = image(axes, "leaked")
    assert max(leaked.shape) <= 512
    assert leaked.sum() == 1
    (place,) = np.argwhere(~np.ma.getmaskarray(leaked))
    assert place.tolist() == [3000 * leaked.shape[0] // 4096, 77 * leaked.shape[1] // 4096]
    # The picture shows it too: pixels of its colour, with a ring around them.
    pixels = np.asarray(drawn(figure).buffer_rgba())[..., :3].astype(int)
    magenta = to_rgb("#f0146e")
    near = np.abs(pixels - np.array(magenta) * 255).max(axis=-1) < 8
    x, y = axes.transData.transform((77, 3000))
    at = (
        slice(int(pixels.shape[0] - y) - 8, int(pixels.shape[0] - y) + 9),
        slice(int(x) - 8, int(x) + 9),
    )
    assert near[at].sum() > 5


def test_many_leaks_are_an_area():
    layer, before = frozen_kernel(64, 64, fl.at[:])
    layer.kernel.assign(value(layer.kernel) + 1)
    figure = fl.plot_drift(before, layer, "kernel")
    (axes,) = maps(figure)
    assert image(axes, "leaked").sum() == 64 * 64
    assert "4,096 frozen entries moved" in axes.get_title("left")
    assert not [c for c in axes.collections if type(c).__name__ == "PathCollection"]


def test_a_leak_does_not_stretch_the_scale():
    layer, before = frozen_kernel()
    changed = value(layer.kernel) + 1e-3
    changed[0, 0] += 1e6
    layer.kernel.assign(changed)
    norm = maps(fl.plot_drift(before, layer, "kernel"))[0].images[0].norm
    assert norm.vmin < 1e-3 < norm.vmax < 1


def test_the_scale_is_one_for_all_weights():
    target = model()
    before = fl.snapshot(target)
    target.get_layer("out").bias.assign([1e-6, 1, 1, 1])
    target.get_layer("hidden").kernel.assign(value(target.get_layer("hidden").kernel) + 1e-3)
    norms = {axes.images[0].norm for axes in maps(fl.plot_drift(before, target))}
    (norm,) = norms
    assert 1e-6 <= norm.vmin < 1e-3 < norm.vmax <= 1


def test_the_scale_follows_the_values():
    """As with Adam, most entries move by nearly the same, and a tenth by far less."""
    layer = dense(64, 64)
    before = fl.snapshot(layer)
    steps = np.linspace(0.008, 0.01, 64 * 64).astype("float32")
    steps[::10] = 1e-8
    layer.kernel.assign(steps.reshape(64, 64))
    before["kernel"][...] = 0
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    norm, drift = axes.images[0].norm, image(axes, "drift")
    assert_allclose(norm.inverse(norm(drift)), drift, rtol=0.02)
    colors = norm(drift)[drift > 0.001]
    assert colors.max() - colors.min() > 0.3  # a plain logarithmic scale gives 0.02
    assert (np.diff(norm(np.geomspace(1e-9, 1, 100))) >= 0).all()


def test_the_scale_of_nearly_one_number_shows_no_noise():
    layer = dense(64, 64)
    before = fl.snapshot(layer)
    before["kernel"][...] = 0
    layer.kernel.assign(np.linspace(0.0100, 0.0101, 64 * 64).reshape(64, 64))
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    colors = axes.images[0].norm(image(axes, "drift"))
    assert colors.max() - colors.min() < 0.05


def hatched(axes):
    return {patch.get_gid(): patch for patch in axes.artists if patch.get_gid()} | {
        patch.get_gid(): patch for patch in axes.patches if patch.get_gid()
    }


def test_the_hatch_covers_what_is_frozen():
    layer, before = frozen_kernel(where=lambda w: w > 0)
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    (patch,) = hatched(axes).values()
    assert patch.get_gid() == "frozen"
    y, x = np.indices((6, 8))
    path = patch.get_path()
    inside = [
        any(path_of.contains_point((i, j)) for path_of in boxes(path))
        for i, j in zip(x.ravel(), y.ravel(), strict=True)
    ]
    assert_array_equal(np.reshape(inside, (6, 8)), fl.frozen_mask(layer.kernel))


def boxes(path):
    return [type(path)(path.vertices[n : n + 5]) for n in range(0, len(path.vertices), 5)]


def test_cells_that_are_frozen_in_part_have_another_hatch():
    layer, before = frozen_kernel(2000, 4, fl.at[:1001])
    (axes,) = maps(fl.plot_drift(before, layer, "kernel"))
    found = hatched(axes)
    assert set(found) == {"frozen", "partly frozen"}
    assert found["frozen"].get_hatch() != found["partly frozen"].get_hatch()


@pytest.mark.once(False)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_compared(dtype, tmp_path):
    layer = holder((3, 4), dtype, initializer="ones")
    fl.freeze(layer, "w", fl.at[0])
    before: Any = fl.snapshot(layer)
    np.savez(tmp_path / "before.npz", **before)
    layer.w.assign(value(layer.w) * 2)
    with np.load(tmp_path / "before.npz") as loaded:
        for earlier in (before, loaded):
            (axes,) = maps(fl.plot_drift(earlier, layer))
            assert image(axes, "leaked").sum() == 4
            assert (image(axes, "drift") == 1).all()


@pytest.mark.once(False)
def test_training_moves_nothing_that_is_frozen(tmp_path):
    target = model()
    fl.freeze(target, "*/kernel", fl.at[::2])
    target.save_weights(tmp_path / "before.weights.h5")
    other = model()
    other.load_weights(tmp_path / "before.weights.h5")
    before = fl.snapshot(target)
    target.compile(keras.optimizers.AdamW(0.01), "mse", jit_compile=False)
    target.fit(np.ones((8, 6)), np.ones((8, 4)), epochs=2, verbose=0)
    for earlier in (before, other):
        figure = fl.plot_drift(earlier, target, fold=False)
        assert figure.texts[0].get_text() == "model: no frozen entry moved"
        for axes, weight in zip(maps(figure), weights(target), strict=True):
            equal = np.ma.getmaskarray(image(axes, "drift"))
            if "kernel" in weight.path:
                assert_array_equal(equal & fl.frozen_mask(weight.variable), equal)
                assert not equal.all()


@pytest.mark.once(False)
def test_a_snapshot_is_a_copy():
    target = model()
    fl.freeze(target, "hidden/kernel", fl.at[0])
    before = fl.snapshot(target, "*/kernel")
    assert list(before) == ["hidden/kernel", "out/kernel"]
    kept = before["out/kernel"].copy()
    target.get_layer("out").kernel.assign(kept + 1)
    assert_same_bits(before["out/kernel"], kept)


# Figures.


def test_pyplot_knows_nothing_of_the_figures():
    pyplot.close("all")
    target = model()
    fl.plot(target)
    fl.plot_drift(fl.snapshot(target), target)
    assert pyplot.get_fignums() == []


def test_a_notebook_shows_the_figure():
    figure: Any = fl.plot(model())
    assert figure._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_figure_can_be_pickled():
    target = model()
    for figure in (fl.plot(target), fl.plot_drift(fl.snapshot(target), target, fold=False)):
        again = pickle.loads(pickle.dumps(figure))
        assert len(maps(again)) == len(maps(figure))
        drawn(again)


def test_one_weight_on_given_axes():
    layer, before = frozen_kernel()
    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert fl.plot(layer, "kernel", ax=left) is figure
    assert fl.plot_drift(before, layer, "kernel", ax=right) is figure
    assert_array_equal(image(left, "frozen"), fl.frozen_mask(layer.kernel))
    assert image(right, "drift").shape == (6, 8)
    assert len(figure.axes) == 3  # the third one is the colour bar
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["trains", "frozen"]
    drawn(figure)


def test_axes_of_a_subfigure():
    figure = Figure()
    parts: Any = figure.subfigures(1, 2)
    axes = parts[0].subplots()
    assert fl.plot(dense(), "kernel", ax=axes) is figure


def test_a_page_lays_out_by_itself_whatever_the_settings():
    with matplotlib.rc_context({"figure.constrained_layout.use": True}):
        figure = fl.plot(model())
        before = [axes.get_position().bounds for axes in figure.axes]
        drawn(figure)
    assert [axes.get_position().bounds for axes in figure.axes] == before


def overlaps(boxes):
    return [
        (a, b)
        for place, a in enumerate(boxes)
        for b in boxes[:place]
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]


def many(count):
    layers = [
        keras.layers.Dense(4 + 3 * (n % 4), name=f"encoder_layer_{n}_feedforward_output_dense")
        for n in range(count)
    ]
    return keras.Sequential([keras.Input((4,)), *layers], name="many")


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("count", [1, 2, 15], ids=["2 weights", "4 weights", "30 weights"])
def test_nothing_overlaps_and_nothing_is_outside(count, style):
    target = many(count)
    fl.freeze(target, "*_0_*", fl.at[0])
    with matplotlib.style.context(style):
        before = fl.snapshot(target)
        first = target.layers[0].kernel
        write(first, (0, 0), 9.0)
        figures = [fl.plot(target), fl.plot_drift(before, target)]
        figures += [fl.plot(target, fold=False), fl.plot_drift(before, target, fold=False)]
        for figure in figures:
            renderer = drawn(figure).get_renderer()
            boxes: list[Any] = [axes.get_tightbbox(renderer) for axes in figure.axes]
            boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
            boxes += [text.get_window_extent(renderer) for text in figure.texts]
            assert overlaps(boxes) == []
            for box in boxes:
                assert box.x0 >= 0
                assert box.y0 >= 0
                assert box.x1 <= figure.bbox.width
                assert box.y1 <= figure.bbox.height
            text = matplotlib.rcParams["text.color"]
            assert maps(figure)[-1].title.get_color() in (text, "#f0146e")


def said(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_what_is_not_drawn_is_said():
    target = many(4)
    figure = fl.plot(target, limit=3, fold=False)
    assert len(maps(figure)) == 3
    assert "3 of 8 weights are drawn" in said(figure)
    assert "are drawn" not in said(fl.plot(target, limit=8, fold=False))
    assert "are drawn" not in said(fl.plot(target))
    size = sum(row.size for row in fl.summary(target).rows)
    assert f"of {size:,} entries" in said(figure)  # counts the weights that are not drawn too


def test_a_leak_is_drawn_before_others():
    target = many(4)
    fl.freeze(target, "*_3_*/bias")
    before = fl.snapshot(target)
    write(target.layers[3].bias, 1, 5.0)
    figure = fl.plot_drift(before, target, limit=2, fold=False)
    titles = [axes.get_title("left") for axes in maps(figure)]
    assert len(titles) == 2
    assert "1 frozen entry moved" in titles[1]
    assert "1 frozen entry moved in 1 of 8 weights" in said(figure)
    assert "2 of 8 weights are drawn" in said(figure)


def test_the_legend_names_what_there_is_alone():
    def labels(figure):
        return [text.get_text() for text in figure.legends[0].get_texts()]

    layer, before = frozen_kernel()
    assert labels(fl.plot(layer, "bias")) == ["trains"]
    assert labels(fl.plot(layer, "kernel")) == ["trains", "frozen"]
    assert labels(fl.plot_drift(before, layer, "bias")) == ["bit-identical"]
    write(layer.kernel, (0, 0), 7.0)
    assert labels(fl.plot_drift(before, layer)) == [
        "bit-identical",
        "frozen",
        "frozen, and moved",
    ]


# Bad input.


BAD_BEFORE = {
    "a list": (lambda layer: [1], fl.TargetError, r"before: must be a model or a mapping.*list"),
    "an array": (lambda layer: np.ones(3), fl.TargetError, r"before=ndarray\. Take `before = fl"),
    "a weight missing": (
        lambda layer: fl.snapshot(layer, "bias"),
        fl.PathError,
        r"kernel: not in `before`.*got before with 1 weights \('bias'\).*`weights=\[\.\.\.\]`",
    ),
    "another shape": (
        lambda layer: fl.snapshot(dense(6, 9)),
        fl.PlotError,
        r"kernel: .*got before \(shape \(6, 9\), dtype float32\), after \(shape \(6, 8\)",
    ),
    "another dtype": (
        lambda layer: {path: a.astype("float64") for path, a in fl.snapshot(layer).items()},
        fl.PlotError,
        r"kernel: bits are compared.*dtype float64\), after .*dtype float32\)\. Take",
    ),
    "a model of other paths": (
        lambda layer: model(),
        fl.PathError,
        r"kernel: not in `before`.*'hidden/kernel', 'hidden/bias', 'out/kernel', \.\.\.",
    ),
    "the same model": (
        lambda layer: layer,
        fl.PlotError,
        r"kernel: before and after are the same weight.*fl.snapshot\(model\)",
    ),
    "not built": (
        lambda layer: keras.layers.Dense(3, name="new"),
        fl.NotBuiltError,
        r"new: no weights yet",
    ),
}


@pytest.mark.parametrize(("make", "error", "message"), BAD_BEFORE.values(), ids=BAD_BEFORE)
def test_a_bad_before_is_refused(make, error, message):
    layer = dense()
    with pytest.raises(error, match=message):
        fl.plot_drift(make(layer), layer)


@pytest.mark.once(False)
def test_an_array_that_is_the_memory_of_the_weight(monkeypatch):
    """On PyTorch `kernel.detach().numpy()` is such an array: it changes with the weight."""
    layer = dense()
    before = fl.snapshot(layer)
    arrays = {array.shape: array for array in before.values()}
    monkeypatch.setattr(backend, "to_numpy", lambda tensor, of: arrays[tuple(tensor.shape)])
    with pytest.raises(fl.PlotError, match="kernel: this array shares the memory of the weight"):
        fl.plot_drift(before, layer)


DRAWING = {
    "plot": lambda target, *args, **kwargs: fl.plot(target, *args, **kwargs),
    "plot_drift": lambda target, *args, **kwargs: fl.plot_drift(
        model() if isinstance(target, keras.Model) else {}, target, *args, **kwargs
    ),
}


@pytest.fixture(params=DRAWING.values(), ids=list(DRAWING))
def draw(request):
    return request.param


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "all"], ids=repr)
def test_a_bad_limit_is_refused(draw, limit):
    with pytest.raises(fl.PlotError, match=r"limit: a positive number of weights; got limit="):
        draw(model(), limit=limit)


def test_bad_axes_are_refused(draw):
    with pytest.raises(fl.TargetError, match=r"ax: not the plain axes .* got ax=Figure\. Pass"):
        draw(model(), "out/bias", ax=Figure())
    polar = Figure().add_subplot(projection="polar")
    with pytest.raises(fl.TargetError, match=r"got ax=PolarAxes"):
        draw(model(), "out/bias", ax=polar)


def test_several_weights_and_one_ax(draw):
    axes = Figure().subplots()
    with pytest.raises(fl.PathError, match=r"model: one ax holds one weight; got weights='\*'.*4:"):
        draw(model(), ax=axes)
    assert not axes.images


def test_bad_targets_are_refused(draw):
    with pytest.raises(fl.TargetError, match="not a Keras layer or model"):
        draw("model")
    with pytest.raises(fl.PathError, match="no weight has this path; got weights='hiden/kernel'"):
        draw(model(), "hiden/kernel")


def test_two_weights_of_one_path():
    target = two_of_one_path()
    assert len(maps(fl.plot(target, fold=False))) == 4
    with pytest.raises(fl.PathError, match="same/kernel: two different weights have this path"):
        fl.snapshot(target)
    with pytest.raises(fl.PathError, match="same/kernel: two different weights have this path"):
        fl.plot_drift({}, target)


def test_without_matplotlib(draw, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(
        fl.DependencyError, match=r'needs matplotlib, which is not installed.*"frostline\[plot\]"'
    ) as raised:
        draw(model())
    assert isinstance(raised.value, ImportError)
    assert fl.snapshot(model())  # needs no matplotlib


def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "frostline._plots.page", raising=False)
    monkeypatch.delattr("frostline._plots.page", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", importlib.import_module("matplotlib.axes"))
    monkeypatch.setitem(sys.modules, "frostline._plots.panel", None)
    with pytest.raises(ModuleNotFoundError, match=r"_plots\.panel"):
        fl.plot(model())
