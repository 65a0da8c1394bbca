"""A small model and a custom loop, for one process or several with DistributedDataParallel.

Each batch is divided among the processes, so together they take the same steps as one process.
"""

from __future__ import annotations

import contextlib
import gc
import random
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel

import frostline as fl

layers = keras.layers
checkpoint: Any = torch.distributed.checkpoint

# A change looks through all objects, and most of them come from imports.
gc.collect()
gc.freeze()


@keras.saving.register_keras_serializable("engines")
class Fitted(keras.Sequential):
    """A model whose `fit` trains with its `Run`."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Take one step on this process's part of a batch."""
        RUNS[self]._train([data])
        return {}


RUNS: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()
"""The run of each model, kept here because Keras would track an attribute of the model."""


def build() -> Any:
    """A model with an embedding, identical in each process."""
    # `keras.utils.set_random_seed` does the same, but imports TensorFlow if it is installed.
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    model = Fitted(
        [
            keras.Input((3,), dtype="int32"),
            layers.Embedding(20, 4, name="tokens"),
            layers.Flatten(),
            layers.Dense(8, activation="tanh", name="hidden"),
            layers.Dense(6, activation="tanh", name="middle"),
            layers.Dense(2, name="out"),
        ],
        name="model",
    )
    model.compile(keras.optimizers.AdamW(0.02, weight_decay=0.1, epsilon=1e-3), "mse")
    return model


def freeze(model: Any) -> None:
    """Freeze positions, single entries, a whole weight and a block."""
    fl.freeze(
        model,
        {
            "tokens/embeddings": fl.tokens(range(0, 20, 2)),
            "hidden/kernel": fl.mask(np.arange(96).reshape(12, 8) % 3 == 1),
            "hidden/bias": None,
            "middle/kernel": fl.at[:, :2],
        },
    )


def thaw(model: Any) -> None:
    """Thaw some of each, and freeze another row of the embedding."""
    fl.unfreeze(
        model,
        {
            "tokens/embeddings": fl.tokens(range(0, 10, 2)),
            "hidden/kernel": fl.at[:2],
            "hidden/bias": None,
            "middle/kernel": None,
        },
    )
    fl.freeze(model, "tokens/embeddings", fl.tokens([3]))


def by_size(model: Any) -> None:
    """Freeze the entries that are small now, the same ones in each process."""
    fl.freeze(model, "*/kernel", lambda weight: abs(weight) < np.median(abs(weight)))


class Run:
    """A model in training.

    Attributes:
        at: The number of steps taken.
        wire: For each step, the bytes reduced and the bytes of the trainable variables.
        told: All warnings that changes gave.
    """

    def __init__(
        self,
        model: Any,
        *,
        native: bool = False,
        compiled: str = "",
        parts: int = 1,
        at: int = 0,
    ) -> None:
        self.model, self.native, self.compiled, self.parts = model, native, compiled, parts
        self.at = at
        self.wire: list[tuple[int, int]] = []
        self.told: list[str] = []
        self.processes = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.audit = fl.callbacks.FreezeAudit(every=1)
        self.audit.set_model(model)
        self.audit.on_train_begin()
        RUNS[model] = self
        self.wrap()

    def wrap(self) -> None:
        """Wrap the model, again after each change, and make a new native optimizer."""
        self.sent: list[int] = []
        self.wrapper = self.call = self.model
        if self.processes > 1:
            self.wrapper = self.call = DistributedDataParallel(self.model)
            self.wrapper.register_comm_hook(self.sent, _count)
        if self.compiled:
            self.call = torch.compile(self.wrapper, backend=self.compiled)
        if self.native:
            parameters = self.wrapper.parameters()
            self.optimizer = torch.optim.AdamW(parameters, 0.02, weight_decay=0.1, eps=1e-3)

    def change(self, action: Callable[[Any], Any], *, wrap: bool = True) -> None:
        """Change what is frozen."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            action(self.model)
        # The audit reads the weights before a change, and Keras's read warns of NumPy's `copy`.
        told = [one for one in caught if not issubclass(one.category, DeprecationWarning)]
        self.told += [str(one.message) for one in told]
        self.audit.on_epoch_begin(0)
        if wrap:
            self.wrap()

    def steps(self, count: int) -> None:
        """Train on the next batches."""
        for _ in range(count):
            self._train([self.batch(self.at, part) for part in range(self.parts)])
            self.at += 1
            self.audit.audit()

    def batch(self, at: int, part: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """This process's rows of one part of a batch."""
        draw = np.random.default_rng(at)
        x, y = draw.integers(0, 20, (16, 3)), draw.normal(size=(16, 2)).astype("float32")
        mine = slice(part * self.processes + self.rank, None, self.parts * self.processes)
        return x[mine], y[mine]

    def _train(self, parts: list[tuple[Any, Any]]) -> None:
        variables = self.model.trainable_variables
        self.model.zero_grad()
        self.sent.clear()
        for part, (x, y) in enumerate(parts):
            waits = self.processes > 1 and part < len(parts) - 1
            with self.wrapper.no_sync() if waits else contextlib.nullcontext():
                error = self.call(torch.as_tensor(x)) - torch.as_tensor(y)
                ((error**2).mean() / len(parts)).backward()
        self.wire.append((sum(self.sent), sum(v.value.nbytes for v in variables)))
        if self.native:
            self.optimizer.step()
        else:
            with torch.no_grad():
                self.model.optimizer.apply([v.value.grad for v in variables], variables)


