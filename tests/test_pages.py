"""The report notebook, executed on runs in memory, and the pages that are made of executed notebooks."""

import base64
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import example
import mistune
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import poc_lib
from poc_lib import metrics
from poc_lib.params import PROJECT_ROOT
from poc_lib.records import SetupProblem
from poc_lib.show.pages import export_page, export_pages, export_report

render_markdown = mistune.create_markdown(escape=False, plugins=["table", "url"])
REPORT = PROJECT_ROOT / "notebooks" / "report.ipynb"
HOSTILE = (
    "<img src=x onerror=\"document.title='H'\">|`x`$\\frac{a}{b}$\r\n=1+1;@x "
    "[a](http://x.example) <script>document.title='H'</script>\u202e</table></pre>"
)


def look_at(html: str) -> BeautifulSoup:
    """A page, after a look for what must not be in it: scripts, references, broken tables, an id twice."""
    page = BeautifulSoup(html, "html.parser")
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for tag in page.find_all(True):
        assert tag.name not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        assert not [name for name in tag.attrs if name.startswith("on")], tag.attrs
        assert str(tag.get("src", "data:")).startswith(("data:", "figures/")), tag.attrs
        assert not re.match(r"[a-z]+:|//", tag.get("href", "#")), tag.attrs
    for table in page.find_all("table"):
        assert len({len(row.find_all(["td", "th"])) for row in table.find_all("tr")}) == 1, table
    return page


def headings_of(page: BeautifulSoup) -> list[str]:
    return [heading.get_text() for heading in page.find_all(["h1", "h2"])]


def execute(analysis, folder: Path) -> None:
    """Run the cells that a report shows, in this process, with the analysis in memory."""
    shell, nb = InteractiveShell.instance(), nbformat.read(REPORT, as_version=4)
    shell.user_ns.update(poc=poc_lib, analysis=analysis)
    for cell in nb.cells:
        if cell.cell_type != "code" or "import poc_lib" in cell.source or "params_file" in cell.source:
            continue
        with capture_output() as captured:
            result = shell.run_cell(cell.source)
        result.raise_error()
        bundles = [(output.data, output.metadata or {}) for output in captured.outputs]
        bundles += [shell.display_formatter.format(result.result)] if result.result is not None else []
        for data, metadata in bundles:
            data = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in data.items()}
            cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
    nbformat.write(nb, folder / "report.ipynb")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    execute(example.example_analysis(folder), folder)
    export_pages(folder)
    return folder


def test_the_report_decides_on_nine_headings_and_needs_nothing_from_outside(report):
    html = (report / "report.html").read_text(encoding="utf-8")
    page = look_at(html)
    assert headings_of(page)[0] == "Recommendation"
    assert len(headings_of(page)) == 8  # the ninth, compared runs, was not asked for
    assert len(page.main.get_text(" ").split()) <= 1_500
    assert len(html) < 500_000
    assert page.html["lang"] == "en"
    assert "default-src 'none'" in html
    assert page.title.get_text() == "Recommendation: vllm-mlx against ollama"
    assert "import poc_lib" not in html
    anchors = [link["href"][1:] for link in page.nav.find_all("a")]
    assert len(anchors) == 7
    assert all(page.find(id=anchor) for anchor in anchors)
    assert all(image["alt"] for image in page.find_all("img"))
    assert all(box["tabindex"] == "0" for box in page.find_all(class_="scroll"))


def test_the_markdown_has_the_plans_chapters_and_figures_beside_it(report):
    markdown = (report / "report.md").read_text(encoding="utf-8")
    chapters = re.findall("^## (.*)", markdown, re.MULTILINE)
    plan = ["Executive summary", "Benchmark metrics", "Latency distribution", "Sample comparisons", "Verdict"]
    assert [chapter for chapter in chapters if chapter in [*plan, "Next steps"]] == [*plan, "Next steps"]
    page = look_at(render_markdown(markdown))
    assert len(page.table.find_all("tr")) == 5
    drawn = [image["src"] for image in page.find_all("img")]
    assert len(drawn) == 4
    assert all("#fff" in (report / name).read_text(encoding="utf-8")[:300] for name in drawn)


def test_what_only_some_runs_have_stands_in_its_own_section(tmp_path):
    run = example.example_analysis(tmp_path, n_frames=12)
    homes = {"labels": "Benchmark metrics", "open loop": "Latency distribution", "compare": "Compared runs"}
    run.findings += [example.Finding(about, "note", f"found: {about}") for about in homes]
    facts = {**run.run.facts, "frames": [], "prompt_sha256": ""}
    run.compared, _ = metrics.compare_runs([(name, facts, run.levels, run.verdicts) for name in ("a", "b")])
    execute(run, tmp_path)
    export_report(tmp_path)
    parts = (tmp_path / "report.md").read_text(encoding="utf-8").split("\n## ")
    sections = {part.partition("\n")[0]: part for part in parts}
    for about, home in homes.items():
        assert [name for name, part in sections.items() if f"found: {about}" in part] == [home]
    assert "| b | vllm-mlx | 8 |" in sections["Compared runs"]


