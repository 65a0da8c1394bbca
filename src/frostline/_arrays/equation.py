"""The axes of an `EinsumDense` kernel and bias, read from its equation. Pure Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """An equation `inputs,kernel->output`: a letter for each axis."""

    inputs: str
    kernel: str
    output: str

    @classmethod
    def parse(cls, text: str) -> Equation:
        """Parse an equation in Keras's notation; axes under an ellipsis are in no weight."""
        inputs, rest = text.replace("...", "").split(",")
        return cls(inputs, *rest.split("->"))

    @property
    def produced(self) -> str:
        """The axes that only kernel and output have, in the order of the output."""
        return "".join(x for x in self.output if x in self.kernel and x not in self.inputs)

    @property
    def summed(self) -> str:
        """The axes of the input that the kernel sums over, in the order of the input."""
        return "".join(x for x in self.inputs if x in self.kernel and x not in self.output)

    def axis(self, letter: str, weight: str, bias_axes: str | None) -> int | None:
        """The axis of the `kernel` or `bias` for a letter, None if there is none."""
        if weight == "kernel":
            return self.kernel.index(letter)
        if bias_axes is None or letter not in bias_axes:
            return None
        # The bias has one axis for each output letter from the first of `bias_axes` on.
        first = min(self.output.index(known) for known in bias_axes)
        return self.output.index(letter) - first
