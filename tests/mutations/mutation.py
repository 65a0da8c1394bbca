"""A deliberate break of the library, and the promises that such breaks test."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "frostline"

INVARIANTS = {
    1: "frozen entries keep their bits",
    2: "the others move as if those were constant",
    3: "freezing changes no bit, no object, no output",
    4: "optimizers keep state for what trains, and keep it",
    5: "files and copies bring the freeze back",
    6: "a failed call changes nothing",
    7: "callbacks and contexts do what they say",
    8: "a fast path equals the generic one",
    9: "stock layers are the same model, and the way back is exact",
    10: "a map hides no entry",
    11: "a summary adds up and says what it folds",
    12: "base and delta are the trained model, and nothing else is taken for the base",
    13: "a report says what leaked, of a model and of files",
    14: "files are compared in every bit of every entry",
    15: "a bar is for a terminal and what takes long, and leaves nothing",
    16: "a rule chooses what it says, and as many",
    17: "a score is that of its definition, for every entry, and leaves the model as it was",
    18: "a model that is copied is inside the larger one, and its masks say where",
    19: "changes of several threads come one after another, and what reads meanwhile sees all",
    20: "a file is the old one or the whole new one, and a killed process leaves nothing for long",
    21: "a file from a stranger is read, or refused with an error of ours",
}


@dataclass(frozen=True)
class Mutation:
    """One break, and the tests that must notice it.

    Attributes:
        name: What it breaks, in a few words.
        invariant: The number of the promise that it breaks, see `INVARIANTS`.
        file: The file that it changes, below `src/frostline`.
        old: A text that occurs once in the file.
        new: The text that replaces it.
        tests: Node ids below `tests`, as few and as quick as possible.
        backend: The backend that the tests run on.
    """

    name: str
    invariant: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    backend: str = "torch"

    def mutated(self) -> str:
        """The text of the file with the break in it."""
        text = (SOURCE / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: what is replaced must occur once in {self.file}; got "
                f"{text.count(self.old)} times {self.old!r}. Bring the mutation up to date."
            )
        return text.replace(self.old, self.new)
