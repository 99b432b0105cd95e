import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from poc_lib.analysis import analyse_run
from poc_lib.report import (
    build_report,
    make_thumbnail,
    next_steps,
    render_html,
    render_markdown,
    write_report,
)
from poc_lib.report.markdown import escape_markdown
from tests.report_example import HOSTILE, example_params, write_run

SECTIONS = [
    "summary", "criteria", "speed", "latency", "failures", "accuracy", "confusion",
    "samples", "findings", "next", "limits", "reproduce", "glossary",
]  # fmt: skip


class Page(HTMLParser):
    """Every tag, every id and everything that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.ids, self.loads, self.images = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "poster", "action")]
        self.images += [attributes] if tag == "img" else []


def outside(page: Page) -> list[str]:
    return [value for value in page.loads if not value.startswith(("#", "data:image/"))]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    params = example_params(folder)
    analysis = analyse_run(write_run(folder, params), params)
    return analysis, params, write_report(analysis, params)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    params = example_params(folder, baseline_url="", screenshots=False)
    run = write_run(folder, params, simulated=False, faults=False, baseline=False)
    analysis = analyse_run(run, params)
    return analysis, params, write_report(analysis, params)


@pytest.fixture(scope="module")
def html(simulated):
    return simulated[2].html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(simulated):
    return simulated[2].markdown.read_text(encoding="utf-8")


def test_the_sections_come_in_order_with_the_verdict_first(html):
    places = [html.index('id="verdict"'), *(html.index(f'<section id="{name}">') for name in SECTIONS)]
    assert places == sorted(places)
    assert "Not recommended" in html[: places[1]]


def test_the_page_fetches_nothing_and_runs_nothing(html):
    page = Page(html)
    assert outside(page) == []
    assert not {"script", "iframe", "link", "object", "embed", "base"} & set(page.tags)
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


def test_ids_are_unique_and_contents_lead_somewhere(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.loads if link.startswith("#")} <= set(page.ids)


def test_text_of_models_cannot_act_as_markup_in_html(html):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "retry later <b>" not in html


def test_text_of_models_cannot_act_as_markup_in_markdown(markdown):
    assert "<script>" not in markdown
    assert "](http://example.org" not in markdown
    row = next(line for line in markdown.splitlines() if "alert(" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3  # two columns, whatever the answer holds


@pytest.mark.parametrize(
    "text", ["# no title", "- no item", "1. no item", "> no quote", "http://no.link", "a\n\nb"]
)
def test_no_line_of_a_model_becomes_structure(text):
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    assert not re.match(r"#|-|>|\d\.", escaped)
    assert "://" not in escaped.replace("\\://", "")


def test_simulated_servers_are_announced_before_anything_else(html, markdown, simulated):
    sentence = "Simulated servers: these numbers show the tool, not a server."
    assert html.index(sentence) < html.index('id="verdict"')
    assert markdown.index(sentence) < markdown.index("## Verdict")
    assert simulated[2].verdict.read_text(encoding="utf-8").startswith(sentence)


def test_a_run_on_real_servers_is_not_called_simulated(recorded):
    assert "imulated servers" not in recorded[2].html.read_text(encoding="utf-8")


def test_a_recorded_baseline_is_announced(recorded):
    text = recorded[2].markdown.read_text(encoding="utf-8")
    assert text.index("The baseline is recorded, not measured") < text.index("## Verdict")
    assert "ollama, recorded" in text


def test_screenshots_are_embedded_small_and_described(html, simulated):
    page = Page(html)
    assert page.images
    for image in page.images:
        assert len(image["src"]) < 15_000 * 4 / 3 + 100
        assert "f0" in image["alt"]


def test_without_screenshots_no_image_is_in_the_report_and_it_says_so(recorded):
    _, _, paths = recorded
    html, markdown = (path.read_text(encoding="utf-8") for path in (paths.html, paths.markdown))
    assert "data:image/jpeg" not in html
    assert not Page(html).images
    assert "Screenshots are left out" in html
    assert "Screenshots are left out" in markdown
    assert not [path for path in paths.figures if path.name.startswith("frame_")]


def test_criteria_are_told_by_sign_and_word(html):
    assert "✓ met" in html
    assert "✗ not met" in html


def test_failures_are_counted_by_class_with_an_example(html):
    section = html[html.index('id="failures"') : html.index('id="accuracy"')]
    assert "2 requests of 60 failed" in section
    assert "nothing arrived for 600 s" in section


def test_suspicious_answers_stand_beside_what_they_resemble(html):
    section = html[html.index('id="samples"') : html.index('id="findings"')]
    assert section.index("Suspicious: wrong neighbour") < section.index("Least like its reference")
    assert "Stored reference of frame f001, which the answer resembles" in section


def test_the_report_tells_how_to_repeat_the_run(markdown):
    section = markdown[markdown.index("## How to reproduce") : markdown.index("## Glossary")]
    for fact in ("params/again.yaml", "0" * 64, "0123456789ab", "Apple M4 Max", "demo-vlm", "0.28.1"):
        assert fact in section


def test_markdown_and_html_have_the_same_sections_and_figures(html, markdown, simulated):
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == re.findall(r"^## (?!Verdict)(.*)$", markdown, flags=re.MULTILINE)
    linked = set(re.findall(r"\]\(figures/([^)]+)\)", markdown))
    assert linked == {path.name for path in simulated[2].figures}


def test_numbers_that_are_not_known_are_said_to_be_so(html):
    ollama = html[html.index('<td class="plain" data-label="server">ollama') :]
    assert 'data-label="× baseline (95 % interval)">n/a</td>' in ollama[: ollama.index("</tr>")]
    assert not re.search(r">\s*nan\b", html)


def test_samples_show_their_scores_and_flags(html):
    section = html[html.index('id="samples"') : html.index('id="findings"')]
    assert re.search(r"<dt>difflib ratio</dt><dd>0\.\d\d</dd>", section)
    assert '<span class="flag bad">wrong neighbour</span>' in section


def test_next_steps_follow_from_the_result(simulated, recorded):
    faulty, clean = (" ".join(next_steps(analysis, params)) for analysis, params, _ in (simulated, recorded))
    assert "params/escribano.yaml" in faulty
    assert "--disable-prefix-cache" in faulty
    assert "failures first" in faulty
    assert "Start Ollama" in clean
    assert "--disable-prefix-cache" not in clean
    assert "failures" not in clean


def test_the_report_of_a_run_with_no_complete_level_can_be_written(tmp_path):
    params = example_params(tmp_path, concurrency=[8])
    analysis = analyse_run(write_run(tmp_path, params), params)
    page = build_report(analysis, params)
    assert "at no concurrency level" in render_html(page)
    assert "not recommended" in render_markdown(page)


def test_a_missing_screenshot_is_named_as_missing(tmp_path):
    params = example_params(tmp_path)
    analysis = analyse_run(write_run(tmp_path, params), params)
    for path in analysis.frames["image_path"]:
        path.unlink()
    assert "no longer there" in write_report(analysis, params).html.read_text(encoding="utf-8")


def test_the_report_is_the_same_each_time(simulated):
    analysis, params, paths = simulated
    before = paths.html.read_text(encoding="utf-8")
    assert write_report(analysis, params).html.read_text(encoding="utf-8") == before


def test_thumbnails_keep_below_the_limit_even_for_noise(tmp_path):
    path = tmp_path / "noise.png"
    Image.effect_noise((1024, 576), 120).save(path)
    jpeg = make_thumbnail(path, max_bytes=15_000)
    assert len(jpeg) <= 15_000
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"


def test_the_hostile_answer_of_the_example_is_shown(html):
    assert "**bold**" in HOSTILE
    assert "**bold**" in html
