"""docs/performance.md has a place for all that `make bench` measures, README.md for the gist of it,
and both take it."""

import pytest
from side_by_side import docs, variants

PAGE = "before\n<!-- figures: hit -->\nold\n<!-- end -->\nafter <!-- figures: --> and so on\n"


def test_every_group_of_rows_has_its_place_and_what_is_measured_beside_them():
    groups = {row.group for row in variants.rows()}
    assert sorted(docs.places(docs.PAGE.read_text())) == sorted(
        groups | {"machine", "chart", "targets", "memory", "loading", "eviction"})


def test_readme_has_its_places_and_shows_rows_that_are_held_against_others():
    assert sorted(docs.places(docs.README.read_text())) == ["chart", "gist", "machine"]
    against = {row.name: row.against for row in variants.rows()}
    assert [name for name, _, _ in docs.GIST if not against.get(name)] == []


def test_readme_shows_what_was_measured_and_leaves_out_what_was_not():
    name, called, beside = docs.GIST[0]
    row = {"name": name, "cpu_us": 1234.56, "per_second": 9876.5, "load_share": 0.5,
           "cpu_ratios": [1.3, 1.1, 1.2]}
    about = {"envoy": "1.40.0", "cores": 2, "processor": "P", "memory_gib": 1.0, "kernel": "6",
             "rounds": 3, "seconds": 1.0, "minutes": 7.0, "others_share": 0.02}
    found = docs.gist({"about": about, "rows": [row]})
    assert found["gist"].splitlines()[2:] == [f"| {called} | 1,234.6 | 9,876 | 1.20 × {beside} |"]
    assert (docs.ROOT / found["chart"].partition("(")[2].rstrip(")\n")) == docs.CHART
    assert sorted(found) == sorted(docs.places(docs.README.read_text()))


def test_a_table_takes_its_place_and_nothing_else_as_often_as_it_is_put():
    first = docs.put(PAGE, {"hit": "| new |\n"})
    assert first == PAGE.replace("old\n", "\n| new |\n\n")
    assert docs.put(first, {"hit": "| new |\n"}) == first


@pytest.mark.parametrize("found", [{}, {"hit": "", "miss": ""}])
def test_a_page_and_figures_that_do_not_agree_are_refused(found):
    with pytest.raises(docs.NotForDocs, match="has places for hit; there are tables of"):
        docs.put(PAGE, found)


def test_a_row_is_shown_with_its_ratio_and_with_what_bounded_it():
    row = {"name": "hit", "unit": "request", "cpu_us": 1234.56, "per_second": 9876.5,
           "load_share": 0.95, "p50_us": 12.4, "p99_us": 99.6, "cpu_ratios": [1.3, 1.1, 1.2],
           "against": "floor B"}
    alone = {**row, "name": "floor B", "load_share": 0.5, "cpu_ratios": [], "against": ""}
    assert docs.figures([alone, row]).splitlines()[2:] == [
        "| floor B | 1,234.6 | 9,876 | 12 | 100 |  |",
        "| hit | 1,234.6 | >9,876 | 12 | 100 | 1.20 (1.10-1.30) × floor B |"]
