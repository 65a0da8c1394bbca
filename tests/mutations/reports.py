"""Breaks of `_reports`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="a leak is called no leak",
        invariant=13,
        file="_reports/verdict.py",
        old="    if found is not None:",
        new="    if False:",
        tests=("reports/test_reports.py::test_the_verdict_says_whether_something_leaked",),
    ),
    Mutation(
        name="a name of a layer ends the script element",
        invariant=13,
        file="_reports/page.py",
        old=""".replace("<", "\\\\u003c")""",
        new="",
        tests=("reports/test_reports.py::test_no_name_ends_the_script_element",),
    ),
    Mutation(
        name="a leak on a map of a page has the colour of what moved",
        invariant=13,
        file="_reports/maps.js",
        old="    drawLeaks(context, unit, cell, cells);\n",
        new="",
        tests=("reports/test_reports_browser.py::test_colours_and_words_of_each_kind_of_cell",),
    ),
]
