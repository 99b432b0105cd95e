"""A figure as SVG that takes the page's text colour and can stand inside an HTML page beside others."""

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from poc_lib.figures.style import BLUE, GROUND, INK, STYLE, VERMILLION

SYSTEM_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PAPER = "color: #1a1d21; background: #fff"
# A page may brighten these for its dark theme; elsewhere the fallback counts.
THEMED = {BLUE: "--figure-blue", VERMILLION: "--figure-vermillion"}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def figure_to_svg(figure: Figure, name: str, paper: bool = False) -> str:
    """The figure as one ``<svg>`` element: 100 % wide, labelled for screen readers, ids unique to ``name``.

    Args:
        figure: as the ``draw_`` functions return it; its title and alt text become <title> and <desc>.
        name: unique on the page; also the salt of matplotlib's own ids.
        paper: True gives white ground and dark ink, for a file of its own; False follows the page.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", _rounded, svg).replace("xlink:href", "href")
    svg = svg.replace("'DejaVu Sans'", SYSTEM_FONTS)
    return _opening_tag(figure, name, paper, svg) + _own_ids(_themed(svg[svg.index(">") + 1 :]), name)


def _themed(svg: str) -> str:
    svg = svg.replace(INK, "currentColor").replace(GROUND, "var(--ground, #fff)")
    for color, variable in THEMED.items():
        svg = svg.replace(color, f"var({variable}, {color})")
    return svg


def _rounded(tag: re.Match) -> str:
    """The tag with two decimals, without line breaks and without turns by nothing: half the size."""
    short = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag[0])
    return re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", short.replace("\n", " "))


def _opening_tag(figure: Figure, name: str, paper: bool, svg: str) -> str:
    view_box = re.search(r'viewBox="([^"]+)"', svg)[1]
    title = escape(getattr(figure, "title_text", name))
    alt = escape(getattr(figure, "alt_text", name))
    style = f"max-width: 100%; height: auto; {PAPER if paper else ''}".strip("; ")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view_box}" width="100%" style="{style}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{alt}</desc>'
    )


def _own_ids(svg: str, name: str) -> str:
    """Ids that something refers to become the figure's name and a number; the others go."""
    used = dict.fromkeys(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    new = {old: f"{name}-{i}" for i, old in enumerate(used)}
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{new[m[1]]}"' if m[1] in new else "", svg)
    return re.sub(r'((?:url\(|href=")#)([^)"]+)', lambda m: m[1] + new[m[2]], svg)
