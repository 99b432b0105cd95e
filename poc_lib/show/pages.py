"""Executed notebooks as pages: HTML that needs nothing from outside, and report.md with its figures."""

import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor

from poc_lib import text
from poc_lib.records import SetupProblem
from poc_lib.runs import replace_file
from poc_lib.show.tables import TEMPLATES

SVG = "image/svg+xml"
DECISION = re.compile('"about"><b>(.*?)</b>.*<h1 class="label">(.*?)</h1>', re.DOTALL)


class PreparePage(Preprocessor):
    """What nbconvert does with our notebooks before it fills templates/poc, whose conf.json names this."""

    def preprocess(self, nb: Any, resources: dict) -> tuple[Any, dict]:
        """Give the page its title and its headings their anchors; leave out what a report does not show."""
        is_report = nb.metadata.get("poc", {}).get("page") == "report"
        page: dict[str, Any] = {"is_report": is_report, "sections": [], "title": ""}
        nb.cells = _report_cells(nb.cells) if is_report else nb.cells
        for number, cell in enumerate(nb.cells):
            if heading := cell.cell_type == "markdown" and re.match(r"(##?) (.+)", cell.source):
                tag, rest = f"h{len(heading[1])}", cell.source[heading.end() :]
                cell.source = f'<{tag} id="s{number}">{heading[2]}</{tag}>\n{rest}'
                page["title"] = page["title"] or text.html(heading[2])
                page["sections"] += [(f"s{number}", heading[2])] if tag == "h2" else []
            for output in cell.get("outputs", []) if is_report else []:
                if found := DECISION.search(str(output.get("data", {}).get("text/html"))):
                    page["title"] = f"{found[2]}: {found[1]}"
        return nb, resources | {"poc": page}


def _report_cells(cells: list) -> list:
    """What a report shows; a section whose code cells all have nothing to show is left out."""
    sections: list[list] = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            sections.append([])
        sections[-1] += [cell] if "notebook-only" not in cell.metadata.get("tags", []) else []
    shown = []
    for section in sections:
        code = [cell for cell in section if cell.cell_type == "code"]
        shown += section if not code or any(cell.outputs for cell in code) else []
    return shown


def _read_notebook(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise SetupProblem(f"no notebook at {path} ({text.one_line(error)}): execute it first") from None


def export_page(notebook: Any, html_path: Path) -> Path:
    """Write an executed notebook as an HTML page without scripts and without references to anything outside.

    Args:
        notebook: its path, or the notebook itself.

    Raises:
        SetupProblem: there is no such notebook, or the page cannot be written.
    """
    nb = _read_notebook(notebook) if isinstance(notebook, Path) else notebook
    exporter = HTMLExporter(template_name="poc", extra_template_basedirs=[str(TEMPLATES)])
    replace_file(html_path, exporter.from_notebook_node(nb)[0].encode("utf-8", "replace"))
    return html_path


def export_report(run_folder: Path) -> list[Path]:
    """Write report.html, report.md and figures/*.svg from a run's executed report.ipynb.

    In report.md a heading is what its cell's metadata gives as ``report_md``, else itself.

    Raises:
        SetupProblem: as export_page.
    """
    parts = []
    for cell in _report_cells(_read_notebook(run_folder / "report.ipynb").cells):
        if cell.cell_type == "markdown":
            heading = re.match(r"#.*|", cell.source)[0]
            parts += [cell.metadata.get("report_md", heading), cell.source.removeprefix(heading).strip()]
        for output in cell.get("outputs", []):
            if SVG in (data := output.get("data", {})):
                path = run_folder / "figures" / f"{text.safe_name(output.metadata[SVG]['name'])}.svg"
                replace_file(path, data[SVG].encode())
                parts.append(f"![{text.markdown(output.metadata[SVG]['alt'])}](figures/{path.name})")
            else:
                parts.append(data.get("text/markdown", ""))
    markdown = "\n\n".join(filter(None, parts)) + "\n"
    replace_file(run_folder / "report.md", markdown.encode("utf-8", "replace"))
    return [export_page(run_folder / "report.ipynb", run_folder / "report.html"), run_folder / "report.md"]


def export_pages(folder: Path) -> list[Path]:
    """Write the pages of a run's executed notebooks: report.html and report.md, the others under pages/.

    Raises:
        SetupProblem: as export_page.
    """
    written = []
    for path in sorted(folder.glob("*.ipynb")):
        page = folder / "pages" / f"{path.stem}.html"
        written += export_report(folder) if path.stem == "report" else [export_page(path, page)]
    return written
