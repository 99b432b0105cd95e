"""The report as Markdown: the same blocks; figures are files beside it."""

import html
import re
from collections.abc import Callable, Iterator

import pandas as pd

from poc_lib.report.blocks import (
    Block,
    Bullets,
    Code,
    Figures,
    Gallery,
    Heading,
    Note,
    Picture,
    Piece,
    ReportPage,
    Sample,
    Table,
    Terms,
    Text,
    Tiles,
)

# What acts as markup anywhere, at a line's start, or as a bare link that GitHub would make.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$]|^[#+-]|:(?=//)|(?<=www)\.|(?<=^\d)[.)](?=\s)|(?<=^\d\d)[.)](?=\s)|@)")
_MARKS = {"added": "**", "lacking": "~~", "telling": "**"}
_SIGNS = {"bad": "❗", "warn": "⚠️", "good": "✅", "muted": "🔒", "plain": ""}


def render_markdown(page: ReportPage) -> str:
    """The page as Markdown, for GitHub and for notebooks; text of models cannot act as markup."""
    return "\n\n".join(part for part in _parts(page) if part) + "\n"


def _parts(page: ReportPage) -> Iterator[str]:
    verdict = page.verdict
    yield f"# {escape_markdown(page.title)}"
    yield escape_markdown(" · ".join(page.about))
    yield from (_note(banner) for banner in page.banners)
    yield f"## Verdict: {verdict.headline}"
    yield escape_markdown(verdict.sentence)
    yield " → ".join(
        f"**{label}** ({span})" if chosen else f"{label} ({span})" for label, span, chosen in page.steps
    )
    if verdict.reservations:
        yield "Before acting on it:"
        yield "\n".join(f"- {escape_markdown(note)}" for note in verdict.reservations)
    for section in page.sections:
        yield f"## {section.title}"
        yield from (block_to_markdown(block) for block in section.blocks)


def block_to_markdown(block: Block) -> str:
    """One block as Markdown."""
    return _WRITERS[type(block)](block)


def escape_markdown(text: str) -> str:
    """Text that shows as it is: no markup, no HTML, no table column, no link comes of it; on one line."""
    one_line = " ".join(str(text).split())
    return html.escape(_SPECIAL.sub(r"\\\1", one_line), quote=False)


def _own_words(text: str) -> str:
    """Our own sentence, escaped but for its `code`."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else escape_markdown_spaced(part) for part in parts)


def escape_markdown_spaced(text: str) -> str:
    """As escape_markdown, with the spaces at both ends kept."""
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{lead}{escape_markdown(text)}{trail}" if text.strip() else text


def _note(note: Note) -> str:
    return f"> {_SIGNS[note.tone]} **{_own_words(note.text)}**"


def _heading(block: Heading) -> str:
    return f"### {escape_markdown(block.text)}"


def _text(block: Text) -> str:
    return _own_words(block.text)


def _bullets(block: Bullets) -> str:
    marks = [f"{i + 1}." if block.numbered else "-" for i in range(len(block.items))]
    return "\n".join(f"{mark} {_own_words(item)}" for mark, item in zip(marks, block.items, strict=True))


def _code(block: Code) -> str:
    longest = max((len(run) for run in re.findall(r"`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{escape_markdown(block.title)}:\n\n{fence}text\n{block.text}\n{fence}"


def _tiles(block: Tiles) -> str:
    rows = [[escape_markdown(part) for part in (tile.label, tile.value, tile.note)] for tile in block.tiles]
    return _grid(rows, ["what", "value", "note"], ["left", "right", "left"])


def _table(block: Table) -> str:
    titles = [escape_markdown(column.title) for column in block.columns]
    align = ["right" if column.numeric else "left" for column in block.columns]
    rows = [[escape_markdown(cell.text) for cell in row] for row in block.rows]
    for i in block.marked_rows:
        rows[i] = [f"**{text}**" for text in rows[i]]
    return f"{_grid(rows, titles, align)}\n\n*{escape_markdown(block.caption)}*"


def _grid(rows: list[list[str]], titles: list[str], align: list[str]) -> str:
    frame = pd.DataFrame(rows, columns=titles, dtype=object)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align if rows else None)


def _figures(block: Figures) -> str:
    return "\n\n".join(
        f"![{escape_markdown(figure.figure.alt_text)}](figures/{figure.name}.svg)\n\n*{escape_markdown(figure.reading)}*"
        for figure in block.figures
    )


def _gallery(block: Gallery) -> str:
    return "\n\n".join(_sample(sample) for sample in block.samples)


def _sample(sample: Sample) -> str:
    flags = ", ".join(f"**{escape_markdown(flag.text)}**" for flag in sample.flags)
    scores = ", ".join(f"{escape_markdown(name)} {escape_markdown(value)}" for name, value in sample.scores)
    texts = [[escape_markdown(said.whose), _marked(said.pieces) or "(no text)"] for said in sample.texts]
    fields = [[escape_markdown(part) for part in field] for field in sample.fields]
    parts = [
        f"### {escape_markdown(sample.title)}",
        f"{escape_markdown(sample.reason)}. {flags}".strip(),
        *(_picture(picture) for picture in sample.pictures),
        _grid(texts, ["whose", "text"], ["left", "left"]),
        _grid(fields, ["field", "answer", "reference"], ["left", "left", "left"]) if fields else "",
        scores,
    ]
    return "\n\n".join(part for part in parts if part)


def _picture(picture: Picture) -> str:
    if picture.jpeg is None:
        return f"*{escape_markdown(picture.caption)}: {escape_markdown(picture.problem or '')}*"
    shown = f"![{escape_markdown(picture.alt)}](figures/{picture.name}.svg)"
    return f"{shown}\n\n*{escape_markdown(picture.caption)}*"


def _marked(pieces: tuple[Piece, ...]) -> str:
    """A text with its marks: what it alone says is bold, what the other lacks struck, what tells bold."""
    return " ".join("".join(_piece(piece) for piece in pieces).split())


def _piece(piece: Piece) -> str:
    text, mark = escape_markdown_spaced(piece.text), _MARKS.get(piece.kind, "")
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{lead}{mark}{text.strip()}{mark}{trail}" if text.strip() else text


def _terms(block: Terms) -> str:
    return _grid(
        [[escape_markdown(t), escape_markdown(m)] for t, m in block.terms],
        ["term", "meaning"],
        ["left", "left"],
    )


_WRITERS: dict[type, Callable[..., str]] = {
    Heading: _heading,
    Text: _text,
    Bullets: _bullets,
    Note: _note,
    Code: _code,
    Tiles: _tiles,
    Table: _table,
    Figures: _figures,
    Gallery: _gallery,
    Terms: _terms,
}
