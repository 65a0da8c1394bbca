"""The numbers that `make scale` reads from the engines, and the formulas beside them."""

import keras
import pytest
from benchmarks.scale import page, paper, run
from benchmarks.scale.rows import Row
from benchmarks.scale.xla import Collective, collectives

from helpers import assert_script_ends

# Lines as XLA writes them, and their meaning.
LINES = {
    "one array": (
        "  %all-reduce.1 = f32[8,64]{1,0} all-reduce(%dot.4), channel_id=5, "
        "replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%region_2.0.clone",
        Collective("all-reduce", ("f32[8,64]",), 2_048, 4),
    ),
    "several, and a scalar": (
        "  %all-reduce = (f32[], bf16[32,2]{1,0}) all-reduce(%a, %b), channel_id=1, "
        "replica_groups=[1,8]<=[8], to_apply=%add",
        Collective("all-reduce", ("f32[]", "bf16[32,2]"), 132, 8),
    ),
    "axes of a mesh": (
        "  %all-gather.2 = f32[16,8]{0,1} all-gather(%fusion), channel_id=11, replica_groups=mesh["
        "'axis_0'=1,'axis_1'=4,'axis_2'=2], device_ids=([2,4]T(1,0)) {'axis_1'}, dimensions={1}",
        Collective("all-gather", ("f32[16,8]",), 512, 4),
    ),
    "two axes, one of them in part": (
        "  %all-gather.2 = s32[8]{0} all-gather(%fusion), replica_groups="
        "mesh['axis_0'=2,'axis_1'=8] {'axis_0','axis_1':(1)4}, dimensions={0}",
        Collective("all-gather", ("s32[8]",), 32, 8),
    ),
    "a layout with tiles": (
        "  %ar = (bf16[8,128]{1,0:T(8,128)(2,1)}, f32[4]{0:T(128)}) all-reduce(%a, %b), "
        "replica_groups={{0,1}}",
        Collective("all-reduce", ("bf16[8,128]", "f32[4]"), 2_064, 2),
    ),
    "scattered": (
        "  %rs = f32[2,64]{1,0} reduce-scatter(%a), replica_groups={{0,1,2,3}}, dimensions={0}",
        Collective("reduce-scatter", ("f32[2,64]",), 512, 4),
    ),
    "begun": (
        "  %ag = (f32[2,64]{1,0}, f32[8,64]{1,0}) all-gather-start(%a), replica_groups={}",
        Collective("all-gather", ("f32[8,64]",), 2_048, 8),
    ),
    "sent on": (
        "  %cp = f32[8,256]{1,0} collective-permute(%m), channel_id=6, source_target_pairs={{2,0}}",
        Collective("collective-permute", ("f32[8,256]",), 8_192, 8),
    ),
    "all to all": (
        "  %a2a = (u8[4]{0}, u8[4]{0}) all-to-all(%a, %b), replica_groups={{0,1}}",
        Collective("all-to-all", ("u8[4]", "u8[4]"), 8, 2),
    ),
}
HEAD = "HloModule jit_train_step, is_scheduled=true, num_partitions=8\n"
# Not collectives: the end of one already counted at its start, a use of one, and a name.
OTHERS = """
  %done = f32[8,64]{1,0} all-gather-done(%ag)
  %add.1 = f32[8,64]{1,0} add(%all-reduce.1, %all-reduce.2), metadata={op_name="all-reduce"}
  %all-reduce-scatter_fusion = f32[8]{0} fusion(%a), kind=kLoop, calls=%all-reduce.clone
"""

# At most two devices for each engine, on tables and kernels that take no time.
START = """
from dataclasses import replace
from benchmarks.scale import cases
from benchmarks.scale.paper import predicted
cases.ROWS, cases.INPUTS, cases.UNITS = 512, 32, 64
def check(row):
    state, exchanged = predicted(row)
    assert 0 <= row.state - state <= 32, (row, state)
    assert 0 <= row.exchanged - exchanged <= 4, (row, exchanged)
table, rows, kernel, bias = (
    cases.chosen(name)[0] for name in ("table, plain", "last 8", "kernel, plain", "bias")
)
"""
LIVE = {
    "jax": """
from benchmarks.scale.on_jax import Layout, row
both, divided = Layout("", 2), Layout("", 1, 2, "model")
for case, layout in ((rows, both), (bias, both), (kernel, divided), (bias, divided)):
    check(row(case, layout))

# Operations: forward, gradient of the inputs (but those of the first layer), of what trains.
import keras, numpy as np, frostline as fl
from benchmarks.scale.xla import train_step
x = np.ones((512, 128), "float32")
for trained in (128, 32):
    model = keras.Sequential([keras.Input((128,)), *[keras.layers.Dense(128) for _ in range(3)]])
    model.compile("adam", "mse")
    fl.train_only(model, "*/kernel", fl.at[:, :trained])
    found = train_step(model, x, x).operations / (2 * 512 * 128 * 128)
    assert 0 <= found - (3 + 2 + 3 * trained / 128) < 0.2, found
""",
    "tensorflow": """
from benchmarks.scale.on_tensorflow import REPLICAS, mirrored, row
strategy = mirrored()
for case in (table, rows):
    check(row(case, strategy, "", REPLICAS))
""",
    "torch": """
import torch
from benchmarks.scale.on_torch import row
store = torch.distributed.HashStore()
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
for case in (table, rows, bias):
    check(replace(row(case, 1, None), copies=2))  # the hook counts where there is one process too
torch.distributed.destroy_process_group()
""",
}


