"""A notebook as one HTML page that needs nothing from outside."""

from pathlib import Path

import nbformat
from nbconvert.exporters import HTMLExporter

from poc_lib.errors import SetupProblem
from poc_lib.runs import write_text

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def export_notebook(ipynb_path: Path, html_path: Path) -> Path:
    """Write an executed notebook as a self-contained HTML page; returns its path.

    Code, tables and figures keep their place; widgets and scripts are left out.

    Raises:
        SetupProblem: no notebook lies at ``ipynb_path``, or the file is not one.
    """
    if not ipynb_path.is_file():
        raise SetupProblem(f"no notebook at {ipynb_path}: run it first, or give the path of an executed one")
    try:
        notebook = nbformat.read(ipynb_path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise SetupProblem(f"{ipynb_path} is not a notebook: {str(error).splitlines()[0]}") from None
    exporter = HTMLExporter(
        template_name="poc",
        extra_template_basedirs=[str(TEMPLATES / "nbconvert")],
        embed_images=True,
    )
    resources = {
        "metadata": {"name": _title(notebook, ipynb_path), "path": str(ipynb_path.parent)},
        "poc_css": _styles(),
    }
    page, _ = exporter.from_notebook_node(notebook, resources)
    return write_text(html_path, page)


def _title(notebook: nbformat.NotebookNode, path: Path) -> str:
    headings = (
        line.removeprefix("# ")
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("# ")
    )
    return next(headings, path.stem)


def _styles() -> str:
    parts = (TEMPLATES / "tokens.css", TEMPLATES / "nbconvert" / "poc" / "notebook.css")
    return "\n".join(path.read_text(encoding="utf-8") for path in parts)
