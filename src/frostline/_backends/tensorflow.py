"""TensorFlow: resource handles, distribution strategies, SavedModel."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import auto_control_deps_utils as _control

from frostline import _keras
from frostline._arrays.places import flat_positions, index_of
from frostline._arrays.plan import EntriesPlan, SplitPlan, fingerprint
from frostline._backends.arithmetic import Merge
from frostline._backends.base import Backend
from frostline._backends.found import Traced
from frostline._errors import UnsupportedError


class _View:
    """A view has no storage of its own, so TensorFlow cannot treat it as a resource."""

    path: str
    _frostline: Any

    @property
    def handle(self) -> Any:
        raise UnsupportedError(
            f"{self.path}: this weight is partly frozen, so it is not a tf.Variable that a "
            "GradientTape can watch or differentiate. Take the gradient with respect to "
            "`model.trainable_variables`, which contain its trainable part."
        )

    # For SavedModel and Checkpoint: the state is in the parts, which are children of the view.
    def _trackable_children(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        del args, kwargs
        parts = self._frostline
        mark = fingerprint(parts.plan)  # so that a checkpoint of another freeze does not match
        return {f"trainable_{mark}": parts.trainable, f"frozen_{mark}": parts.frozen}

    def _serialize_to_tensors(self) -> dict[str, Any]:
        return {}

    def _restore_from_tensors(self, restored_tensors: dict[str, Any]) -> None:
        del restored_tensors

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {}

    def _copy_trackable_to_cpu(self, object_map: dict[Any, Any]) -> None:
        object_map[self] = self

    def _export_to_saved_model_graph(
        self, object_map: Any, tensor_map: Any, options: Any, **kwargs: Any
    ) -> list[Any]:
        del tensor_map, options, kwargs
        object_map[self] = self
        return []

    def _write_object_proto(self, proto: Any, options: Any) -> None:
        del options
        proto.user_object.identifier = "_generic_user_object"


class TensorFlowBackend(Backend):
    """A variable that replaces another must be made under the strategy of the other."""

    divides_convolutions = True
    repeats_operations = True
    engine_errors = (tf.errors.OpError,)
    function_kinds = (tf.types.experimental.PolymorphicFunction,)
    view_mixin = _View

    def seed(self, number: int) -> None:
        super().seed(number)
        tf.random.set_seed(number)

    def check_changeable(self, variable: Any) -> None:
        strategy, here = _strategy(variable), tf.distribute
        within = here.has_strategy() and not here.in_cross_replica_context()
        if within or not tf.executing_eagerly():
            raise UnsupportedError(
                f"{variable.path}: the freeze cannot change inside a step; got a call inside "
                f"{'`strategy.run`' if within else 'a tf.function'}. Call it between two steps."
            )
        if here.has_strategy() and strategy is not here.get_strategy():
            raise UnsupportedError(
                f"{variable.path}: this weight belongs to another strategy than the open scope; "
                f"got scope={type(here.get_strategy()).__name__}. Call it outside of "
                "`with strategy.scope():`: each weight keeps its own strategy there."
            )
        coordinator = getattr(strategy, "_cluster_coordinator", None)
        if coordinator is not None and not coordinator.done():
            raise UnsupportedError(
                f"{variable.path}: scheduled steps are still training this weight; got "
                "coordinator.done()=False. Wait for them first: `coordinator.join()`."
            )

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        strategy = _strategy(variable)
        if strategy is None or strategy is tf.distribute.get_strategy():
            return contextlib.nullcontext()
        return strategy.scope()

    def naming(self, variable: Any) -> AbstractContextManager[Any]:
        # Optimizers search the name of a variable for the words of `exclude_from_weight_decay`. On
        # TensorFlow that name includes the layers.
        above = variable.path.rpartition("/")[0]
        return tf.name_scope(f"{above}/") if above else contextlib.nullcontext()

    def reference(self, storage: Any) -> Callable[[], Any]:
        # A compiled function may still use the resource of a variable that Python has dropped.
        return lambda: storage

    def traced_functions(self, variables: Iterable[Any], living: Sequence[Any]) -> list[Traced]:
        asked = {handle: variable for variable in variables for handle in _handles(variable)}

        @functools.cache
        def trained() -> frozenset[int]:
            layers = _keras.constructed_layers(living)
            listed = (variable for layer in layers for variable in _keras.own_variables(layer))
            return frozenset(
                h for variable in listed if variable.trainable for h in _handles(variable)
            )

        return [
            Traced(
                function,
                _name(function),
                asked[handle],
                writes=lambda trace=trace, handle=handle: handle in _written(trace),
                trains=lambda trace=trace: not trained().isdisjoint(_written(trace)),
            )
            for function in living
            if issubclass(type(function), self.function_kinds)
            for trace in _traces(function)
            for handle in map(id, trace.captured_inputs)
            if handle in asked
        ]

    def is_dense(self, value: Any) -> bool:
        return isinstance(value, tf.Tensor)

    def read(self, variable: Any) -> Any:
        # If it is not cast, the value of a variable is its resource.
        return tf.convert_to_tensor(variable.value)

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        if isinstance(tensor, tf.Variable):
            tensor = tf.convert_to_tensor(tensor)
        # Keras calls `tensor.numpy()`, which makes a copy.
        return np.asarray(tensor) if isinstance(tensor, tf.Tensor) else super().to_numpy(tensor, of)

    def copies(self, variable: Any) -> Sequence[Any]:
        return getattr(_keras.storage(variable), "values", ())

    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        tensor = tf.convert_to_tensor(_keras.storage(variable))
        if axis is None:
            tensor, axis = tf.reshape(tensor, (-1,)), 0
        return self.to_numpy(tf.gather(tensor, positions, axis=axis))

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        storage, shape = _keras.storage(variable), tuple(variable.shape)
        if axis:
            positions, axis, values = flat_positions(shape, positions, axis), None, values.ravel()
        at = np.stack(index_of(shape, positions, axis), axis=-1)
        if isinstance(_strategy(variable), tf.distribute.ParameterServerStrategy):
            # In another process. In eager mode TensorFlow does not know its shape, and fails.
            tf.function(storage.scatter_nd_update, autograph=False)(at, values)
            return
        for copy in self.copies(variable) or (storage,):
            # TensorFlow copies first if a tensor that was read shares the memory. After the update,
            # every read would make a copy; the second line prevents that.
            copy.scatter_nd_update(at, values)
            tf.raw_ops.DisableCopyOnRead(resource=copy.handle)

    def whole(self, parts: Any, merge: Merge) -> Any:
        return self.dense_gradient(super().whole(parts, merge))

    def dense_gradient(self, tensor: Any) -> Any:
        # The gradient of a lookup has a row for each id of the batch, and an optimizer squares the
        # rows of a repeated id separately. A reshape makes it dense, as on the other backends and
        # for every plan; see `test_embedding_gradient_is_whole`.
        return tf.reshape(tensor, tensor.shape)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        return tf.gather(tensor, plan.trainable, axis=axis)

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        return tf.tensor_scatter_nd_update(base, plan.trainable[:, None], rows)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        traces: dict[Any, Any] = {}

        # One trace for each set of shapes. A `tf.function` would do the same, but warn.
        def run(*args: Any) -> Any:
            args = tf.nest.map_structure(tf.convert_to_tensor, args)
            key = tuple((tuple(one.shape), one.dtype) for one in tf.nest.flatten(args))
            if key not in traces:
                # Like Keras's own steps, without AutoGraph.
                traced = tf.function(function, autograph=False)
                traces[key] = traced.get_concrete_function(*args)
            return traces[key](*args)

        return run

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        values = [tf.identity(value) for value in values]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            found = function(values)
        gradients = tape.gradient(found, values)
        # The gradient of a lookup is a list of rows.
        return [None if one is None else tf.convert_to_tensor(one) for one in gradients]

    def for_each(
        self,
        function: Callable[[list[Any], list[Any]], list[Any]],
        carry: list[Any],
        arrays: Sequence[Any],
    ) -> list[Any]:
        count = arrays[0].shape[0]

        def body(at: Any, *carry: Any) -> list[Any]:
            one = [tf.expand_dims(tf.gather(array, at), 0) for array in arrays]
            return [at + 1, *function(list(carry), one)]

        # One iteration at a time: each holds a gradient of all weights.
        return tf.while_loop(
            lambda at, *_: at < count, body, [tf.constant(0), *carry], parallel_iterations=1
        )[1:]

    def pull_back(self, function: Callable[[Any], Any], x: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, upstream)

    def multiplies_at_entries(self, plan: SplitPlan, x: Any) -> bool:
        few = len(plan.trainable) <= 0.015 * plan.size
        return few and x.dtype == tf.float32 and not tf.config.list_logical_devices("GPU")

    def product_at_entries(self, plan: EntriesPlan, x: Any, y: Any) -> Any:
        x, y = tf.transpose(x), tf.transpose(y)
        found = tf.map_fn(
            lambda at: tf.reduce_sum(tf.gather(x, at[0]) * tf.gather(y, at[1]), -1),
            plan.blocks,
            fn_output_signature=x.dtype,
            parallel_iterations=2,  # each iteration holds what it gathers
        )
        return tf.reshape(found, (-1,))[: len(plan.trainable)]

    def split(self, tensor: Any, sizes: list[int], axis: int) -> Sequence[Any]:
        # `ops.split` adds a dozen operations to a graph, and tracing takes twice as long.
        return tf.split(tensor, sizes, axis)

    def matmul_transposed(self, x: Any, weight: Any) -> Any:
        # For few rows this takes half the time of `matmul` with `transpose_b=True`.
        if len(x.shape) == 2:
            return tf.einsum("bi,oi->bo", x, weight)
        y = tf.einsum("bi,oi->bo", tf.reshape(x, (-1, x.shape[-1])), weight)
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], tf.shape(y)[-1:]], 0))

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        frozen = self.read(parts.frozen)

        @tf.custom_gradient
        def run(x: Any, trainable: Any) -> Any:
            whole = merge(parts.plan, trainable, frozen)

            def gradient(upstream: Any) -> Any:
                # In eager mode the tape does not see that the weight depends on the trainable
                # part, which a second derivative needs.
                weight = merge(parts.plan, trainable, frozen) if tf.executing_eagerly() else whole
                return (
                    product.gradient_x(x, weight, upstream),
                    product.gradient_part(x, trainable, upstream),
                )

            return product.apply(x, whole), gradient

        return run(x, self.read(parts.trainable))

    def patched(self, product: Any, x: Any, trainable: Any, frozen: Any) -> Any:
        # TensorFlow's own gradient of a lookup would be a slower sum over segments.
        @tf.custom_gradient
        def run(x: Any, trainable: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return product.patched_gradients(x, trainable, frozen, upstream)

            return product.patched(x, trainable, frozen), gradient

        return run(x, trainable)


def _strategy(variable: Any) -> Any:
    """The strategy that a variable was made under, None for none.

    Mirrored variables have a public attribute for it; those on a parameter server do not.
    """
    return getattr(_keras.storage(variable), "_distribute_strategy", None)


def _handles(variable: Any) -> Iterator[int]:
    """The ids of a variable's handles, as traces hold them: one for each mirrored copy."""
    storage = _keras.storage(variable)
    for copy in getattr(storage, "values", (storage,)):
        if isinstance(copy, tf.Variable):
            yield id(copy.handle)


def _traces(function: Any) -> list[Any]:
    """The graphs that a `tf.function` has made so far.

    They have no public name. `_list_all_concrete_functions` would make one more if the function has
    an input signature. `test_what_tensorflow_keeps_private` tests this private attribute.
    """
    return function._function_cache.values()


def _written(trace: Any) -> set[int]:
    """The ids of the captured tensors that a graph writes.

    TensorFlow computes this to order operations, also in loops and in calls of other graphs. It has
    no public name; `test_what_tensorflow_keeps_private` tests the private function.
    """
    read = set(_control.get_read_only_resource_input_indices_graph(trace.graph))
    captured = trace.captured_inputs
    start = len(trace.graph.inputs) - len(captured)  # the arguments come first
    return {id(one) for i, one in enumerate(captured, start) if i not in read}


def _name(function: Any) -> str:
    # TensorFlow gives callable objects, such as a model, the name `function`.
    called = function.python_function
    return function.name if hasattr(called, "__name__") else type(called).__name__
