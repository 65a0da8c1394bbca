"""JAX: what XLA says of the train step of each case on 8 devices of one machine."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

import keras
from keras import distribution

from benchmarks.scale import cases
from benchmarks.scale.rows import Row, written
from benchmarks.scale.xla import Step, train_step

DEVICES = 8
SHARDED = {
    ".*table/embeddings": (True, False),
    ".*wide/kernel": (False, True),
    ".*wide/bias": (True,),
    ".*down/kernel": (True, False),
}
"""The axis of each weight that is divided: the products are Megatron's pair."""


@dataclass(frozen=True)
class Layout:
    """A mesh of `copies` x `parts` devices, and the axis of it that the weights are divided on."""

    name: str
    copies: int
    parts: int = 1
    axis: str = ""
    batch: int = cases.BATCH

    @property
    def shards(self) -> int:
        return {"": 1, "model": self.parts, "batch": self.copies}[self.axis]

    def place(self) -> None:
        """Set the distribution of all models that are made after."""
        devices = distribution.list_devices()[: self.copies * self.parts]
        if not self.axis:
            placed = distribution.DataParallel(devices=devices)
        else:
            mesh = distribution.DeviceMesh((self.copies, self.parts), ["batch", "model"], devices)
            layouts = distribution.LayoutMap(mesh)
            for path, divided in SHARDED.items():
                axes = tuple(self.axis if one else None for one in divided)
                layouts[path] = distribution.TensorLayout(axes, mesh)
            placed = distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
        distribution.set_distribution(placed)


GATHERED = Layout("ModelParallel, on the axis of the batch, 8 x 1", 8, 1, "batch", batch=4_096)
"""With a large batch XLA gathers the weights, with a small one the activations."""

LAYOUTS = (
    Layout("DataParallel, 8 devices", 8),
    Layout("ModelParallel, 1 x 8", 1, 8, "model"),
    Layout("ModelParallel, 2 x 4", 2, 4, "model"),
    GATHERED,
)


def measured(case: cases.Case, layout: Layout) -> tuple[keras.Model, Step]:
    """The model of a case in a layout, and the step that it trains with."""
    layout.place()
    try:
        model = cases.built(case)
        return model, train_step(model, *cases.batch(case, layout.batch))
    finally:
        distribution.set_distribution(None)


def row(case: cases.Case, layout: Layout) -> Row:
    model, step = measured(case, layout)
    whole = [v for v in model.trainable_variables if v.value.sharding.is_fully_replicated]
    divided = layout.axis == "model"
    return Row(
        engine=f"JAX, {layout.name}",
        case=case.name,
        **cases.shares(model),
        copies=layout.copies,
        shards=layout.shards,
        state=step.state,
        exchanged=step.exchanged(),
        whole=4 * sum(math.prod(v.shape) for v in whole),
        activations=cases.activations(case, layout.batch, layout.copies) if divided else 0,
        gathered=layout.axis == "batch",
        temporaries=step.temporaries,
        collectives=[
            f"{one.kind} of {', '.join(one.shapes)} among {one.group}" for one in step.collectives
        ],
    )


def rows(only: str = "") -> list[Row]:
    """All cases in all layouts; with the weights on the axis of the batch, those of the kernel."""
    return [
        row(case, layout)
        for layout in LAYOUTS
        for case in cases.chosen(only)
        if layout is not GATHERED or case.model == "kernel"
    ]


def main() -> int:
    # JAX reads this when it first needs a device.
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
    print(written(rows(*sys.argv[1:2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
