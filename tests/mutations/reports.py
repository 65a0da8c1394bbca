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
    Mutation(
        name="a leak on a page is folded with the weights like it",
        invariant=13,
        file="_reports/groups.py",
        old="[e for e in entries if not e.leaked]",
        new="entries",
        tests=(
            "reports/test_report_folds.py::test_leaks_are_listed_before_all_else_and_count_in_their_layer",
        ),
    ),
    Mutation(
        name="what is partly frozen is among the rest",
        invariant=13,
        file="_reports/groups.py",
        old="if any(map(is_partly_frozen, found)):",
        new="if False:",
        tests=(
            "reports/test_report_folds.py::test_what_is_partly_frozen_comes_first_and_equal_blocks_are_folded",
        ),
    ),
    Mutation(
        name="a fold on a page has the counts of its first weight",
        invariant=13,
        file="_reports/table.py",
        old="_ranged(span(counts))",
        new="_ranged(span(counts[:1]))",
        tests=(
            "reports/test_report_folds.py::test_what_is_partly_frozen_comes_first_and_equal_blocks_are_folded",
        ),
    ),
    Mutation(
        name="long names on a page are not shortened",
        invariant=13,
        file="_reports/verdict.py",
        old="_ROOM = 48",
        new="_ROOM = 480",
        tests=(
            "reports/test_report_folds.py::test_a_long_name_is_shortened_in_the_middle_and_whole_where_it_is_asked_for",
        ),
    ),
    Mutation(
        name="a link on a page opens a weight in a closed fold",
        invariant=13,
        file="_reports/page.js",
        old="    for (let { fold } = row; fold; fold = fold.fold) setOpen(fold, true);\n",
        new="",
        tests=("reports/test_report_folds.py::test_a_link_opens_the_folds_around_a_weight",),
    ),
    Mutation(
        name="the command takes a freeze for known that no file holds",
        invariant=13,
        file="_cli/pictures.py",
        old="    known = says[0].can_hold_a_freeze\n",
        new="    known = True\n",
        tests=(
            "cli/test_cli_report.py::test_a_file_of_weights_alone_takes_its_freeze_from_another",
        ),
    ),
]
