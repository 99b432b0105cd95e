"""The report as one self-contained HTML page: no script, no reference to anything outside."""

import base64
import re
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from poc_lib.figures import figure_to_svg
from poc_lib.report.blocks import NamedFigure, ReportPage, Sample


def render_html(page: ReportPage) -> str:
    """The page as HTML; every text in it is escaped."""
    return _environment().get_template("report.html.j2").render(page=page)


def render_gallery(samples: Sequence[Sample]) -> str:
    """Samples as they stand on the page, for a place that has the styles of gallery_styles()."""
    return str(_environment().get_template("blocks.html.j2").module.gallery(samples))


def gallery_styles() -> str:
    """The rules of a gallery, which any page may hold."""
    return _environment().get_template("samples.css").render()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("poc_lib", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": mark_code, "svg": _svg, "data_uri": _data_uri}
    environment.tests["block"] = lambda value, kind: type(value).__name__ == kind
    return environment


def mark_code(text: str) -> Markup:
    """Our own sentence, escaped, with `backticks` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _svg(named: NamedFigure) -> Markup:
    return Markup(figure_to_svg(named.figure, named.name))


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
