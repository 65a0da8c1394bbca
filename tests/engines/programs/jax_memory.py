"""The memory of a device and the communication of devices if part of a weight is frozen."""

import math

from benchmarks.scale import cases, on_jax

import frostline as fl

PLAIN = {"table": 32_768 * 64, "kernel": 1_024 * 2_048}  # entries of the partly frozen weight
layouts = {layout.name.split(",")[0]: layout for layout in on_jax.LAYOUTS[:2]}
steps = {}
for engine, layout in layouts.items():
    for case in cases.CASES:
        if engine == "DataParallel" and "entries" not in case.name and "half" not in case.name:
            continue
        model, step = on_jax.measured(case, layout)
        trained = sum(variable.value.size for variable in model.trainable_variables)
        print(engine, case.name, step.state, step.temporaries, *step.collectives)
        steps[engine, case.name] = step
        if engine == "DataParallel":
            # The gradient of the trainable entries, and the loss.
            assert step.exchanged() == 4 * trained + 4, step.collectives
            continue
        plain = steps[engine, f"{case.model}, plain"]
        if step is plain:
            continue
        # The weight, the trainable positions and the two Adam slots are divided among 8 devices. A
        # bias, counters and parts that are too small to divide come on top.
        rest = (
            sum(math.prod(weight.shape) for weight in fl.weights(model).values())
            - PLAIN[case.model]
        )
        assert step.state <= 1.05 * 4 * (PLAIN[case.model] + 3 * trained) / 8 + 4 * rest
        assert step.state < plain.state
        assert step.temporaries <= plain.temporaries
        for collective in step.collectives:
            # Devices exchange activations and trainable entries, nothing as large as a frozen part.
            assert collective.size <= max(4 * trained, cases.activations(case, layout.batch), 65536)
            assert collective.size < 4 * PLAIN[case.model] / 8
assert len(steps) == 9, steps

# Without this layout each device has the whole gradient of the output. The gradient of the kernel
# is divided all the same.
del on_jax.SHARDED[".*down/kernel"]
plain, entries = (
    on_jax.measured(case, layouts["ModelParallel"])[1]
    for case in cases.CASES
    if case.name in ("kernel, plain", "kernel, 0.1 % of the entries")
)
assert entries.temporaries <= 1.05 * plain.temporaries, (entries.temporaries, plain.temporaries)