UNKNOWN = dict.fromkeys(
    ("ttft_s", "output_tokens", "prompt_tokens", "tpot_s", "itl_p50_s", "itl_max_s", "lag_s"), np.nan
)
DEGENERATE = {  # requests -> what was measured; the sentence that its page has
    "no candidate": (lambda rows: rows[rows["role"] == "baseline"], "No candidate was measured"),
    "nothing known": (lambda rows: rows.assign(**UNKNOWN, finish_reason=None), "–"),
    "nothing measured": (lambda rows: rows[:0], "No level was measured"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_run_gets_a_page_that_says_so(name, tmp_path):
    make, sentence = DEGENERATE[name]
    frames = example.example_frames(12)
    execute(example.analysis_of(make(example.example_requests(frames)), frames, tmp_path), tmp_path)
    page, markdown = export_report(tmp_path)
    looked = look_at(page.read_text(encoding="utf-8"))
    assert len(headings_of(looked)) == 8
    words = looked.main.get_text(" ").split()
    assert sentence in " ".join(words)
    assert "nan" not in words + markdown.read_text(encoding="utf-8").split()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run with hostile text in every field that this project does not write itself."""
    folder = tmp_path_factory.mktemp("hostile")
    frames = [
        dataclasses.replace(frame, label=HOSTILE, reference=dataclasses.replace(
            frame.reference, description=HOSTILE, model=HOSTILE, apps=(HOSTILE,)))
        for frame in example.example_frames(12)
    ]  # fmt: skip
    requests = example.example_requests(frames)
    requests["server"] += HOSTILE
    requests["request_id"] += HOSTILE
    requests["text"] = f"description: {HOSTILE} | activity: {HOSTILE} | apps: [{HOSTILE}] | code: x"
    requests.loc[::9, ["error_class", "error_message"]] = ["malformed", HOSTILE]
    stamped = requests.index[(requests["phase"] == "proof") & (requests["concurrency"] == 8)]
    requests.loc[stamped[5], "text"] = f"{HOSTILE} | code: {requests.loc[stamped[4], 'code']}"
    analysis = example.analysis_of(requests, frames, folder, note=HOSTILE, compare_with=["other"])
    analysis.run.facts["host"] = {"chip": HOSTILE, "gpu": HOSTILE}
    analysis.run.facts["params"].update(candidate_name=HOSTILE, note=HOSTILE)
    kinds = ("compare", "fairness", "proof", "criteria")
    analysis.findings.extend(example.Finding(kind, "warning", HOSTILE, HOSTILE, HOSTILE) for kind in kinds)
    execute(analysis, folder)
    export_pages(folder)
    return folder


def test_hostile_text_stays_text_on_the_page_and_in_the_markdown(hostile):
    page = look_at((hostile / "report.html").read_text(encoding="utf-8"))
    assert len(headings_of(page)) == 9
    assert page.main.get_text().count("onerror") > 20
    page = look_at(render_markdown((hostile / "report.md").read_text(encoding="utf-8")))
    assert len(page.find_all("table")) >= 2
    assert page.get_text().count("onerror") > 20
    for path in (hostile / "tables").glob("*.csv"):
        assert not re.search(r"(?m)(^|[,;])\"?[=+@]", path.read_text(encoding="utf-8")), path
    assert len((hostile / "tables" / "levels.csv").read_text().splitlines()) == 5


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_no_hostile_text_runs_in_a_browser(hostile):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]
    command = [CHROMIUM, *flags, (hostile / "report.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    assert "What to do next" in dom
    assert "<title>H</title>" not in dom


def test_another_notebook_keeps_its_code_folded_and_its_outputs_in_place(tmp_path):
    v4 = nbformat.v4
    outputs = [
        v4.new_output("stream", name="stderr", text="10%\r50%\r100%\n\x1b[31mred\x1b[0m <b>\n"),
        v4.new_output("display_data", {"text/html": '<table class="dataframe"><tr><td>1</td></tr></table>'}),
        v4.new_output("display_data", {"image/png": "iVBO"}, metadata={"image/png": {"alt": "A <plot>"}}),
        v4.new_output("error", ename="E", evalue="v", traceback=["<i>boom</i>"]),
    ]
    cells = [v4.new_markdown_cell(text) for text in ("# Accuracy & more\n\nWhy.", "## First", "## Second")]
    cells.append(v4.new_code_cell("a <b>c</b>", outputs=outputs))
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "accuracy.ipynb")
    assert export_pages(tmp_path) == [tmp_path / "pages" / "accuracy.html"]
    page = look_at((tmp_path / "pages" / "accuracy.html").read_text(encoding="utf-8"))
    assert [page.title.get_text(), "First", "Second"] == headings_of(page)
    assert page.details.pre.get_text() == "a <b>c</b>"
    assert [pre.get_text().strip() for pre in page.find_all("pre")[1:]] == ["100%\nred <b>", "<i>boom</i>"]
    assert page.find("img")["alt"] == "A <plot>"
    assert page.find(class_="scroll")["aria-label"] == "Table"


def test_what_is_no_notebook_is_refused_in_one_line(tmp_path):
    (tmp_path / "report.ipynb").write_text("not JSON")
    for path in (tmp_path / "report.ipynb", tmp_path / "absent.ipynb"):
        with pytest.raises(SetupProblem, match="execute it first") as refused:
            export_page(path, tmp_path / "page.html")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "page.html").exists()
