"""The interface to a backend, with defaults for one that needs nothing special."""

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
    """Everything that differs between backends, with defaults."""

    native_optimizer_kinds: tuple[type, ...] = ()
    """The classes of the framework's own optimizers, if these hold variables."""

    function_kinds: tuple[type, ...] = ()
    """The classes of compiled functions that keep the variables they were traced with."""

    engine_errors: tuple[type[Exception], ...] = ()
    """The errors of the framework's own engine, for example for processes that do not answer."""

    view_mixin: type = object
    """A class that views inherit from, before the variable class of Keras."""

    def seed(self, number: int) -> None:
        """Seed the random numbers of Keras: initializers, shuffling.

        `keras.utils.set_random_seed` does the same, but imports TensorFlow if it is installed,
        which takes seconds and prints messages.
        """
        random.seed(number)
        np.random.seed(number)

    def check_changeable(self, variable: Any) -> None:
        """Raise an error if the freeze of `variable` cannot change at this point of the program."""
        del variable

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        """The context for making variables that replace `variable`."""
        del variable
        return contextlib.nullcontext()

    def naming(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which new variables of the framework get the name of `variable`."""
        del variable
        return contextlib.nullcontext()

    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        """The mesh axis along each of the `ndim` axes of a variable, None without a layout."""
        del ndim
        is_layout = isinstance(layout, keras.distribution.TensorLayout)
        return list(layout.axes) if is_layout else None

    def mesh_sizes(self, layout: Any) -> dict[Any, int]:
        """The number of devices along each axis of the mesh of a layout."""
        mesh = layout.device_mesh
        return dict(zip(mesh.axis_names, mesh.shape, strict=True))

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        """A layout on the same mesh, along other axes."""
        return keras.distribution.TensorLayout(axes, layout.device_mesh)

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        """Update the framework's own lists of parameters to the variables of `layers`."""

    def reference(self, storage: Any) -> Callable[[], Any]:
        """A function that returns a variable's storage, or None if nothing else holds it."""
        return weakref.ref(storage)

    def letting_go(self, layers: Iterable[Any]) -> Callable[[Any], None]:
        """A function that removes a variable's storage from the framework's lists in `layers`."""
        del layers
        return lambda variable: None

    def native_optimizers(
        self, variables: Iterable[Any], living: Iterable[Any]
    ) -> list[tuple[str, str]]:
        """The `living` optimizers that hold the storage of a variable: class, path."""
        del variables, living
        return []

    def wrapper_kinds(self) -> tuple[type, ...]:
        """The classes of modules that wrap a model and average gradients over processes."""
        return ()

    def wrappers(self, living: Iterable[Any]) -> list[Wrapper]:
        """The `living` modules that train a model in several processes."""
        del living
        return []

    def traced_functions(self, variables: Iterable[Any], living: Sequence[Any]) -> list[Traced]:
        """The `living` functions that were traced with the storage of a variable."""
        del variables, living
        return []

    def forget_gradient(self, variable: Any) -> Callable[[], None]:
        """Drop the gradient that the framework keeps with the storage of a variable.

        Returns:
            A function that restores it.
        """
        del variable
        return lambda: None

    def lock(self, variable: Any, path: str) -> None:
        """Keep the storage of a frozen variable from training, also if user code enables it.

        Args:
            variable: A variable that does not train.
            path: The path of the weight, which the variable is, or is the frozen part of.
        """
        del variable, path

    def unlock(self, variable: Any) -> None:
        """Undo `lock`, if it was called."""
        del variable

    def remember(self, frozen: Any, value: Any) -> None:
        """Record the `value` that a forward pass read from a frozen part, see `recall`."""

    def recall(self, frozen: Any, part: Any) -> Any:
        """The value of a frozen part while its trainable part is set to the tensor `part`."""
        del part
        return frozen.value

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        """A tensor as an array with the same bits, without a copy if possible.

        If a tensor spans processes, all of them must call this. Errors name the weight `of`.
        """
        del of
        return np.asarray(ops.convert_to_numpy(tensor))

    def local(self, tensor: Any) -> tuple[np.ndarray, tuple[tuple[slice, ...], ...] | None]:
        """The same for the part in this process, with zeros elsewhere; and its regions, or None."""
        return self.to_numpy(tensor), None

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        """An array in the form that `variable.assign` writes bit for bit."""
        del variable
        return array

    def copies(self, variable: Any) -> Sequence[Any]:
        """The copies of a variable on its devices, if each device has one; else empty."""
        del variable
        return ()

    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        """Entries of a variable, bit for bit.

        Args:
            variable: A variable that is not divided into parts.
            positions: Unique and in bounds, in any order: flat in C order, or along `axis`.
            axis: An axis of the variable, None for flat positions.
        """
        return self.to_numpy(variable.value)[index_of(tuple(variable.shape), positions, axis)]

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        """Write entries in the order of `read_at`; all other entries keep their bits.

        No copy of the variable is made, unless values that were read before would change too.
        """
        whole = np.array(self.to_numpy(variable.value, variable.path), order="C")
        whole[index_of(whole.shape, positions, axis)] = values
        variable.assign(self.from_numpy(whole, variable))

    def own(self, tensor: Any) -> Any:
        """The tensor in its own memory, in C order, shared with no other tensor."""
        return tensor

    def is_alive(self, variable: Any) -> bool:
        """Whether the memory of a variable has not been freed."""
        del variable
        return True

    def is_dense(self, value: Any) -> bool:
        """Whether a value is a dense tensor, not sparse, ragged or symbolic."""
        return ops.is_tensor(value)

    def memory_order(self, tensor: Any) -> Any:
        """The order of a tensor's axes in memory, None for C order."""
        del tensor

    def in_order(self, tensor: Any, order: Any) -> Any:
        """The tensor with its memory in an order from `memory_order`."""
        del order
        return tensor

    def agree(self, plans: Sequence[tuple[Any, Plan | None]]) -> None:
        """Raise an error if not all processes that share the variables make the same change."""
        del plans

    def drop_traces(self, divided: Iterable[tuple[Any, Any, Sequence[Any]]]) -> None:
        """Drop compiled functions that would still use the positions of an earlier plan.

        Args:
            divided: Variables with a new plan, the plan, and the two parts.
        """
        del divided
