"""The sections about single answers: a stranger must see what went wrong, where, and how sure it is."""

from dataclasses import replace

import pandas as pd
import pytest

from poc_lib.analysis import analyse_run
from poc_lib.canary import canary_id, list_leaks, make_codes, summarize_canaries
from poc_lib.confusion import examine_confusion
from poc_lib.gallery import answer_gallery, draw_level_cost, draw_model_cost
from poc_lib.quality import analyse_quality
from poc_lib.report.blocks import Bullets, Figures, Heading, Note, Table, Text
from poc_lib.report.html import render_gallery
from poc_lib.report.quality import accuracy_section, confusion_section, health_section
from poc_lib.report.samples import choose_samples
from poc_lib.report.writing import describe_samples
from poc_lib.views import confusion_table, quality_questions
from tests.builders import reply, table
from tests.report_example import example_params, write_run

CODES = make_codes(4, seed=0)


@pytest.fixture(scope="module")
def confused(tmp_path_factory):
    """Two answers per block at 4 in flight are about another frame; two requests per block fail at 8."""
    folder = tmp_path_factory.mktemp("confused")
    params = example_params(folder, blocks=3)
    return analyse_run(write_run(folder, params), params), params


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    params = example_params(folder, blocks=3)
    return analyse_run(write_run(folder, params, faults=False), params), params


def again(analysis, params, requests=None, frames=None):
    """The tables about answers, from other rows."""
    requests = analysis.requests if requests is None else requests
    frames = analysis.frames if frames is None else frames
    quality = analyse_quality(analysis.run, params, requests, frames)
    found = examine_confusion(requests, frames)
    return replace(
        analysis,
        requests=requests,
        frames=frames,
        quality=quality,
        confusion=found.summary,
        suspicious=found.suspicious,
        signs=found.signs,
    )


def with_canaries(analysis, texts, level=8):
    """Canaries at 1 in flight, each read, and at a level, where they are answered with these texts."""
    ids = [canary_id(code) for code in CODES]
    rows = [reply(one, phase="canary", text=f"Code {code}") for one, code in zip(ids, CODES, strict=True)]
    rows += [
        reply(one, phase="canary", text=text, concurrency=level, slot=i, start_s=0.1 * i)
        for i, (one, text) in enumerate(zip(ids, texts, strict=True))
    ]
    requests = pd.concat([analysis.requests, table(rows)], ignore_index=True)
    canaries, leaks = summarize_canaries(requests), list_leaks(requests)
    return replace(analysis, requests=requests, canaries=canaries, leaks=leaks)


def words(section):
    parts = []
    for block in section.blocks:
        if isinstance(block, Text | Note | Heading):
            parts.append(block.text)
        if isinstance(block, Bullets):
            parts += block.items
        if isinstance(block, Table):
            parts += [block.caption, *(cell.text for row in block.rows for cell in row)]
    return " ".join(parts).replace("\N{NO-BREAK SPACE}", " ")


def notes(section):
    return [(block.tone, block.text) for block in section.blocks if isinstance(block, Note)]


def figures(section):
    return [named.name for block in section.blocks if isinstance(block, Figures) for named in block.figures]


def test_a_suspected_level_is_named_first_with_count_bound_chance_and_p(confused):
    tone, text = notes(confusion_section(confused[0]))[0]
    assert tone == "warn"
    assert text.startswith("vllm-mlx at 4 in flight: mix-up suspected; 6 of 36 ")
    for part in ("16.7", "below", "expected by chance", "p <", "no canaries sent"):
        assert part in text


def test_a_clean_run_is_good_with_a_bound_at_every_level(clean):
    section = confusion_section(clean[0])
    assert notes(section)[0][0] == "good"
    bullets = next(block for block in section.blocks if isinstance(block, Bullets))
    assert len(bullets.items) == 5
    assert all("0 of 36" in item and "(below\N{NO-BREAK SPACE}9.7" in item for item in bullets.items)
    assert "bad" not in {tone for tone, _ in notes(section)}


def test_a_leak_is_proven_and_names_donor_victim_level_and_place(clean):
    leaky = with_canaries(clean[0], [f"Code {CODES[0]}", f"Code {CODES[0]}", *CODES[2:]])
    section = confusion_section(leaky)
    tone, text = notes(section)[0]
    assert tone == "bad"
    assert text.startswith("vllm-mlx at 8 in flight: mix-up proven; 1 of 4 answers with a code")
    leaks = next(
        b for b in section.blocks if isinstance(b, Table) and b.caption.startswith("Every proven leak")
    )
    shown = [cell.text for cell in leaks.rows[0]]
    assert shown[3:8] == [
        canary_id(CODES[1]),
        canary_id(CODES[0]),
        "yes",
        "2, donor 1: sent 1 after it",
        "1, donor 0",
    ]


