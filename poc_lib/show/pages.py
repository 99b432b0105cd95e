"""Executed notebooks as pages: HTML that needs nothing from outside, and report.md with its figures."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from nbformat import v4

from poc_lib import text
from poc_lib.records import Finding, SetupProblem
from poc_lib.runs import replace_file
from poc_lib.show import TEMPLATES, comparison_table, findings, say, write_csv

SVG = "image/svg+xml"
DECISION = re.compile('"about"><b>(.*?)</b>.*?<h1 class="label">(.*?)</h1>', re.DOTALL)


def _read_notebook(path: Path) -> Any:
    """An executed notebook; of a report the cells that it shows, without sections that show nothing."""
    try:
        nb = nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise SetupProblem(f"no notebook at {path} ({text.one_line(error)}): execute it first") from None
    if "poc" not in nb.metadata:
        return nb
    sections: list[list] = [[]]
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            sections.append([])
        if "notebook-only" not in cell.metadata.get("tags", []):
            sections[-1].append(cell)
    nb.cells = []
    for section in sections:
        if any(cell.get("outputs") for cell in section):
            nb.cells += section
    return nb


def export_page(notebook: Any, html_path: Path) -> Path:
    """Write an executed notebook, or the one at a path, as HTML without scripts or references to the outside.

    SetupProblem where there is no such notebook or the disk is full, as in all that follows.
    """
    nb = _read_notebook(notebook) if isinstance(notebook, Path) else notebook
    heads = [cell.source.partition("\n")[0] for cell in nb.cells if cell.cell_type == "markdown"]
    title = text.html("".join(heads[:1]).lstrip("# "))
    if "poc" in nb.metadata:  # a report: its title is the decision
        outputs = [output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", [])]
        if found := DECISION.search("".join(data.get("text/html", "") for data in outputs)):
            title = f"{found[2]}: {found[1]}"
    page = {"title": title, "sections": [head[3:] for head in heads if head.startswith("## ")]}
    options = {"template_name": "poc", "extra_template_basedirs": [str(TEMPLATES)], "anchor_link_text": ""}
    html, _ = HTMLExporter(**options).from_notebook_node(nb, {"poc": page})
    replace_file(html_path, html.encode("utf-8", "replace"))
    return html_path


def export_report(folder: Path, name: str = "report", notebook: Any = None) -> list[Path]:
    """Write name.html, name.md and figures/*.svg from a notebook, else from the folder's executed name.ipynb.

    In Markdown a heading is what its cell's metadata gives as ``report_md``, else itself.
    """
    nb, parts = notebook or _read_notebook(folder / f"{name}.ipynb"), []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            heading = re.match(r"#.*|", cell.source)[0]
            parts += [cell.metadata.get("report_md", heading), cell.source.removeprefix(heading).strip()]
        for output in cell.get("outputs", []):
            if SVG in (data := output.get("data", {})):
                path = folder / "figures" / f"{text.safe_name(output.metadata[SVG]['name'])}.svg"
                replace_file(path, data[SVG].encode())
                parts.append(f"![{text.markdown(output.metadata[SVG]['alt'])}](figures/{path.name})")
            else:
                parts.append(data.get("text/markdown", ""))
    markdown = "\n\n".join(filter(None, parts)) + "\n"
    replace_file(folder / f"{name}.md", markdown.encode("utf-8", "replace"))
    return [export_page(nb, folder / f"{name}.html"), folder / f"{name}.md"]


def export_notebook(path: Path) -> list[Path]:
    """Write the pages of an executed notebook: report.html and report.md, of any other one under pages/."""
    if path.stem == "report":
        return export_report(path.parent)
    return [export_page(path, path.parent / "pages" / f"{path.stem}.html")]


def export_pages(folder: Path) -> list[Path]:
    """Write the pages of all of a run's executed notebooks."""
    return [page for path in sorted(folder.glob("*.ipynb")) for page in export_notebook(path)]


def write_comparison(folder: Path, name: str, rows: pd.DataFrame, found: Iterable[Finding]) -> Path:
    """Write name.html, name.md and name.csv: a row a run, and what was found; returns the page."""
    cells = [v4.new_markdown_cell("# Runs compared")]
    for part in (comparison_table(rows) or say("No run ended."), findings(found)):
        cells.append(v4.new_code_cell(outputs=[v4.new_output("display_data", part._repr_mimebundle_())]))
    write_csv(folder / f"{name}.csv", rows)
    return export_report(folder, name, v4.new_notebook(cells=cells))[0]
