import base64
import re
from html.parser import HTMLParser

import nbformat
import pytest

from poc_lib.errors import SetupProblem
from poc_lib.report.export import export_notebook

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TABLE = '<table class="dataframe"><tr><td>4 in flight</td><td>0.89</td></tr></table>'


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "executed.ipynb"
    nbformat.write(executed_notebook(), path)
    return export_notebook(path, tmp_path / "pages" / "executed.html").read_text(encoding="utf-8")


def executed_notebook():
    """As papermill leaves it: text, a figure, a table, a stream, a widget, a script and a formula."""
    v4 = nbformat.v4
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "FloatProgress"}
    outputs = [
        v4.new_output("stream", name="stdout", text="a line\n"),
        v4.new_output("display_data", {"text/html": TABLE, "text/plain": "table"}),
        v4.new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": 'n = 12 <"q">'}}),
        v4.new_output("display_data", {"image/jpeg": PIXEL}),
        v4.new_output("display_data", widget),
        v4.new_output("display_data", {"application/javascript": "alert(1)"}),
    ]
    cells = [
        v4.new_markdown_cell("# Speed of two servers\n\n$x^2$"),
        v4.new_code_cell("analysis = 1", execution_count=1, outputs=outputs),
    ]
    metadata = {
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"a": {}}, "version_major": 2}}
    }
    return v4.new_notebook(cells=cells, metadata=metadata)


class Fetched(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.images = [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.images += [dict(attrs)] if tag == "img" else []
        self.found += [
            v for k, v in attrs if k in ("src", "href", "srcset") and not v.startswith(("#", "data:"))
        ]


def test_the_exported_page_fetches_nothing_and_runs_nothing(page):
    fetched = Fetched(page)
    assert fetched.found == []
    assert fetched.scripts == 0
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#|data:)", page)
    assert not re.search(r"require\.js|mathjax|mermaid\.|unpkg|jsdelivr|cdnjs", page, flags=re.IGNORECASE)


def test_text_table_and_figures_are_there(page):
    assert TABLE in page
    assert "a line" in page
    assert page.count(PIXEL) == 2


def test_figures_keep_their_alt_text_escaped(page):
    alts = [image["alt"] for image in Fetched(page).images]
    assert alts[0] == 'n = 12 <"q">'
    assert alts[1]


def test_the_title_is_the_notebooks_heading(page):
    assert "<title>Speed of two servers</title>" in page


def test_the_page_fits_a_narrow_screen_and_follows_the_readers_theme(page):
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 100%" in page


def test_a_picture_in_a_markdown_cell_is_embedded(tmp_path):
    (tmp_path / "dot.png").write_bytes(base64.b64decode(PIXEL))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("![a dot](dot.png)")])
    nbformat.write(notebook, tmp_path / "n.ipynb")
    text = export_notebook(tmp_path / "n.ipynb", tmp_path / "n.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64' in text


def test_a_missing_notebook_is_a_setup_problem(tmp_path):
    with pytest.raises(SetupProblem, match="no notebook at"):
        export_notebook(tmp_path / "none.ipynb", tmp_path / "none.html")


def test_a_file_that_is_no_notebook_is_a_setup_problem(tmp_path):
    path = tmp_path / "text.ipynb"
    path.write_text("not json", encoding="utf-8")
    with pytest.raises(SetupProblem, match="is not a notebook"):
        export_notebook(path, tmp_path / "text.html")