def test_a_suspicion_beside_a_leak_at_another_level_is_still_said(confused):
    leaky = with_canaries(confused[0], [f"Code {CODES[0]}", f"Code {CODES[0]}", *CODES[2:]])
    assert [tone for tone, _ in notes(confusion_section(leaky))[:2]] == ["bad", "warn"]


def test_canaries_that_the_model_cannot_read_are_said_to_be_no_use(clean):
    blind = with_canaries(clean[0], ["A screen", "A screen", "A screen", "A screen"])
    lowest = (blind.requests["phase"] == "canary") & (blind.requests["concurrency"] == 1)
    requests = blind.requests.assign(text=blind.requests["text"].where(~lowest, "A screen"))
    blind = replace(blind, requests=requests, canaries=summarize_canaries(requests))
    section = confusion_section(blind)
    assert ("warn", "canaries not usable with this model") in {
        (tone, "canaries not usable with this model") for tone, text in notes(section) if "not usable" in text
    }
    assert "canaries not usable with this model" in words(section).split("Canaries: proof")[0]


def test_without_canaries_nothing_is_called_proven(clean):
    text = words(confusion_section(clean[0]))
    assert "No canaries were sent" in text
    assert "so nothing is proven either way" in text


def test_suspicious_answers_have_their_cause_state_and_the_number_that_the_heat_map_uses(confused):
    text = words(confusion_section(confused[0]))
    assert "f006 (no. 7) f001 (no. 2) suspicion" in text
    assert "wrong image" in text


def test_heat_maps_show_every_level_and_the_worst_one_large(confused):
    names = figures(confusion_section(confused[0]))
    assert names[0] == "similarity_levels"
    assert "similarity_4" in names


def test_frames_that_look_alike_are_counted_and_never_called_confusion(clean):
    analysis, params = clean
    same = analysis.frames.assign(phash=analysis.frames["phash"].iloc[0])
    section = confusion_section(again(analysis, params, frames=same))
    text = words(section)
    assert "66 of 66 pairs of frames look alike" in text
    assert "mix-up suspected" not in text
    assert notes(section)[0][0] == "warn"  # nothing could be told, which is not "good"


def test_the_two_questions_are_kept_apart_each_with_its_verdict_first(confused):
    blocks = list(accuracy_section(*confused).blocks)
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    assert headings[:2] == [
        "Does parallelism cost quality?",
        "Does the model or its quantisation cost quality?",
    ]
    for heading in headings[:2]:
        after = blocks[[getattr(block, "text", None) for block in blocks].index(heading) + 1]
        assert isinstance(after, Note)
        assert "margin 0.05" in after.text
    assert figures(accuracy_section(*confused)) == [
        "quality_levels", "quality_models", "calibration", "agreement",
    ]  # fmt: skip


def test_the_leading_measure_is_marked_in_the_table_of_levels(confused):
    tables = [block for block in accuracy_section(*confused).blocks if isinstance(block, Table)]
    marked = [tables[0].rows[i][2].text for i in sorted(tables[0].marked_rows)]
    assert marked == ["TF-IDF cosine"] * 3


def test_one_level_only_leaves_the_first_question_open_and_is_no_fault(tmp_path):
    params = example_params(tmp_path, concurrency=[4], blocks=3)
    analysis = analyse_run(write_run(tmp_path, params), params)
    text = words(accuracy_section(analysis, params))
    assert "every server was measured at one level only" in text
    assert "quality_levels" not in figures(accuracy_section(analysis, params))
    assert figures(confusion_section(analysis)) == ["similarity_4"]
    assert "One level only" in draw_level_cost(analysis).data


def test_without_a_baseline_the_second_question_is_open(tmp_path):
    params = example_params(tmp_path, baseline_url="", blocks=3)
    analysis = analyse_run(write_run(tmp_path, params, baseline=False), params)
    assert "no baseline was measured" in words(accuracy_section(analysis, params))
    assert "nothing to draw" in draw_model_cost(analysis).data