@pytest.mark.once
@pytest.mark.parametrize(("line", "said"), LINES.values(), ids=LINES)
def test_a_collective_is_read_from_a_line(line, said):
    assert collectives(HEAD + OTHERS + line + OTHERS) == [said]


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "sent"),
    {
        "all-reduce": 1_200.0,
        "all-gather": 600.0,
        "reduce-scatter": 2_400.0,
        "all-to-all": 600.0,
        "collective-permute": 800.0,
    }.items(),
)
def test_what_each_device_sends_in_a_ring(kind, sent):
    assert Collective(kind, ("f32[200]",), 800, 4).wire == sent


@pytest.mark.once
def test_a_type_that_is_not_known_is_no_zero():
    with pytest.raises(KeyError, match="f8e4m3fn"):
        collectives("%a = f8e4m3fn[8]{0} all-reduce(%b), replica_groups={}")


@pytest.mark.parametrize("script", [START + LIVE[keras.backend.backend()]], ids=["live"])
def test_the_formulas_give_what_an_engine_says(script):
    assert_script_ends(script, XLA_FLAGS="--xla_force_host_platform_device_count=2")


def _stored():
    return [Row(**row) for kept in run.stored().values() for row in kept["rows"]]


# Here the gradient of the whole kernel is scattered among the devices, as for a plain kernel.
SCATTERED = ("JAX, ModelParallel, on the axis of the batch, 8 x 1", "kernel, 0.1 % of the entries")


@pytest.mark.once
@pytest.mark.parametrize("row", _stored(), ids=lambda row: f"{row.engine}: {row.case}")
def test_the_formulas_give_what_was_measured(row):
    state, exchanged = paper.predicted(row)
    assert row.state == pytest.approx(state, rel=0.0005)
    if (row.engine, row.case) == SCATTERED:
        exchanged += 4 * 1_024 * 2_048
    assert row.exchanged == pytest.approx(exchanged, rel=0.005)


@pytest.mark.once
def test_the_models_on_paper_have_the_weights_of_llama_2():
    assert [model.entries for model in paper.MODELS] == [6_738_415_616, 68_976_648_192]


@pytest.mark.once
def test_a_step_on_paper_by_hand():
    small = paper.Transformer("", layers=2, width=8, hidden=16, kv_width=4, vocabulary=10)
    block = 8 * 8 * 2 + 8 * 4 * 2 + 8 * 16 * 3 + 2 * 8
    entries = 2 * block + 2 * 80 + 8
    assert (small.block, small.entries, small.multiplied) == (block, entries, entries - 80)
    tokens = paper.LENGTH
    activations = 2 * tokens * 8 * 2 + 2 * tokens * (8 * 8 + 3 * 16) + 8 * tokens * 10
    operations = 3.25 * 2 * (entries - 80) * tokens + 8 * tokens * tokens * 8 * 2
    assert paper.operations(small, 0.25) == operations
    need = paper.data_parallel(small, 0.25, 4)
    held = 4 * 0.75 * entries + 12 * 0.25 * entries + 4 * 0.25 * entries + 2 * block
    assert need.memory == held + activations
    assert need.sent == 1.5 * 4 * 0.25 * entries
    assert need.seconds == operations / (0.4 * 989e12)
    need = paper.fully_sharded(small, 0.25, 4)
    held = (4 * 0.75 + 12 * 0.25 + 4 * 0.25) * entries / 4 + 4 * block
    assert need.memory == held + activations
    assert need.sent == 0.75 * (4 * entries + 4 * 0.25 * entries)
    need = paper.model_parallel(small, 0.25, 16)
    assert need.sent == 6 * 2 * 2 * 7 / 8 * 2 * 8 * tokens * 8 + 4 * 0.25 * entries / 8


@pytest.mark.once
@pytest.mark.parametrize("way", paper.WAYS)
def test_a_network_that_is_slower_than_the_products_decides(way):
    model = paper.MODELS[0]
    need, slow = (
        paper.WAYS[way](model, 1.0, 512, paper.Accelerator(links=links)) for links in (8, 1)
    )
    assert slow.sent == need.sent
    assert slow.seconds > 1.2 * need.seconds


@pytest.mark.once
def test_the_page_is_what_the_kept_numbers_say():
    assert run.PAGE.read_text() == run.page()


@pytest.mark.once
def test_tables_have_a_cell_for_each_head():
    for lines in (page.measured(_stored()), page.on_paper()):
        tables = "\n".join(lines).split("#### ")[1:]
        counts = [{line.count("|") for line in table.splitlines()[2:] if line} for table in tables]
        assert all(len(one) == 1 for one in counts)
    assert "*110.9 GB, 47 GB, 0.59 s*" in "\n".join(page.on_paper())
