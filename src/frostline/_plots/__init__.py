"""Maps of weights, as other wings take them. No Keras; `drawing` alone imports matplotlib."""

from frostline._plots import colors
from frostline._plots.arrange import Arrangement, arrangement
from frostline._plots.cells import MOST, Side
from frostline._plots.fold import Gallery, drawn, leaks
from frostline._plots.maps import (
    Comparing,
    Panel,
    Pixels,
    Scale,
    Subject,
    drift_panel,
    frozen_panel,
)
from frostline._plots.need import drawing

__all__ = [
    "MOST",
    "Arrangement",
    "Comparing",
    "Gallery",
    "Panel",
    "Pixels",
    "Scale",
    "Side",
    "Subject",
    "arrangement",
    "colors",
    "drawing",
    "drawn",
    "drift_panel",
    "frozen_panel",
    "leaks",
]
