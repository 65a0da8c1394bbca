"""A change warns about a wrapper around the model that it makes stale, and about nothing else."""

import gc
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.distributed
from torch.distributed import fsdp
from torch.nn.parallel import DistributedDataParallel

import frostline as fl
from helpers import assert_same_bits, value
from models import dense_layers

dist: Any = torch.distributed
AVERAGED = "the gradient of this weight would not be averaged over the processes"
WAITED_FOR = "the next step would wait for the gradient of this weight, which does not train"


@pytest.fixture(scope="module", autouse=True)
def group():
    """A process group with this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def small():
    return dense_layers(first=5, second=4, third=3)


def step(wrapper):
    wrapper.zero_grad()
    wrapper(torch.ones(2, 6)).sum().backward()


def told(change):
    """The warnings that a change gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        change()
    return [str(one.message) for one in caught if one.category is UserWarning]


def assert_told(change, effect, more=""):
    (line,) = told(change)
    assert f"the model was wrapped before this change, and {effect}" in line
    assert f"; got DistributedDataParallel around Sequential{more}. Wrap the model" in line
    assert line.endswith("in each process: `DistributedDataParallel(model)`.")


def assert_quiet(change):
    assert told(change) == []


ROWS, ENTRIES = fl.at[:2], fl.mask(np.eye(6, 5, dtype=bool))
# The freeze when the model is wrapped, the later change, and the effect that the warning names.
CHANGES = {
    "rows frozen": (None, lambda m: fl.freeze(m, "first/kernel", ROWS), AVERAGED),
    "entries frozen": (None, lambda m: fl.freeze(m, "first/kernel", ENTRIES), AVERAGED),
    "whole frozen": (None, lambda m: fl.freeze(m, "first/kernel"), WAITED_FOR),
    "rows thawed": (ROWS, lambda m: fl.unfreeze(m), AVERAGED),
    "rows for others": (ROWS, lambda m: fl.freeze(m, "first/kernel", fl.at[3]), AVERAGED),
    "all after rows": (ROWS, lambda m: fl.freeze(m, "first/kernel"), WAITED_FOR),
    "whole thawed": (fl.everything, lambda m: fl.unfreeze(m), AVERAGED),
    "rows of the whole thawed": (
        fl.everything,
        lambda m: fl.unfreeze(m, "first/kernel", ROWS),
        AVERAGED,
    ),
}


@pytest.mark.parametrize(("before", "change", "effect"), CHANGES.values(), ids=CHANGES)
def test_a_change_after_wrapping_is_told(before, change, effect):
    model = small()
    if before is not None:
        fl.freeze(model, "first/kernel", before)
    wrapper = DistributedDataParallel(model)
    assert_told(lambda: change(model), effect)
    # Wrapping again, as the warning suggests, helps: only the next change warns again.
    wrapper = DistributedDataParallel(model)
    step(wrapper)
    step(wrapper)
    assert_told(lambda: fl.freeze(model, "second/bias"), WAITED_FOR)


def test_without_wrapping_again_the_second_step_stops():
    wrapper = DistributedDataParallel(small())
    told(lambda: fl.freeze(wrapper.module, "first/kernel", ROWS))
    step(wrapper)
    with pytest.raises(RuntimeError, match="Expected to have finished reduction in the prior"):
        step(wrapper)


def test_one_warning_counts_the_weights_of_a_wrapper():
    wrapper = DistributedDataParallel(small())
    rows = fl.at[0]
    assert_told(
        lambda: fl.freeze(wrapper.module, "*/kernel", rows), AVERAGED, ", and 2 more weights"
    )
    other = DistributedDataParallel(wrapper.module)
    assert len(told(lambda: fl.freeze(wrapper.module, "*/bias"))) == 2
    del other


def test_no_word_of_a_wrapper_that_is_right():
    model = small()
    wrapper = DistributedDataParallel(model, find_unused_parameters=True)
    # With `find_unused_parameters` PyTorch does not wait for these gradients.
    assert_quiet(lambda: fl.freeze(model, "first/*"))
    assert_quiet(lambda: fl.unfreeze(model, "first/*"))
    assert_quiet(lambda: fl.freeze(model, "second/kernel"))
    assert_told(lambda: fl.freeze(model, "third/kernel", fl.at[0]), AVERAGED)
    wrapper = DistributedDataParallel(model)
    # The change is undone before the next step.
    told(lambda: fl.freeze(model, "first/*"))
    assert_quiet(lambda: fl.unfreeze(model, "first/*"))
    step(wrapper)
    step(wrapper)


def test_no_word_of_layers_that_do_not_train():
    model = small()
    model.get_layer("first").trainable = False
    wrapper = DistributedDataParallel(model)
    assert_quiet(lambda: fl.freeze(model, "first/kernel", ROWS))
    assert_quiet(lambda: fl.freeze(model, "first/*"))
    assert_quiet(lambda: fl.unfreeze(model))
    step(wrapper)


