import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from poc_lib.analysis import analyse_run
from poc_lib.figures import (
    FitMap,
    draw_agreement,
    draw_calibration,
    draw_differences,
    draw_latency,
    draw_similarities,
    draw_similarity,
    draw_throughput,
    draw_timeline,
    figure_to_svg,
)
from poc_lib.figures.style import GROUND, INK, VERMILLION
from tests.report_example import example_params, write_run

ONE_MAP = FitMap("Answers", np.eye(3), ("a", "b", "c"), flagged=(("b", "a"),), alike=((0, 2), (2, 0)))
DIFFERENCES = pd.DataFrame(
    {
        "label": ["at 2", "at 4", "at 8", "at 16"],
        "difference": [0.0, -0.3, -0.04, float("nan")],
        "low": [-0.02, -0.4, -0.2, float("nan")],
        "high": [0.02, -0.2, 0.1, float("nan")],
        "n_frames": [12, 12, 12, 0],
        "margin": 0.05,
        "verdict": ["not worse", "worse", "inconclusive", "not judgeable"],
    }
)
CALIBRATED = pd.DataFrame(
    {
        "measure": "tfidf_cosine",
        "concurrency": [1, 8],
        "n_own": [24, 22],
        "own_mean": [0.6, 0.5],
        "own_low": [0.5, float("nan")],
        "own_high": [0.7, float("nan")],
        "other_mean": 0.1,
        "ceiling_mean": 0.7,
    }
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    params = example_params(folder)
    return analyse_run(write_run(folder, params), params)


@pytest.fixture(scope="module")
def figures(analysis):
    return {
        "throughput": draw_throughput(analysis.speed, analysis.baseline),
        "latency": draw_latency(analysis.requests),
        "timeline": draw_timeline(analysis.requests, "vllm-mlx", 8),
        "agreement": draw_agreement(analysis.agreement, 0.8, simulated=True),
        "similarity": draw_similarity(ONE_MAP, True),
        "similarities": draw_similarities([ONE_MAP, ONE_MAP], "Answers at every level", True),
        "differences": draw_differences(DIFFERENCES, "Cost", "TF-IDF cosine", True),
        "calibration": draw_calibration(CALIBRATED, {"tfidf_cosine": "TF-IDF cosine"}, "vllm-mlx", True),
    }


def words(figure) -> str:
    svg = ElementTree.fromstring(figure_to_svg(figure, "words"))
    return " ".join(" ".join(svg.itertext()).split())


def test_every_axis_says_its_unit(figures):
    for figure in figures.values():
        plots = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
        labels = [axes.get_xlabel() for axes in plots]
        assert all(re.search(r"\[.+\]", label) for label in labels), labels


def test_every_figure_tells_its_n_and_that_its_servers_are_simulated(figures):
    for name, figure in figures.items():
        assert re.search(r"n = \d+", figure.caption_text), name
        assert "SIMULATED" in figure.title_text, name
        assert "SIMULATED" in figure.caption_text, name


def test_a_figure_of_real_servers_does_not_say_simulated(analysis):
    speed = analysis.speed.assign(simulated=False)
    assert "SIMULATED" not in words(draw_throughput(speed, analysis.baseline))


def test_throughput_shows_measured_values_and_marks_the_incomplete_level(analysis):
    figure = draw_throughput(analysis.speed, analysis.baseline, ["frames_per_s"])
    shown = [text.get_text() for text in figure.axes[0].texts]
    best = analysis.speed[analysis.speed["concurrency"] == 4]["frames_per_s"].iloc[0]
    assert f"{best:.2f}" in shown
    assert [text for text in shown if "incomplete" in text] == [shown[-1]]
    assert len([line for line in figure.axes[0].lines if line.get_color() == GROUND]) == 1  # hollow
    assert "Hollow: incomplete" in figure.caption_text


def test_a_recorded_baseline_is_labelled_as_not_measured(analysis):
    recorded = replace(analysis.baseline, measured=False)
    candidates = analysis.speed[analysis.speed["role"] == "candidate"]
    assert "recorded, not measured" in words(draw_throughput(candidates, recorded))


def test_servers_are_told_apart_without_colour(figures):
    axes = figures["throughput"].axes[0]
    looks = {line.get_label(): (line.get_marker(), line.get_linestyle()) for line in axes.lines}
    assert looks["ollama"] != looks["vllm-mlx"]


def test_a_rate_that_is_not_known_is_left_out_of_the_plot(analysis):
    speed = analysis.speed.assign(output_tok_per_s=float("nan"))
    figure = draw_throughput(speed, replace(analysis.baseline, output_tok_per_s=float("nan")))
    assert words(figure)


def test_the_timeline_marks_failures(figures, analysis):
    assert "2 failed" in figures["timeline"].caption_text
    assert "2 failed" not in draw_timeline(analysis.requests, "vllm-mlx", 1).caption_text


def test_sittings_follow_each_other_in_the_timeline(analysis):
    requests = analysis.requests.copy()
    late = (requests["concurrency"] == 4) & (requests["frame_id"] > "f006")
    requests.loc[late, "sitting"] = 1
    requests.loc[late, "start_s"] += 10_000
    figure = draw_timeline(requests, "vllm-mlx", 4)
    assert "2 sittings" in figure.caption_text
    assert figure.axes[0].get_xlim()[1] < 100


def test_the_margin_and_each_verdict_are_told_apart_without_colour(figures):
    axes = figures["differences"].axes[0]
    marks = {line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1}
    assert marks == {"o", "X"}  # the difference that is not known is not drawn
    hollow = [line.get_markerfacecolor() for line in axes.lines if len(line.get_xdata()) == 1]
    assert hollow[0] != GROUND
    assert hollow[2] == GROUND
    assert any(set(line.get_xdata()) == {-0.05} for line in axes.lines)
    assert any(patch.get_hatch() for patch in axes.patches)


def test_floor_ceiling_and_each_level_stand_on_one_line(figures):
    axes = figures["calibration"].axes[0]
    named = {label for _, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    assert named == {"floor", "ceiling", "1 in flight", "8 in flight"}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["TF-IDF cosine"]


def test_a_flagged_cell_is_outlined_and_look_alikes_are_dotted(figures):
    axes = figures["similarity"].axes[0]
    boxes = [patch.get_xy() for patch in axes.patches if patch.get_edgecolor()[:3] == to_rgb(VERMILLION)]
    assert boxes == [(-0.5, 0.5)]  # column of frame a, row of frame b
    dots = next(line for line in axes.lines if line.get_marker() == ".")
    assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [(2, 0), (0, 2)]
    assert "no confusion" in figures["similarity"].caption_text


def test_every_level_gets_a_panel_on_one_colour_scale(figures):
    panels = [axes for axes in figures["similarities"].axes if axes.images]
    assert len(panels) == 2
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1)}