def test_without_references_nothing_is_scored_and_answers_are_still_shown(clean):
    analysis, params = clean
    nothing = dict.fromkeys(("ref_description", "ref_activity", "ref_apps", "ref_topics"))
    bare = again(analysis, params, frames=analysis.frames.assign(**nothing))
    section = accuracy_section(bare, params)
    assert notes(section)[0] == (
        "warn",
        "Nothing could be scored against a stored reference: no answered frame has a usable one.",
    )
    assert "Nothing to calibrate" in words(section)
    assert "nan" not in words(section)
    chosen = choose_samples(bare, seed=0)
    assert [one.kind for one in chosen] == ["random"] * 3
    assert "(no usable reference)" in render_gallery(describe_samples(bare, chosen, screenshots=False))


def test_a_level_that_failed_altogether_is_not_called_clean(clean):
    analysis, params = clean
    lost = (analysis.requests["concurrency"] == 8) & (analysis.requests["role"] == "candidate")
    requests = analysis.requests.assign(
        error_class=analysis.requests["error_class"].where(~lost, "busy"),
        text=analysis.requests["text"].where(~lost, ""),
    )
    failed = again(analysis, params, requests=requests)
    assert "vllm-mlx at 8 in flight: cannot be judged" in words(confusion_section(failed))
    assert notes(confusion_section(failed))[0][0] == "warn"
    assert "vllm-mlx at 8 in flight: 36 of 36 failed" in words(health_section(failed))
    assert "nan" not in words(accuracy_section(failed, params))


def test_only_problems_are_put_into_words_each_with_n_and_interval(confused, clean):
    said = words(health_section(confused[0]))
    assert "vllm-mlx at 8 in flight: 6 of 36 failed (6–33 %)" in said
    assert "at 2 in flight:" not in said
    section = health_section(clean[0])
    assert notes(section) == [("good", "All 180 answers are sound in themselves.")]
    assert not [block for block in section.blocks if isinstance(block, Bullets)]


def test_human_labels_lead_the_section(confused, tmp_path):
    analysis, params = confused
    path = tmp_path / "labels.csv"
    path.write_text("frame_id,must_contain,must_not_contain\nf000,parser.py,\nf006,batching,SQLite\n")
    labelled = again(analysis, params.model_copy(update={"labels": str(path)}))
    section = accuracy_section(labelled, params)
    assert section.blocks[0] == Heading("By human labels")
    assert "vllm-mlx at 4 in flight: 50% of 6 answers correct" in words(section)
    assert "f006 batching SQLite" in words(section)


def test_a_suspicious_sample_stands_beside_the_other_image_with_its_marks(confused):
    analysis, _ = confused
    chosen = choose_samples(analysis, seed=0)
    assert [one.kind for one in chosen][:2] == ["suspicious", "suspicious"]
    first = describe_samples(analysis, chosen[:1], screenshots=True)[0]
    assert [picture.jpeg is not None for picture in first.pictures] == [True, True]
    assert "f001" in first.pictures[1].caption
    shown = render_gallery([first])
    assert "<ins>" in shown
    assert "<del>" in shown
    assert "<mark>" in shown
    assert "cause: wrong image" in shown


def test_a_leak_sample_marks_the_code_of_the_other_image(clean):
    leaky = with_canaries(clean[0], [f"Code {CODES[0]}", f"Code {CODES[0]}", *CODES[2:]])
    chosen = choose_samples(leaky, seed=0)
    assert chosen[0].kind == "leak"
    shown = render_gallery(describe_samples(leaky, chosen[:1], screenshots=True))
    assert f"<mark>{CODES[0]}</mark>" in shown
    assert "no longer there" in shown  # this run's canaries were never drawn


def test_a_runaway_answer_is_cut_in_the_gallery(clean):
    analysis, params = clean
    long = analysis.requests.assign(text="say it again " * 2000)
    shown = render_gallery(
        describe_samples(again(analysis, params, long), choose_samples(analysis, 0)[-1:], False)
    )
    assert "more characters)" in shown
    assert len(shown) < 20_000


def test_the_notebook_shows_the_sections_words_and_no_empty_heading(confused):
    shown = confusion_table(confused[0]).data
    assert "mix-up suspected" in shown
    assert "<h4>Canaries: proof</h4>" in shown
    assert "Answer against reference" not in shown  # its heat maps are drawn by the notebook
    assert "Does parallelism cost quality?" in quality_questions(confused[0]).data


def test_the_notebooks_gallery_escapes_what_models_wrote(confused):
    shown = answer_gallery(confused[0], "suspicious", screenshots=False).data
    assert "<style>" in shown
    assert "<script" not in shown
    assert answer_gallery(confused[0], "worst", screenshots=False).data.count('class="sample"') == 3
