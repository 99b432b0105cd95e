import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poc_lib.analysis import analyse_run
from poc_lib.figures import (
    draw_agreement,
    draw_latency,
    draw_similarity,
    draw_throughput,
    draw_timeline,
    figure_to_svg,
)
from poc_lib.figures.style import GROUND, INK
from tests.report_example import example_params, write_run


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
        "similarity": draw_similarity(np.eye(3), ["a", "b", "c"], "Answers", True, ["b"]),
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