def test_latency_of_no_answer_draws_an_empty_figure(analysis):
    failed = analysis.requests.assign(error_class="timeout")
    assert "n = 0" in draw_latency(failed).caption_text


def test_many_points_are_thinned_out_to_the_tails(analysis):
    many = pd.concat([analysis.requests] * 10)
    sizes = [len(figure_to_svg(draw_latency(table), "x")) for table in (analysis.requests, many)]
    assert sizes[1] < 1.5 * sizes[0]


def test_the_svg_takes_the_pages_colour_and_width(figures):
    for name, figure in figures.items():
        svg = figure_to_svg(figure, name)
        assert "currentColor" in svg
        assert INK not in svg
        assert 'width="100%"' in svg
        assert "viewBox" in svg


def test_the_svg_is_labelled_for_screen_readers(figures):
    svg = figure_to_svg(figures["throughput"], "t")
    assert 'role="img"' in svg
    assert re.search(r'<title id="t-title">Throughput', svg)
    assert re.search(r'<desc id="t-desc">.*vllm-mlx at 4: ', svg)


def test_two_figures_on_a_page_share_no_id(figures):
    both = [figure_to_svg(figures["throughput"], name) for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in both]
    assert all(ids)
    assert not ids[0] & ids[1]
    for svg, own in zip(both, ids, strict=True):
        assert {
            ref for pair in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg) for ref in pair if ref
        } <= own


def test_the_svg_is_well_formed_the_same_each_time_and_loads_nothing(figures):
    for name, figure in figures.items():
        svg = figure_to_svg(figure, name)
        ElementTree.fromstring(svg)
        assert svg == figure_to_svg(figure, name)
        assert not re.findall(r'(?:href|src)="(?!#|data:)', svg), name


def test_a_figure_file_has_a_ground_of_its_own(figures):
    assert "background: #fff" in figure_to_svg(figures["timeline"], "t", paper=True)
    assert "background: #fff" not in figure_to_svg(figures["timeline"], "t")


def test_numbers_in_labels_are_not_rounded_with_the_coordinates(analysis):
    svg = figure_to_svg(draw_throughput(analysis.speed.assign(server="v0.123456"), analysis.baseline), "x")
    assert "v0.123456" in re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_figure_shows_itself_in_a_notebook_with_its_alt_text(figures):
    data, metadata = figures["agreement"]._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert "n = " in metadata["image/png"]["alt"]
