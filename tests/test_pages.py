"""The report notebook, executed on runs in memory, and the pages that are made of executed notebooks."""

import base64
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import example
import mistune
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from poc_lib import figures, metrics, show
from poc_lib.params import PROJECT_ROOT
from poc_lib.records import SetupProblem
from poc_lib.show.tables import TEMPLATES

render_markdown = mistune.create_markdown(escape=False, plugins=["table", "url"])
REPORT = PROJECT_ROOT / "notebooks" / "report.ipynb"
HOSTILE = (
    "<img src=x onerror=\"document.title='H'\">|`x`$\\frac{a}{b}$\r\n=1+1;@x "
    "[a](http://x.example) <script>document.title='H'</script>\u202e</table></pre>"
)


def look_at(html: str) -> BeautifulSoup:
    """A page, after a look for what must not be in it: scripts, handlers, references, tables that broke."""
    page = BeautifulSoup(html, "html.parser")
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
    names = {name: getattr(show, name) for name in show.__all__}
    names |= {name: getattr(figures, name) for name in dir(figures) if name.startswith("draw_")}
    shell, nb = InteractiveShell.instance(), nbformat.read(REPORT, as_version=4)
    shell.user_ns.update(poc=SimpleNamespace(**names), analysis=analysis)
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
    show.export_pages(folder)
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
    anchors = [link["href"][1:] for link in page.find_all("a", href=re.compile("^#"))]
    assert len(anchors) == 8
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
    told = {"labels": "11 of 12 fit", "open loop": "4 arrivals/s", "compare": "faster, 1.20 ×"}
    run.findings += [example.Finding(about, "note", text) for about, text in told.items()]
    verdicts = [dataclasses.replace(run.verdicts[0])]
    facts = {**run.run.facts, "frames": [], "prompt_sha256": ""}
    run.compared, _ = metrics.compare_runs([(name, facts, run.levels, verdicts) for name in ("a", "b")])
    execute(run, tmp_path)
    show.export_report(tmp_path)
    parts = (tmp_path / "report.md").read_text(encoding="utf-8").split("\n## ")
    sections = {part.partition("\n")[0]: part for part in parts}
    homes = dict(
        zip(told.values(), ("Benchmark metrics", "Latency distribution", "Compared runs"), strict=True)
    )
    for text, home in homes.items():
        assert [name for name, part in sections.items() if text in part] == [home]
    assert "| b | vllm-mlx | 8 |" in sections["Compared runs"]


def failed(requests, **more):
    return requests.assign(
        error_class="timeout", error_message="no byte for 120 s", text="", ttft_s=np.nan, output_tokens=np.nan
    ).assign(**more)


UNKNOWN = dict.fromkeys(
    ("ttft_s", "output_tokens", "prompt_tokens", "tpot_s", "itl_p50_s", "itl_max_s"), np.nan
)
DEGENERATE = {  # requests, frames -> what was measured; the sentence that its page has
    "all failed": (lambda r, f: (failed(r), f), "answered none of"),
    "all empty": (lambda r, f: (failed(r, error_class="empty"), f), "answered none of"),
    "no references": (lambda r, f: (r, [dataclasses.replace(x, reference=None) for x in f]), "–"),
    "one frame": (lambda r, f: (r[r["frame_id"] == "f0"].assign(position=0), f[:1]), "· 1 frame ·"),
    "one level": (lambda r, f: (r[r["concurrency"].isin([8]) | (r["role"] == "baseline")], f), "6 blocks"),
    "one block": (lambda r, f: (r[r["block"] == 0], f), "1 × 12 frames"),
    "no blocks": (lambda r, f: (r[r["phase"] != "confirm"], f), "No block of baseline and candidate"),
    "no baseline": (lambda r, f: (r[r["role"] == "candidate"], f), "No block of baseline and candidate"),
    "no candidate": (lambda r, f: (r[r["role"] == "baseline"], f), "No candidate was measured"),
    "nothing known": (lambda r, f: (r.assign(**UNKNOWN, lag_s=np.nan, finish_reason=None), f), "–"),
    "nothing measured": (lambda r, f: (r[:0], f), "No level was measured"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_run_gets_a_page_that_says_so(name, tmp_path):
    make, sentence = DEGENERATE[name]
    frames = example.example_frames(12)
    requests, frames = make(example.example_requests(frames), frames)
    execute(example.analysis_of(requests, frames, tmp_path), tmp_path)
    page, markdown = show.export_report(tmp_path)
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
    show.export_pages(folder)
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
    assert show.export_pages(tmp_path) == [tmp_path / "pages" / "accuracy.html"]
    page = look_at((tmp_path / "pages" / "accuracy.html").read_text(encoding="utf-8"))
    assert [page.title.get_text(), "First", "Second"] == headings_of(page)
    assert page.details.pre.get_text() == "a <b>c</b>"
    assert [pre.get_text().strip() for pre in page.find_all("pre")[1:]] == ["100%\nred <b>", "<i>boom</i>"]
    assert page.find("img")["alt"] == "A <plot>"
    assert page.find(class_="scroll")["aria-label"] == "Table"


def test_the_documented_nbconvert_command_gives_the_same_page(report):
    command = [sys.executable, "-m", "nbconvert", "report.ipynb", "--to", "html", "--output", "plain.html"]
    command += ["--template", "poc", f"--TemplateExporter.extra_template_basedirs={TEMPLATES}"]
    subprocess.run(command, cwd=report, check=True, capture_output=True, timeout=120)
    assert (report / "plain.html").read_text() == (report / "report.html").read_text()


def test_what_is_no_notebook_is_refused_in_one_line(tmp_path):
    (tmp_path / "report.ipynb").write_text("not JSON")
    for path in (tmp_path / "report.ipynb", tmp_path / "absent.ipynb"):
        with pytest.raises(SetupProblem, match="execute it first") as refused:
            show.export_page(path, tmp_path / "page.html")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "page.html").exists()


def test_the_notebook_is_short_and_defines_nothing():
    nb = nbformat.read(REPORT, as_version=4)
    code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
    assert len(code.splitlines()) <= 50
    assert not re.search(r"\b(def|class|lambda|print)\b", code)
    prose = " ".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    assert not re.search(r"\d", prose)
