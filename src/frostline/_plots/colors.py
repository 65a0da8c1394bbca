"""The colours of the maps, the same in a figure and on a page. Pure Python."""

from __future__ import annotations

# Light to dark in yellow, green and blue, told apart with any colour vision and in grey.
TRAINS, PARTLY, FROZEN = "#fbe7a1", ("#8ac9a2", "#62b5ab", "#479fb5", "#3d89b6"), "#1d4f91"
EXACT = 1e-12  # below the smallest share that a cell can have
SHARES = (EXACT, 0.25, 0.5, 0.75, 1 - EXACT)
"""Where one colour of a share ends and the next begins: the first and the last are exact."""

# Greys and magenta are in no part of viridis; the ring around a leak does not rest on its hue.
EQUAL, HATCH, NONFINITE, LEAK = "#dfe3e8", "#8d97a3", "#000000", "#f0146e"
MARK = "#d94801"  # around what is less than two pixels
RINGS = 60  # more leaked cells are an area that needs no rings
BANDS = 12  # more rows or columns than that are seen without a mark
LINED = 40  # more tiles than that are too narrow for lines between them

# Viridis without its darkest part; between these colours the change is even.
DRIFT = (
    *("#482475", "#472d7b", "#453781", "#423f85", "#3f4788", "#3c4f8a", "#39568c"),
    *("#355f8d", "#32668e", "#2f6c8e", "#2c738e", "#297b8e", "#26818e", "#24888e"),
    *("#218e8d", "#1f968b", "#1e9c89", "#20a387", "#23a983", "#2ab07f", "#34b779"),
    *("#3fbd73", "#4cc26c", "#5ac864", "#6cce59", "#7dd24f", "#8ed644", "#a0da39"),
    *("#b5de2b", "#c8e020", "#dae319", "#ece51b", "#fde725"),
)
