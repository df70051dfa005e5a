import json

from evaluation.measured import Measured
from evaluation.report import Picture, Report, Table, interval, share, write

ROW = Measured("p", "us", "auc", 0.81234, 0.8, 0.825)


def report() -> Report:
    table = Table("Who wins", "Higher is better.", ["who", "AUC"], [["<us>", "1"], ["b", "0"]], [1])
    picture = Picture("All & sundry", "They <stand> about.", "<svg></svg>")
    return Report("A test", [("users", "3")], [ROW], [table], picture)


def test_the_same_tables_are_written_for_people_twice_and_figures_once(tmp_path):
    write(report(), tmp_path / "new")
    html, text, figures = (
        (tmp_path / "new" / name).read_text()
        for name in ("report.html", "report.md", "metrics.json")
    )
    assert "&lt;us&gt;" in html
    assert '<tr class="marked"><td>b</td>' in html
    assert "<h2>All &amp; sundry</h2>\n<p>They &lt;stand&gt; about.</p>\n<svg></svg>" in html
    assert "| <us> | 1 |" in text
    assert "svg" not in text
    assert "| ⚠ b | 0 |" in text
    assert json.loads(figures)[0]["value"] == 0.81234
    assert not list(tmp_path.rglob("*.partial"))


def test_cells_say_how_sure_one_can_be():
    assert interval(ROW) == "0.8123 [0.8000, 0.8250]"
    assert share(Measured("p", "us", "auc gain", 0.05, -0.01, 0.11)) == "+5.0% [-1.0%, +11.0%]"


def test_a_table_of_nothing_is_left_out(tmp_path):
    empty = Table("Settings", "Nothing was set.", ["baseline", "settings"], [])
    write(Report("A test", [], [], [empty], None), tmp_path)
    for name in ("report.html", "report.md"):
        assert "Settings" not in (tmp_path / name).read_text()
