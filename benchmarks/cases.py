"""The cases of `make bench`: what trains, how much of it, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

import frostline as fl
from benchmarks import variants as v
from benchmarks.report import FLOOR, FULL, OURS

BY_HAND = "split by hand"
Builders = dict[str, Callable[[], v.Step]]


@dataclass(frozen=True)
class Case:
    """One row of a table: variants that compute the same thing, interleaved."""

    name: str
    group: str
    builders: Callable[[bool], Builders]
    """Returns the variants; the argument says whether TensorFlow uses XLA."""
    rounds: int = 15
    memory: bool = False
    """Whether each variant also runs in a process of its own, to measure its memory."""
    share: float | None = None
    batch: int | None = None


def data(shape: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype("float32")
    return x, random.normal(size=outputs).astype("float32")


WIDTH, DEPTH = 1024, 4


def stack(**options: Any) -> Any:
    keras.utils.set_random_seed(0)
    hidden = [
        layers.Dense(WIDTH, activation="relu", name=f"hidden_{i}", **options) for i in range(DEPTH)
    ]
    return keras.Sequential([keras.Input((WIDTH,)), *hidden, layers.Dense(10)])


def trained_part(kind: str, share: float) -> Any:
    """A selection of the entries of a kernel that train."""
    count = round(share * WIDTH)
    random = np.sort(np.random.default_rng(0).choice(WIDTH, count, replace=False))
    where = random if kind.startswith("random") else slice(0, count)
    return fl.at[:, where] if kind.endswith("columns") else fl.at[where]


def dense(kind: str, share: float, batch: int, *, peers: bool = False) -> Case:
    x, y = data((batch, WIDTH), (batch, 10))

    def builders(jit: bool) -> Builders:
        def ours(where: Any) -> v.Step:
            model = stack()
            fl.freeze(model, "hidden_*/kernel", where)
            return v.step_of(model, x, y, jit=jit)

        def by_hand() -> v.Step:
            keras.utils.set_random_seed(0)
            count, rows = round(share * WIDTH), kind.endswith("rows")
            hidden = [v.TwoDense(WIDTH, count, rows=rows) for _ in range(DEPTH)]
            model = keras.Sequential([keras.Input((WIDTH,)), *hidden, layers.Dense(10)])
            return v.step_of(model, x, y, jit=jit)

        found = {
            FULL: lambda: v.step_of(stack(), x, y, jit=jit),
            FLOOR: lambda: ours(fl.everything),
            OURS: lambda: ours(~trained_part(kind, share)),
            BY_HAND: by_hand,
        }
        return found | (_peers(kind, share, x, y, jit) if peers else {})

    name = f"{kind}, {share:.0%}, batch {batch}"
    weighed = share == 0.1 and batch == 256 and kind in ("columns", "random rows")
    return Case(name, "Dense layers", builders, share=share, batch=batch, memory=weighed)


def _peers(kind: str, share: float, x: np.ndarray, y: np.ndarray, jit: bool) -> Builders:
    probe = layers.Dense(WIDTH)
    probe.build((None, WIDTH))
    fl.freeze(probe, "kernel", ~trained_part(kind, share))
    mask = fl.frozen_mask(probe.kernel)
    backend = keras.backend.backend()

    def masked() -> v.Step:
        model = stack()
        if backend == "torch":
            free = keras.ops.convert_to_tensor(~mask, dtype="float32")
            for parameter in model.parameters():
                if tuple(parameter.shape) == mask.shape:
                    parameter.register_hook(lambda gradient: gradient * free)
            return v.torch_step(model, x, y)
        model.compile(v.masked_optimizer("Adam", mask), "mse", jit_compile=jit)
        return lambda: model.train_on_batch(x, y)

    def constrained() -> v.Step:
        constraint = v.KeptConstraint(mask)
        model = stack(kernel_constraint=constraint)
        constraint.hold(model.layers[0].kernel)
        if backend != "torch":
            return v.step_of(model, x, y, jit=jit)
        import torch

        kernels = [layer.kernel.value for layer in model.layers[:-1]]

        @torch.no_grad()
        def write_back() -> None:
            for kernel in kernels:
                kernel.copy_(constraint(kernel))

        return v.torch_step(model, x, y, write_back)

    found = {"gradient mask": masked, "constraint": constrained}
    if backend == "torch":
        found["parametrize"] = lambda: v.torch_step(v.parametrized(WIDTH, DEPTH, mask), x, y)
    if backend == "jax":
        found["optax mask"] = lambda: v.masked_by_optax(stack(), mask, x, y)
    return found


ROWS, TABLE_WIDTH = 128_000, 1024


def embedding(count: int) -> Case:
    random = np.random.default_rng(0)
    trained = np.sort(random.choice(ROWS, count, replace=False))
    ids = random.integers(0, ROWS, size=(32, 128)).astype("int32")
    ids[:, :4] = random.choice(trained, size=(32, 4))
    _, y = data((1,), (32, 4))

    def model(table: Any) -> Any:
        pooled = [layers.GlobalAveragePooling1D(), layers.Dense(4)]
        return keras.Sequential([keras.Input((128,), dtype="int32"), table, *pooled])

    def builders(jit: bool) -> Builders:
        def keras_table(where: Any = None) -> v.Step:
            built = model(layers.Embedding(ROWS, TABLE_WIDTH, "ones", name="table"))
            if where is not None:
                fl.freeze(built, "table/*", where)
            return v.step_of(built, ids, y, jit=jit)

        def two_tables(**options: Any) -> v.Step:
            table = v.TwoTables(ROWS, TABLE_WIDTH, trained, **options)
            return v.step_of(model(table), ids, y, jit=jit)

        found = {
            FULL: keras_table,
            FLOOR: lambda: keras_table(fl.everything),
            OURS: lambda: keras_table(~fl.tokens(trained)),
            "two tables, chosen": two_tables,
        }
        if keras.backend.backend() == "torch":
            found["two tables, patched"] = lambda: two_tables(patch=True)
            found["PEFT TrainableTokens"] = lambda: _peft_tokens(trained, ids, y)
        return found

    name = f"{count:,} of {ROWS:,} x {TABLE_WIDTH:,} rows"
    return Case(name, "Embedding, 4,096 ids a step", builders, rounds=11, memory=True)


def _peft_tokens(trained: np.ndarray, ids: np.ndarray, y: np.ndarray) -> v.Step:
    import peft  # pyright: ignore[reportMissingImports] the extra `bench` brings it
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(ROWS, TABLE_WIDTH)
            self.head = torch.nn.Linear(TABLE_WIDTH, 4)

        def forward(self, ids: Any) -> Any:
            return self.head(self.table(ids).mean(1))

    config = peft.TrainableTokensConfig(token_indices=trained.tolist(), target_modules=["table"])
    model: Any = peft.get_peft_model(Net(), config)
    model.base_model.model.head.requires_grad_(True)
    return v.torch_step(model, ids.astype("int64"), y)


BIG = 4096


def entries(share: float) -> Case:
    x, y = data((256, BIG), (256, BIG))

    def model() -> Any:
        keras.utils.set_random_seed(0)
        sides = [layers.Dense(BIG, use_bias=False, name=name) for name in ("below", "big")]
        return keras.Sequential([keras.Input((BIG,)), *sides])

    def builders(jit: bool) -> Builders:
        def ours(where: Any) -> v.Step:
            built = model()
            # A layer below has to train, or the floor would need no gradient to pass down.
            fl.freeze(built, "below/kernel", fl.at[:, 1:])
            if where is not None:
                fl.freeze(built, "big/kernel", where)
            return v.step_of(built, x, y, jit=jit)

        frozen = np.random.default_rng(0).random((BIG, BIG)) >= share
        found: Builders = {
            FULL: lambda: ours(None),
            FLOOR: lambda: ours(fl.everything),
            OURS: lambda: ours(fl.mask(frozen)),
        }
        if keras.backend.backend() == "torch":
            rank = round(share * BIG / 2)
            for name in ("SHiRA", "LoRA"):
                found[f"PEFT {name}, rank {rank}"] = lambda name=name: _adapter(name, rank, x, y)
        return found

    name = f"{share:.0%} of {BIG:,} x {BIG:,} entries, batch 256"
    return Case(name, "Single entries", builders, rounds=11, memory=True)


def _adapter(name: str, rank: int, x: np.ndarray, y: np.ndarray) -> v.Step:
    import peft  # pyright: ignore[reportMissingImports] the extra `bench` brings it
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = torch.nn.Parameter(torch.zeros(BIG))
            self.big = torch.nn.Linear(BIG, BIG, bias=False)
            self.below = torch.nn.Linear(BIG, BIG, bias=False)

        def forward(self, x: Any) -> Any:
            return self.big(self.below(x) + self.shift)

    kinds = {
        "SHiRA": lambda: peft.ShiraConfig(r=rank, target_modules=["big"]),
        "LoRA": lambda: peft.LoraConfig(r=rank, target_modules=["big"]),
    }
    model: Any = peft.get_peft_model(Net(), kinds[name]())
    model.base_model.model.shift.requires_grad_(True)
    return v.torch_step(model, x, y)


def _compared(
    model: Callable[[], Any], glob: str, where: Any, x: np.ndarray, y: np.ndarray
) -> Callable[[bool], Builders]:
    """Compare a model that trains whole, with the weights in `glob` frozen, and partly frozen."""

    def builders(jit: bool) -> Builders:
        def frozen(where: Any) -> v.Step:
            built = model()
            fl.freeze(built, glob, where)
            return v.step_of(built, x, y, jit=jit)

        return {
            FULL: lambda: v.step_of(model(), x, y, jit=jit),
            FLOOR: lambda: frozen(fl.everything),
            OURS: lambda: frozen(where),
        }

    return builders


def transformer(name: str, heads: Iterable[int]) -> Case:
    x, y = data((16, 128, 256), (16, 4))

    def model() -> Any:
        keras.utils.set_random_seed(0)
        hidden = inputs = keras.Input((128, 256))
        for block in range(2):
            attention = layers.MultiHeadAttention(8, 32, name=f"attention_{block}")
            hidden = layers.LayerNormalization()(hidden + attention(hidden, hidden))
            inner = layers.Dense(512, activation="gelu")(hidden)
            hidden = layers.LayerNormalization()(hidden + layers.Dense(256)(inner))
        return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(hidden)))

    builders = _compared(model, "attention_*", fl.heads(heads), x, y)
    return Case(name, "Two transformer blocks", builders, rounds=11)


def resnet(name: str, where: Any) -> Case:
    x, y = data((32, 32, 32, 3), (32, 4))

    def model() -> Any:
        keras.utils.set_random_seed(0)
        conv = {"padding": "same", "use_bias": False}
        inputs = keras.Input((32, 32, 3))
        hidden = layers.Conv2D(32, 3, name="conv_in", **conv)(inputs)
        for i, (filters, strides) in enumerate([(32, 1), (64, 2), (128, 2)]):
            inner = layers.ReLU()(layers.BatchNormalization()(hidden))
            inner = layers.Conv2D(filters, 3, strides, name=f"conv_{i}_a", **conv)(inner)
            inner = layers.ReLU()(layers.BatchNormalization()(inner))
            inner = layers.Conv2D(filters, 3, name=f"conv_{i}_b", **conv)(inner)
            short = layers.Conv2D(filters, 1, strides, name=f"conv_{i}_c", **conv)(hidden)
            hidden = short + inner
        return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(hidden)))

    builders = _compared(model, "conv_*/kernel", where, x, y)
    return Case(name, "A small ResNet", builders, rounds=7)


def prediction(kind: str, batch: int) -> Case:
    x, _ = data((batch, WIDTH), (batch, 10))

    def builders(jit: bool) -> Builders:
        def ours(where: Any = None) -> v.Step:
            model = stack()
            if where is not None:
                fl.freeze(model, "hidden_*/kernel", where)
            return v.call_of(model, x, jit=jit)

        return {FULL: ours, OURS: lambda: ours(~trained_part(kind, 0.1))}

    return Case(f"predict, {kind}, 10%, batch {batch}", "Prediction", builders, rounds=31)


def _half(kernel: np.ndarray) -> np.ndarray:
    mask = np.zeros(kernel.shape, bool)
    mask[..., : kernel.shape[-1] // 2] = True
    return mask


CASES = [
    *(
        dense(kind, 0.1, batch)
        for batch in (16, 256)
        for kind in ("random columns", "rows", "random rows")
    ),
    *(
        dense("columns", share, batch, peers=share == 0.1)
        for batch in (16, 256)
        for share in (0.01, 0.1, 0.5, 0.9)
    ),
    *(dense("random rows", share, batch) for batch in (16, 256) for share in (0.01, 0.5, 0.9)),
    embedding(3),
    embedding(1000),
    entries(0.01),
    transformer("four heads of eight", range(4)),
    transformer("every other head of eight", range(0, 8, 2)),
    resnet("half of each convolution's filters", _half),
    resnet("every other filter", fl.at[..., ::2]),
    *(prediction(kind, batch) for batch in (16, 256) for kind in ("columns", "random rows")),
]
