"""Selections as text, `at[0, :] | ~units([1, 2])`: parsed, never run as Python.

Every text that a selection prints can be parsed, except masks and functions. The grammar, from the
loosest binding to the tightest:

    selection: both ("|" both)*
    both:      one ("&" one)*
    one:       "~" one | "(" selection ")" | "everything" | "nothing" | "zeros"
               | "at" "[" index "]" | ("units" | "tokens" | "heads") "(" part ")"
               | ("smallest" | "largest" | "n_of_m") "(" argument ("," argument)* [","] ")"
    argument:  [name "="] (integer | number | text in quotes | "(" integer ("," integer)* [","] ")")
    index:     "()" | item ("," item)* [","]
    item:      part | "..." | [integer] ":" [integer] [":" [integer]]
    part:      integer | list | "range" "(" integers ")" | "slice" "(" integers or None ")"

A list contains integers, or booleans, or such lists. Each selection may begin with `fl.`.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, NoReturn

from frostline._errors import SelectionError
from frostline._selections import choosing, simple, structure
from frostline._selections.algebra import Selection

_TOKEN = re.compile(
    r"\s*(?:(?P<name>(?:fl\.)?[A-Za-z_]+)"
    r"|(?P<float>[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    r"|(?P<number>[0-9]+)|(?P<text>'\w*'|\"\w*\")|(?P<sign>\.\.\.|\S))"
)
_LONGEST = 100_000  # characters
_DEEPEST = 100  # nested parentheses, brackets and ~
_MOST = 300  # selections in one text: each adds a level of recursion
_LARGEST = 10**8  # positions in a range, all of which are made
_DIGITS = 18  # digits in a number, which must fit in 64 bits
_PARTS = ("units", "tokens", "heads")
_EXAMPLES = {"smallest": "smallest(0.9)", "largest": "largest(0.1)", "n_of_m": "n_of_m(2, 4)"}
_CHOICES = tuple(_EXAMPLES)
_CALLED = (*_PARTS, *_CHOICES)
_WORDS = ("at[...]", "everything", "nothing", "zeros", *(f"{name}(...)" for name in _CALLED))


def parse_selection(text: str) -> Selection:
    """Parse the text of a selection.

    Args:
        text: For example `at[0, :]`, `at[:, [1, 2]] | at[-1]`, `~tokens(range(0, 10))`.

    Raises:
        SelectionError: The text is not a selection; the message marks the place.

    >>> parse_selection("at[0, :] | ~zeros")
    at[0, :] | ~zeros
    """
    if len(text) > _LONGEST:
        raise SelectionError(
            f"where: a selection can have {_LONGEST:,} characters at most; got {len(text):,}. "
            "Freeze in several steps, or from Python with fl.mask(array)."
        )
    return _Parser(text).whole()


class _Parser:
    """Reads from left to right; `_place` is where the next word begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._count = 0
        self._end = 0
        self._next()

    def whole(self) -> Selection:
        selection = self._either()
        if self._word:
            self._fail("&, | or the end")
        return selection

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._end)
        if found is None:
            self._kind, self._word, self._place = "end", "", len(self._text)
            return
        self._kind = str(found.lastgroup)
        self._word = found[self._kind]
        self._place = found.start(self._kind)
        self._end = found.end()

    def _take(self, word: str) -> bool:
        if self._word != word:
            return False
        self._next()
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            self._fail(repr(word))

    def _fail(self, expected: str, place: int | None = None) -> NoReturn:
        place = self._place if place is None else place
        start = max(0, place - 30)
        got = repr(self._text[place : place + 20]) if self._text[place:].strip() else "the end"
        around = "".join(c if c.isprintable() else "?" for c in self._text[start : place + 30])
        raise SelectionError(
            f"where: expected {expected} at position {place}; got {got}.\n"
            f"    {around}\n    {'^':>{place - start + 1}}\n"
            "Write for example 'at[0, :]', '~zeros' or 'units([0, 1]) & at[:2]'."
        )

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"at most {_DEEPEST} nested brackets and ~")

    def _either(self) -> Selection:
        selection = self._both()
        while self._take("|"):
            selection = selection | self._both()
        return selection

    def _both(self) -> Selection:
        selection = self._one()
        while self._take("&"):
            selection = selection & self._one()
        return selection

    def _one(self) -> Selection:
        self._deeper()
        self._count += 1
        if self._count > _MOST:
            self._fail(f"at most {_MOST} selections")
        name, place = self._word.removeprefix("fl."), self._place
        if self._take("~"):
            selection = ~self._one()
        elif self._take("("):
            selection = self._either()
            self._expect(")")
        elif self._kind == "name" and name in ("everything", "nothing", "zeros"):
            self._next()
            selection = getattr(simple, name)
        elif self._kind == "name" and name == "at":
            self._next()
            self._expect("[")
            selection = self._made(simple.at.__getitem__, self._index(), place)
        elif self._kind == "name" and name in _PARTS:
            self._next()
            self._expect("(")
            numbers = self._part()
            self._expect(")")
            selection = self._made(getattr(structure, name), numbers, place)
        elif self._kind == "name" and name in _CHOICES:
            self._next()
            selection = self._chosen(name, place)
        else:
            self._fail(f"a selection ({', '.join(_WORDS)}, ~ or parentheses)")
        self._depth -= 1
        return selection

    def _made(self, make: Any, argument: Any, place: int) -> Selection:
        try:
            return make(argument)
        except SelectionError as error:
            raise SelectionError(f"where: at position {place}: {error}") from None

    def _chosen(self, name: str, place: int) -> Selection:
        self._expect("(")
        values: list[Any] = []
        named: dict[str, Any] = {}
        while self._word != ")":
            here, word, kind = self._place, self._word, self._kind
            if kind == "name":
                self._next()
                self._expect("=")
                if word in named:
                    self._fail(f"{word}= only once", here)
                named[word] = self._value()
            elif named:
                self._fail("name=value after name=value")
            else:
                values.append(self._value())
            if not self._take(","):
                break
        self._expect(")")
        make = getattr(choosing, name)
        try:
            inspect.signature(make).bind(*values, **named)
        except TypeError as error:
            raise SelectionError(
                f"where: at position {place}: {name}: {error}; got "
                f"{self._text[place : self._place][:40]!r}. Use for example {_EXAMPLES[name]!r}."
            ) from None
        return self._made(lambda given: make(*values, **given), named, place)

    def _value(self) -> Any:
        word, kind = self._word, self._kind
        if kind in ("float", "text"):
            self._next()
            return float(word) if kind == "float" else word[1:-1]
        if not self._take("("):
            return self._integer("a number, a text in quotes or a tuple of integers")
        sizes = [self._integer()]
        while self._take(",") and self._word != ")":
            sizes.append(self._integer())
        self._expect(")")
        return tuple(sizes)

    def _index(self) -> Any:
        if self._take("("):
            self._expect(")")
            self._expect("]")
            return ()
        items = [self._item()]
        comma = False
        while comma := self._take(","):
            if self._word == "]":
                break
            items.append(self._item())
        self._expect("]")
        return tuple(items) if comma or len(items) > 1 else items[0]

    def _item(self) -> Any:
        if self._take("..."):
            return Ellipsis
        if self._word == ":" or self._kind == "number" or self._word == "-":
            first = None if self._word == ":" else self._integer()
            if not self._take(":"):
                return first
            bounds = [first, self._bound(), None]
            if self._take(":"):
                bounds[2] = self._bound()
            return slice(*bounds)
        return self._part()

    def _bound(self) -> int | None:
        return None if self._word in (":", ",", "]") else self._integer()

    def _part(self) -> Any:
        name = self._word
        if name == "[":
            return self._list()
        if self._kind != "name":
            return self._integer("an integer, a list, range(...) or slice(...)")
        if name not in ("range", "slice"):
            self._fail("an integer, a list, range(...) or slice(...)")
        place = self._place
        self._next()
        self._expect("(")
        bounds = [self._none_or_integer(name)]
        while self._take(",") and self._word != ")":
            bounds.append(self._none_or_integer(name))
        self._expect(")")
        if len(bounds) > 3:
            self._fail(f"one to three numbers in {name}(...)", place)
        if name == "slice":
            return slice(*bounds)
        if bounds[2:] == [0]:
            self._fail("a step other than 0 in range(...)", place)
        made = range(*(int(bound or 0) for bound in bounds))
        # Not `len(made)`: it may overflow.
        if abs(made.stop - made.start) // abs(made.step) > _LARGEST:
            self._fail("a shorter range, or slice(...) with the same numbers,", place)
        return made

    def _none_or_integer(self, name: str) -> int | None:
        return None if name == "slice" and self._take("None") else self._integer()

    def _list(self) -> list[Any]:
        self._deeper()
        self._expect("[")
        values: list[Any] = []
        while self._word != "]":
            if self._word == "[":
                values.append(self._list())
            elif self._word in ("True", "False"):
                values.append(self._word == "True")
                self._next()
            else:
                values.append(self._integer("an integer, True, False or a list"))
            if not self._take(","):
                break
        self._expect("]")
        self._depth -= 1
        # NumPy would read the booleans as 0 and 1.
        if {bool} < {type(value) for value in values}:
            self._fail("a list of only integers or only booleans")
        return values

    def _integer(self, expected: str = "an integer") -> int:
        place = self._place
        sign = -1 if self._take("-") else 1
        if self._kind != "number":
            self._fail(expected, place)
        if len(self._word) > _DIGITS:
            self._fail(f"an integer of at most {_DIGITS} digits")
        value = sign * int(self._word)
        self._next()
        return value