def _count(sent, bucket):  # PyTorch rejects string annotations on a communication hook
    sent.append(bucket.buffer().nbytes)
    group: Any = dist.group.WORLD
    return allreduce_hook(group, bucket)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with warnings.catch_warnings():
        # PyTorch warns about this even with `no_dist=True`.
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or")
        yield


def save_checkpoint(run: Run, folder: Path) -> None:
    """Write one checkpoint of a run with a native optimizer from all processes."""
    model, optimizer = get_state_dict(run.wrapper, run.optimizer)
    state = {"model": model, "optimizer": optimizer}
    with _alone():
        checkpoint.save(state, checkpoint_id=folder)


def load_checkpoint(run: Run, folder: Path) -> None:
    """Read a checkpoint into a run with the same freeze."""
    model, optimizer = get_state_dict(run.wrapper, run.optimizer)
    state = {"model": model, "optimizer": optimizer}
    with _alone():
        checkpoint.load(state, checkpoint_id=folder)
    set_state_dict(
        run.wrapper,
        run.optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
    )
    run.audit.on_train_begin()  # frozen values were loaded too


def write(run: Run, file: Path) -> None:
    """Save the weights, byte counts and warnings of a run in a NumPy file."""
    arrays: dict[str, Any] = {path: np.array(one) for path, one in fl.snapshot(run.model).items()}
    np.savez(file, wire=np.array(run.wire), told=np.array(run.told), **arrays)


def frozen_first(**how: Any) -> Run:
    """Freeze, wrap, train."""
    model = build()
    freeze(model)
    run = Run(model, **how)
    run.steps(4)
    return run


def changed(**how: Any) -> Run:
    """Train, freeze, train, thaw, train, unfreeze, train."""
    run = Run(build(), **how)
    for action in (freeze, thaw, fl.unfreeze):
        run.steps(2)
        run.change(action)
    run.steps(2)
    return run


def chosen(**how: Any) -> Run:
    """Freeze entries that a function chooses, and later choose again."""
    run = Run(build(), **how)
    run.change(by_size)
    run.steps(2)
    run.change(lambda model: fl.unfreeze(model, "*/kernel"))
    run.change(by_size)
    run.steps(2)
    return run


def scheduled(**how: Any) -> Run:
    """A custom loop calls callbacks and wraps the model again in each epoch."""
    run = Run(build(), **how)
    actions = {0: freeze, 1: thaw, 2: lambda model: fl.unfreeze(model)}
    callbacks = keras.callbacks.CallbackList(
        [fl.callbacks.FreezeSchedule(actions), fl.callbacks.FreezeAudit()],
        model=run.model,
        epochs=3,
    )
    callbacks.on_train_begin()
    for epoch in range(3):

        def begin(model: Any, epoch: int = epoch) -> None:
            del model
            callbacks.on_epoch_begin(epoch)

        run.change(begin)
        run.steps(2)
        callbacks.on_epoch_end(epoch)
    callbacks.on_train_end()
    return run


def fitted() -> Run:
    """Train with `fit` and a schedule."""
    run = Run(build())
    x, y = map(np.concatenate, zip(run.batch(0), run.batch(1), strict=True))
    actions = [freeze, thaw, lambda model: fl.unfreeze(model)]
    schedule = {
        epoch: lambda model, action=action: run.change(action)
        for epoch, action in enumerate(actions)
    }
    run.model.fit(
        x,
        y,
        batch_size=16 // run.processes,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[fl.callbacks.FreezeSchedule(schedule), fl.callbacks.FreezeAudit()],
    )
    return run


SCENARIOS: dict[str, Callable[[], Run]] = {
    "frozen first, keras": lambda: frozen_first(),
    "frozen first, native": lambda: frozen_first(native=True),
    "changed, keras": lambda: changed(),
    "changed, native": lambda: changed(native=True),
    "accumulated, keras": lambda: changed(parts=2),
    "accumulated, native": lambda: changed(native=True, parts=2),
    "compiled, keras": lambda: frozen_first(compiled="eager"),
    "compiled, native": lambda: frozen_first(native=True, compiled="aot_eager"),
    "chosen, keras": lambda: chosen(),
    "chosen, native": lambda: chosen(native=True),
    "scheduled, keras": lambda: scheduled(),
    "scheduled, native": lambda: scheduled(native=True),
    "fitted, keras": lambda: fitted(),
    "compiled and changed, keras": lambda: changed(compiled="eager"),
    "compiled and changed, native": lambda: changed(native=True, compiled="aot_eager"),
}
"""Scenarios that give the same weights in one process and in several."""
