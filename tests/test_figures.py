"""Figures: what they show, that they are small and readable, and that foreign text stays text in them."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from functools import partial

import example
import numpy as np
import pytest

from poc_lib import figures

SVG = "{http://www.w3.org/2000/svg}"
PHONE_PX = 354  # what a page of 390 px leaves for a figure
DRAWN = {name: getattr(figures, f"draw_{name}") for name in ("blocks", "phases", "donors")}
DRAWN |= {name: partial(figures.draw_levels, name=name) for name in figures.LINES}
HOSTILE = "$\\frac b$<i>\x00\n#0072b2 漢'\""


def mixed_up(**changed):
    frames = [dataclasses.replace(frame, **changed) for frame in example.example_frames(12)]
    requests = example.example_requests(frames)
    proof = requests[(requests["phase"] == "proof") & (requests["concurrency"] == 8)].index
    requests.loc[proof[5], "text"] = requests.loc[proof[4], "text"]
    return requests, frames


@pytest.fixture(scope="module")
def analysis():
    return example.analysis_of(*mixed_up())


def changed(analysis, **parts):
    return type(analysis)(**{**vars(analysis), **parts})


def svg_of(figure) -> ElementTree.Element:
    return ElementTree.fromstring(figures.figure_to_svg(figure))


def texts_of(figure) -> list[str]:
    return ["".join(text.itertext()) for text in svg_of(figure).iter(f"{SVG}text")]


def told_by(figure) -> list[str]:
    """What a pointer over each point or bar is told."""
    return [title.text for title in svg_of(figure).findall(f".//{SVG}g/{SVG}title")]


def points_of(figure, marker: str, color: str) -> list[tuple[float, float]]:
    """Where a figure's first panel has points of this marker and fill."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    drawn = [line for line in lines if line.get_markerfacecolor() == color]
    return [(float(x), float(y)) for line in drawn for x, y in line.get_xydata()]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_small_labelled_and_readable_on_a_phone(analysis, name):
    figure = DRAWN[name](analysis)
    svg, (data, metadata) = svg_of(figure), figure._repr_mimebundle_()
    source = data["image/svg+xml"]
    assert metadata["image/svg+xml"] == {"name": figure.name, "alt": figure.alt}
    assert len(source) < 30_000
    assert not re.search(r"https?://(?!www\.w3\.org)|<script|<image|@import", source)
    assert "SIMULATED" in figure.alt
    assert svg.get("aria-label") == figure.alt
    assert "currentColor" in source
    assert not re.search("#010203|#fefdfc", source)
    scale = PHONE_PX / float(svg.get("viewBox").split()[2])
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:700 |bold )?([\d.]+)px", source)]
    assert len(sizes) > 5
    assert min(sizes) * scale >= 9


def test_the_blocks_stand_in_order_beside_their_mean_interval_and_the_steps(analysis):
    blocks = analysis.blocks.copy()
    blocks["note"] = blocks["note"].astype(object)
    blocks.loc[2, "note"] = "judged on 20 of 24 frames"
    figure = figures.draw_blocks(changed(analysis, blocks=blocks))
    verdict = analysis.verdicts[0]
    found = f"vllm-mlx: {verdict.speedup:.2f} × ({verdict.low:.2f} to {verdict.high:.2f})"
    assert {found, "1.5 × marginal", "2 × recommendation", "3 × strong"} <= set(texts_of(figure))
    told = [words.split(",")[0] for words in told_by(figure)]
    assert told == [f"block {n}: {speedup:.2f} ×" for n, speedup in enumerate(blocks["speedup"], 1)]
    assert "judged on 20 of 24 frames" in told_by(figure)[2]
    points = list(enumerate(blocks["speedup"], 1))
    assert points_of(figure, "o", figures.GROUND) == [points.pop(2)]  # judged on fewer frames: hollow
    assert points_of(figure, "o", figures.BLUE) == points
    early = dataclasses.replace(verdict, low=0.0, high=np.inf)  # two blocks of a plan of a thousand
    assert svg_of(figures.draw_blocks(changed(analysis, verdicts=[early])))


def test_levels_are_joined_in_the_order_of_concurrency_and_pilots_are_hollow(analysis):
    levels = analysis.levels.iloc[::-1]
    figure = figures.draw_levels(changed(analysis, levels=levels), "throughput")
    rates = analysis.levels.query("role == 'candidate'").set_index("concurrency")["frames_per_s"]
    line = next(line for line in figure.axes[0].lines if line.get_label() == "vllm-mlx")
    assert line.get_xydata().tolist() == [[n, rates[n]] for n in (1, 4, 8)]
    assert points_of(figure, "o", figures.GROUND) == [(n, rates[n]) for n in (1, 4)]
    assert told_by(figure)[2:] == [
        f"vllm-mlx, 4 in flight: {rates[4]:.2f} (pilot)",
        f"vllm-mlx, 8 in flight: {rates[8]:.2f} (confirm)",
    ]


def test_the_bars_of_an_answers_time_add_up_to_its_median(analysis):
    levels = analysis.levels.assign(prefill_share=0.25, decode_share=0.5)
    figure = figures.draw_phases(changed(analysis, levels=levels))
    widths = np.array([bar.get_width() for bar in figure.axes[0].patches]).reshape(3, -1).T
    assert widths.sum(axis=1) == pytest.approx(levels["total_p50_s"].to_numpy())
    assert (widths / widths.sum(axis=1, keepdims=True))[0] == pytest.approx([0.25, 0.5, 0.25])
    assert told_by(figure)[4] == f"ollama · 1 in flight: decoding {widths[0, 1]:.2f} s (50%)"


def test_the_matrix_names_who_was_answered_with_whom(analysis):
    victim = analysis.answers[analysis.answers["proof"] == "other"].iloc[0]
    figure = figures.draw_donors(analysis)
    sent, donor = (analysis.frames[victim[key]].label for key in ("frame_id", "donor_frame"))
    assert told_by(figure) == [f"{sent} was answered with {donor}, 1 ×"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ((x, y),) = points_of(figure, "s", figures.BLUE)
    assert [labels[round(y)], labels[round(x)]] == [sent, donor]
    assert figures.draw_donors(example.example_analysis(n_frames=12, n_blocks=0)) is None


@pytest.mark.parametrize("name", DRAWN)
def test_foreign_text_is_plain_text_in_a_figure(name):
    requests, frames = mixed_up(label=HOSTILE)
    requests["server"] += HOSTILE
    hostile = example.analysis_of(requests, frames)
    figure = DRAWN[name](hostile)
    figure._repr_mimebundle_()
    shown = " ".join(texts_of(figure) + told_by(figure))
    assert "$\\frac b$<" in shown
    assert "\\$" not in shown
