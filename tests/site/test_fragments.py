"""The ledger and the chart, from an invented ledger."""

import fragments
import pytest
from bs4 import BeautifulSoup
from conftest import cell

STATUS = [
    cell(),
    cell(verdict="reproduced"),
    cell(verdict="short by 1.2 %", note="<b>&"),
    cell(verdict="off by 1.2 %", table="text-section-4-1"),
    cell("learning-to-zoom", "other data"),
    cell("variational-saccading", "better", printed="37 s"),
]


def soup(text):
    return BeautifulSoup(text, "html.parser")


def test_papers_stand_in_the_order_of_the_book_and_a_fifth_goes_last():
    groups = fragments.by_paper([cell("a-fifth"), *STATUS])
    expected = ["variational-saccading", "tnet", "learning-to-zoom", "a-fifth"]
    assert list(groups) == expected


def test_ledger_has_one_row_a_cell_and_every_field_is_filled():
    rows = soup(fragments.ledger(STATUS)).select("#ledger tbody tr")
    assert len(rows) == len(STATUS)
    assert all(td.get_text(strip=True) for row in rows for td in row.select("td"))


def test_ledger_rows_carry_what_the_filters_ask_for():
    page = soup(fragments.ledger(STATUS))
    for field in ("paper", "verdict"):
        offered = {o["value"] for o in page.select(f"#ledger-{field} option")}
        used = {row[f"data-{field}"] for row in page.select("#ledger tbody tr")}
        assert used <= offered


def test_ledger_escapes_what_comes_from_files():
    page = soup(fragments.ledger(STATUS))
    assert not page.select("#ledger b")
    assert "<b>&" in page.select_one("#ledger details").get_text()


@pytest.mark.parametrize(
    ("printed", "shown"),
    [("12.5", "12.5 %"), ("12.5 %", "12.5 %"), ("79G", "79G"), ("[-16]", "[-16] %")],
)
def test_a_unit_is_added_only_to_a_bare_number(printed, shown):
    assert fragments.printed(cell(printed=printed)) == shown


def test_recorded_value_shows_spread_seeds_and_conditions():
    text = soup(fragments.recorded(cell(verdict="better"))).get_text(" ")
    assert text.startswith("11.2 ± 0.50 %")
    assert "3 seeds, standard, a set, a processor, 1 thread" in text


def test_chart_counts_every_cell_once():
    titles = dict.fromkeys(fragments.by_paper(STATUS), "a title")
    page = soup(fragments.progress(STATUS, titles))
    assert len(page.select("svg")) == len(titles)
    for bar in page.select("svg"):
        widths = [float(rect["width"]) for rect in bar.select("rect")]
        assert sum(widths) == pytest.approx(100, abs=0.01)
        assert bar["aria-label"]
    assert "4 of 6 published cells" in page.figcaption.get_text()


def test_plan_names_the_parts_that_lack_a_record():
    rows = soup(fragments.coverage(STATUS)).select("tbody tr")
    assert [row.select("td")[1].get_text() for row in rows] == [
        "nothing",
        "table 1 (1 of 3)",
        "nothing",
    ]