def test_no_word_of_a_wrapper_of_another_model_or_of_what_it_ignores():
    wrapper, model = DistributedDataParallel(small()), small()
    assert_quiet(lambda: fl.freeze(model, "*/kernel", ROWS))
    assert_quiet(lambda: fl.unfreeze(model))
    other = small()
    names = [name for name, _ in other.named_parameters() if "first" in name]
    other._ddp_params_and_buffers_to_ignore = names
    ignoring = DistributedDataParallel(other)
    assert_quiet(lambda: fl.freeze(other, "first/kernel", ROWS))
    del wrapper, ignoring


def test_no_word_of_a_wrapper_that_is_gone():
    model = small()
    wrapper = DistributedDataParallel(model)
    vars(wrapper)["itself"] = wrapper
    gc.disable()
    try:
        del wrapper
        assert_quiet(lambda: fl.freeze(model, "*/kernel", ROWS))
    finally:
        gc.enable()


def test_no_word_of_a_wrapper_that_could_not_be_made():
    model = small()
    fl.freeze(model)
    with pytest.raises(RuntimeError, match="not needed when a module doesn't have any") as kept:
        DistributedDataParallel(model)
    assert_quiet(lambda: fl.unfreeze(model))
    del kept


def test_models_inside_others_and_layers_of_two_models():
    inner = small()

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = inner, torch.nn.Linear(3, 2)

    wrapper = DistributedDataParallel(Module())
    (line,) = told(lambda: fl.freeze(inner, "second/kernel", ROWS))
    assert "got DistributedDataParallel around Module." in line
    outer = keras.Sequential([keras.Input((6,)), inner, keras.layers.Dense(2, name="head")])
    wrapper = DistributedDataParallel(outer)
    assert_told(lambda: fl.freeze(inner, "first/bias"), WAITED_FOR)
    assert_told(lambda: fl.freeze(inner.get_layer("third"), "kernel", fl.at[0]), AVERAGED)
    del wrapper


def test_contexts_and_schedules_tell_too():
    model = small()
    wrapper = DistributedDataParallel(model)

    def block():
        with fl.frozen(model, "first/kernel", ROWS):
            pass

    assert_told(block, AVERAGED)
    wrapper = DistributedDataParallel(model)
    schedule = fl.callbacks.FreezeSchedule({1: lambda m: fl.freeze(m, "third/kernel", ROWS)})
    schedule.set_model(model)
    assert_quiet(lambda: schedule.on_epoch_begin(0))
    assert_told(lambda: schedule.on_epoch_begin(1), AVERAGED)
    gradual = fl.callbacks.gradual_unfreezing(model)
    gradual.set_model(model)
    told(lambda: gradual.on_epoch_begin(0))
    wrapper = DistributedDataParallel(model)
    assert_told(lambda: gradual.on_epoch_begin(1), AVERAGED, ", and 1 more weight")
    del wrapper


def test_a_warning_that_is_an_error_changes_nothing():
    model = small()
    wrapper = DistributedDataParallel(model)
    with pytest.raises(UserWarning, match="was wrapped before this change"):
        fl.freeze(model, "first/kernel", ROWS)  # the suite turns warnings into errors
    assert not fl.is_frozen(model.get_layer("first").kernel)
    step(wrapper)
    step(wrapper)


def fully_shard(model):
    return fsdp.fully_shard(model, mesh=dist.init_device_mesh("cpu", (1,)))


def first_fsdp(model):
    return fsdp.FullyShardedDataParallel(model, device_id=torch.device("cpu"))


SHARDED = {"fully_shard": fully_shard, "FullyShardedDataParallel": first_fsdp}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:FSDP is switching:UserWarning")
@pytest.mark.parametrize("name", SHARDED)
def test_keras_does_not_train_shards_and_a_freeze_of_them_is_refused(name):
    model = small()
    sharded = SHARDED[name](model)
    kernel = model.get_layer("first").kernel
    before = value(kernel)
    optimizer = torch.optim.SGD(sharded.parameters(), 0.1)
    sharded(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    assert_same_bits(value(kernel), before)
    with pytest.raises(fl.UnsupportedError) as caught:
        fl.freeze(model, "first/kernel", ROWS)
    assert str(caught.value) == (
        f"{kernel.path}: Keras layers do not use the shards of a weight, so nothing "
        f"would train; got {name}. Build the model again and wrap it: "
        "`DistributedDataParallel(model)`."
    )
    assert not fl.is_frozen(kernel)
    fl.freeze(small(), "first/kernel", ROWS)


def test_what_pytorch_keeps_private():
    model = small()
    fl.freeze(model, "first/kernel")
    wrapper = DistributedDataParallel(model)
    made_with = {id(parameter) for parameter in wrapper._module_parameters}
    assert made_with == {id(parameter) for parameter in model.parameters()}
    assert wrapper.find_unused_parameters is wrapper.static_graph is False
