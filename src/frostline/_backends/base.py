"""What a backend may do in its own way; the defaults suit one that needs nothing special."""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._arrays.places import index_of
from frostline._arrays.plan import Plan
from frostline._backends.arithmetic import Arithmetic
from frostline._backends.found import Traced, Wrapper


class Backend(Arithmetic):
    """Defaults, and the list of all that differs."""

    native_optimizer_kinds: tuple[type, ...] = ()
    """The classes of the framework's own optimizers, where these hold variables."""

    function_kinds: tuple[type, ...] = ()
    """The classes of compiled functions that keep the variables they were traced with."""

    engine_errors: tuple[type[Exception], ...] = ()
    """The errors of the framework's own engine, such as one of processes that do not answer."""

    view_mixin: type = object
    """A class that a full-shape view inherits from, before the variable class of Keras."""

    def seed(self, number: int) -> None:
        """Seed what Keras draws from: initializers, shuffling.

        `keras.utils.set_random_seed` does that too, and imports TensorFlow where it is installed,
        which takes seconds and prints lines of its own.
        """
        random.seed(number)
        np.random.seed(number)

    def check_changeable(self, variable: Any) -> None:
        """The error for a place or a moment at which the freeze of `variable` can not change."""
        del variable

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which variables that take the place of `variable` are made."""
        del variable
        return contextlib.nullcontext()

    def naming(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which the framework gives what it makes the name that `variable` has."""
        del variable
        return contextlib.nullcontext()

    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        """The mesh axis along each of the `ndim` axes of a variable, None without a layout."""
        del ndim
        is_layout = isinstance(layout, keras.distribution.TensorLayout)
        return list(layout.axes) if is_layout else None

    def mesh_sizes(self, layout: Any) -> dict[Any, int]:
        """How many devices there are along each axis of the mesh of a layout."""
        mesh = layout.device_mesh
        return dict(zip(mesh.axis_names, mesh.shape, strict=True))

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        """A layout on the same mesh, along other axes."""
        return keras.distribution.TensorLayout(axes, layout.device_mesh)

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        """Bring the framework's own list of parameters in line with the variables of `layers`."""

    def reference(self, storage: Any) -> Callable[[], Any]:
        """What gives a variable's storage back, or None if nothing else has kept it."""
        return weakref.ref(storage)

    def let_go(self, layers: Iterable[Any], variable: Any) -> None:
        """Drop what the framework's own lists in `layers` hold of a variable's storage."""

    def native_optimizers(
        self, variables: Iterable[Any], living: Iterable[Any]
    ) -> list[tuple[str, str]]:
        """Those of all `living` objects that hold the storage of a variable: class, path."""
        del variables, living
        return []

    def wrapper_kinds(self) -> tuple[type, ...]:
        """The classes of modules around a model that reduce its gradients over processes."""
        return ()

    def wrappers(self, living: Iterable[Any]) -> list[Wrapper]:
        """Those of all `living` objects that train a model in several processes."""
        del living
        return []

    def traced_functions(self, variables: Iterable[Any], living: Sequence[Any]) -> list[Traced]:
        """Those of all `living` objects that were traced with the storage of a variable."""
        del variables, living
        return []

    def forget_gradient(self, variable: Any) -> Callable[[], None]:
        """Drop a gradient that the framework keeps beside the storage of a variable.

        Returns:
            What puts it back.
        """
        del variable
        return lambda: None

    def lock(self, variable: Any, path: str) -> None:
        """Keep a frozen variable's storage from training, whatever the framework is told of it.

        Args:
            variable: A variable that does not train.
            path: The weight that it is, or is the frozen part of.
        """
        del variable, path

    def unlock(self, variable: Any) -> None:
        """Undo `lock`; nothing where it was not called."""
        del variable

    def remember(self, frozen: Any, value: Any) -> None:
        """Note the `value` that a forward pass read from a frozen part, see `recall`."""

    def recall(self, frozen: Any, part: Any) -> Any:
        """The value of a frozen part while its trainable part is updated to the tensor `part`."""
        del part
        return frozen.value

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        """A tensor as an array with the same bits, not copied if that can be avoided.

        Every process calls this for a tensor that spans processes. Errors name the weight `of`.
        """
        del of
        return np.asarray(ops.convert_to_numpy(tensor))

    def local(self, tensor: Any) -> tuple[np.ndarray, tuple[tuple[slice, ...], ...] | None]:
        """The same of what is in this process, zeros for the rest; its regions, None for all."""
        return self.to_numpy(tensor), None

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        """What `variable.assign` writes with the bits of an array."""
        del variable
        return array

    def copies(self, variable: Any) -> Sequence[Any]:
        """The copies of a variable that has storage, where each device has one of its own."""
        del variable
        return ()

    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        """Entries of a variable that has storage, with the same bits.

        Args:
            variable: A variable that is not divided.
            positions: Sorted or not, unique and in bounds: flat ones in C order, or along `axis`.
            axis: Of the variable, None for flat positions.
        """
        return self.to_numpy(variable.value)[index_of(tuple(variable.shape), positions, axis)]

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        """Write entries in the order in which `read_at` gives them; all others keep their bits.

        Without a copy of the variable, if nothing that has been read from it can change by that.
        """
        whole = np.array(self.to_numpy(variable.value, variable.path), order="C")
        whole[index_of(whole.shape, positions, axis)] = values
        variable.assign(self.from_numpy(whole, variable))

    def own(self, tensor: Any) -> Any:
        """The tensor in memory that no other is a view of, in the order of its axes."""
        return tensor

    def is_alive(self, variable: Any) -> bool:
        """Whether a variable still has the memory that it was given."""
        del variable
        return True

    def is_dense(self, value: Any) -> bool:
        """Whether a value is a dense tensor, not sparse, ragged or symbolic."""
        return ops.is_tensor(value)

    def memory_order(self, tensor: Any) -> Any:
        """In which order the axes of a tensor lie in memory, None for the usual one."""
        del tensor

    def in_order(self, tensor: Any, order: Any) -> Any:
        """The tensor with its memory in an order that `memory_order` gave."""
        del order
        return tensor

    def agree(self, plans: Sequence[tuple[Any, Plan | None]]) -> None:
        """The error for a change that not all processes make which share the variables."""
        del plans

    def drop_traces(self, divided: Iterable[tuple[Any, Any, Sequence[Any]]]) -> None:
        """Forget compiled functions that would run on with the positions of an earlier plan.

        Args:
            divided: Variables that have a new plan, the plan, and the two parts.
        """
        del divided
