"""The edge: images in, files of the run folder out."""

import base64
import glob
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from poc_lib.analysis import Analysis
from poc_lib.comparison import Comparison
from poc_lib.figures import figure_to_svg
from poc_lib.params import Params
from poc_lib.report.blocks import Figures, Gallery, NamedFigure, Picture, ReportPage, Sample
from poc_lib.report.describing import describe_sample
from poc_lib.report.html import render_html
from poc_lib.report.markdown import render_markdown
from poc_lib.report.page import build_report
from poc_lib.report.samples import Chosen, choose_samples
from poc_lib.runs import write_table, write_text

THUMBNAIL_BYTES = 15_000
WIDTHS = (640, 560, 480, 400, 320, 240, 160)
QUALITIES = (70, 55, 40)
LEFT_OUT = "screenshot left out"
GONE = "the image file is no longer there, or cannot be read"


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """The files of a written report."""

    html: Path
    markdown: Path
    verdict: Path
    figures: tuple[Path, ...]


def write_report(analysis: Analysis, params: Params, comparison: Comparison | None = None) -> ReportPaths:
    """Write report.html, report.md, verdict.txt and figures/*.svg into the run folder.

    With other runs to compare with, tables/comparison.csv as well.
    """
    folder = analysis.run.folder
    page = build_report(analysis, params, read_samples(analysis, params), comparison)
    if comparison:
        write_table(analysis.run, "comparison", comparison.table)
    return ReportPaths(
        html=write_text(folder / "report.html", render_html(page)),
        markdown=write_text(folder / "report.md", render_markdown(page)),
        verdict=write_text(folder / "verdict.txt", verdict_text(page)),
        figures=tuple(
            write_text(folder / "figures" / f"{name}.svg", svg) for name, svg in _figure_files(page).items()
        ),
    )


def verdict_text(page: ReportPage) -> str:
    """The verdict as plain text, warnings first, for a terminal."""
    notes = [f"- {note}" for note in page.verdict.reservations]
    banners = [banner.text for banner in page.banners]
    return "\n".join([*banners, f"Verdict: {page.verdict.headline}.", page.verdict.sentence, *notes]) + "\n"


def read_samples(analysis: Analysis, params: Params) -> list[Sample]:
    """The answers to be shown, with their thumbnails unless screenshots are to be left out."""
    return describe_samples(analysis, choose_samples(analysis, params.seed), params.screenshots)


def describe_samples(analysis: Analysis, chosen: Sequence[Chosen], screenshots: bool) -> list[Sample]:
    """Chosen answers with thumbnails of their own and of the other image, unless these are to be left out."""
    wanted = {one.frame_id for one in chosen} | {one.other_frame_id for one in chosen} - {None}
    images = {frame_id: _read_image(analysis, frame_id) for frame_id in wanted} if screenshots else {}
    known = {frame_id: image for frame_id, image in images.items() if image}
    why_no_image = GONE if screenshots else LEFT_OUT
    return [describe_sample(analysis, one, known, why_no_image) for one in chosen]


def _read_image(analysis: Analysis, frame_id: str) -> bytes | None:
    """The small image of a frame, or of a canary of the run."""
    of_frame = analysis.frames.loc[analysis.frames["frame_id"] == frame_id, "image_path"]
    drawn = (analysis.run.folder / "canaries").glob(f"{glob.escape(frame_id)}-*.jpg")
    path = next(iter([*of_frame, *sorted(drawn)]), None)
    return None if path is None else _read_thumbnail(Path(path))


def _read_thumbnail(path: Path) -> bytes | None:
    try:
        return make_thumbnail(path)
    except OSError:  # missing, or not an image (Pillow's UnidentifiedImageError is one)
        return None


def make_thumbnail(path: Path, max_bytes: int = THUMBNAIL_BYTES) -> bytes:
    """A JPEG of the image of at most ``max_bytes``: the widest, then the best that fits.

    Raises:
        OSError: no such file, or not an image.
    """
    with Image.open(path) as image:
        picture = image.convert("RGB")
    smallest = b""
    for width in WIDTHS:
        for quality in QUALITIES:
            smallest = _jpeg(picture, width, quality)
            if len(smallest) <= max_bytes:
                return smallest
    return smallest


def _jpeg(picture: Image.Image, width: int, quality: int) -> bytes:
    small = picture.copy()
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()


def _figure_files(page: ReportPage) -> dict[str, str]:
    blocks = [block for section in page.sections for block in section.blocks]
    figures: list[NamedFigure] = [f for block in blocks if isinstance(block, Figures) for f in block.figures]
    samples: list[Sample] = [s for block in blocks if isinstance(block, Gallery) for s in block.samples]
    pictures: list[Picture] = [picture for sample in samples for picture in sample.pictures]
    files = {named.name: figure_to_svg(named.figure, named.name, paper=True) for named in figures}
    return files | {picture.name: _picture(picture.jpeg) for picture in pictures if picture.jpeg}


def _picture(jpeg: bytes) -> str:
    """A JPEG inside an SVG: run folders hold text files, and report.md needs a file to point at."""
    with Image.open(io.BytesIO(jpeg)) as image:
        width, height = image.size
    data = base64.b64encode(jpeg).decode("ascii")
    size = f'width="{width}" height="{height}"'
    image = f'<image {size} href="data:image/jpeg;base64,{data}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}>{image}</svg>'
