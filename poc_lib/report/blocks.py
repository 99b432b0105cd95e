"""What a report is made of. Only plain text is in here: escaping is the business of HTML and Markdown."""

from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from poc_lib.verdict import Verdict

Tone = Literal["good", "bad", "warn", "muted", "plain"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell; the tone only underlines what the text says."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers stand right."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table; as "cards", each row becomes a card of its own on a narrow screen."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    as_cards: bool = False
    marked_rows: frozenset[int] = frozenset()  # the rows that the verdict speaks of


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph of our own words; `backticks` mark code."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of our own sentences."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence that must not be overlooked."""

    text: str
    tone: Tone = "warn"


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied as it is."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary."""

    label: str
    value: str
    note: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Tiles:
    """The summary's numbers."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class NamedFigure:
    """A figure, its name (a file's stem, unique in the report) and how to read it."""

    name: str
    figure: Figure
    reading: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that stand side by side where there is room."""

    figures: tuple[NamedFigure, ...]
    wide: bool = False  # a figure of many panels takes the page's width


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text: in both texts, in this one alone (added, lacking), or what gives it away."""

    text: str
    kind: Literal["same", "added", "lacking", "telling"] = "same"


@dataclass(frozen=True, slots=True)
class Said:
    """A text of a model's or the app's, never ours, with its differences marked."""

    whose: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a sample."""

    name: str  # a file's stem, unique in the report
    jpeg: bytes | None  # a small one; None: see problem
    problem: str | None
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer beside its image, its reference and, if it may be about another image, that one."""

    title: str
    reason: str  # why it is shown
    pictures: tuple[Picture, ...]
    texts: tuple[Said, ...]
    fields: tuple[tuple[str, str, str], ...]  # (field, of the answer, of the reference)
    scores: tuple[tuple[str, str], ...]  # (measure, value)
    flags: tuple[Cell, ...]

    @property
    def image(self) -> bytes | None:
        """The image that was sent, where it is shown."""
        return self.pictures[0].jpeg


@dataclass(frozen=True, slots=True)
class Gallery:
    """The samples."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """A glossary."""

    terms: tuple[tuple[str, str], ...]


Block = Heading | Text | Bullets | Note | Code | Tiles | Table | Figures | Gallery | Terms


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report that the contents list."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """The whole report, ready to be written as HTML or Markdown."""

    title: str
    about: tuple[str, ...]  # the run in a few words: id, date, recording, machine
    banners: tuple[Note, ...]
    verdict: Verdict
    steps: tuple[tuple[str, str, bool], ...]  # (label, range, is or may be the verdict), lowest first
    sections: tuple[Section, ...]
