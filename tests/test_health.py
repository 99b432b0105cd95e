import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.planted_runs import Plan, draw_stage, plant_run, read_stage
from poc_lib.health import HealthLimits, score_health, summarize_health
from poc_lib.health.language import foreign_share, guess_language, main_language, main_scripts
from poc_lib.health.loops import compression_ratio, repeated_share
from poc_lib.health.refusals import is_refusal
from tests.builders import failed, reply, table

REFERENCE = "The user is editing parser.py in VS Code; a test in the terminal below fails with a TypeError."
ANSWER = "A developer edits parser.py in VS Code and the terminal shows a failing test with a TypeError."
LINE = "description: {} | activity: coding | apps: [VS Code] | topics: [parsing]"


def frames(n=1, reference=REFERENCE):
    return pd.DataFrame({"frame_id": [f"f{i + 1}" for i in range(n)], "ref_description": reference})


def score(text, reference=REFERENCE, **fields):
    (row,) = score_health(table([reply(text=text, **fields)]), frames(reference=reference)).to_dict("records")
    return row


def problems(text, reference=REFERENCE, **fields):
    return score(text, reference, **fields)["problems"]


def test_an_ordinary_answer_in_the_asked_form_is_healthy():
    row = score(LINE.format(ANSWER))
    assert row["healthy"]
    assert row["problems"] == ""
    assert row["description_chars"] == len(ANSWER)
    assert row["chars_vs_reference"] == pytest.approx(len(ANSWER) / len(REFERENCE))
    assert row["chars_vs_level_1"] == 1
    assert row["language"] == "en"


def test_free_text_is_only_not_well_formed():
    assert problems(ANSWER) == "not_well_formed"


def test_an_answer_cut_at_its_token_limit_is_truncated():
    assert problems(LINE.format(ANSWER), finish_reason="length") == "truncated"


def test_an_answer_of_thinking_alone_or_of_nothing_is_empty_and_has_no_length():
    for text in ("", "<think>What is this?</think>", "<think>What is"):
        row = score(text)
        assert row["problems"] == "empty"
        assert math.isnan(row["chars"])
    said_so = score_health(table([failed(error_class="empty")]), frames()).iloc[0]
    assert said_so["problems"] == "empty"


def test_a_failed_request_is_failed_and_nothing_else():
    row = score_health(table([failed()]), frames()).iloc[0]
    assert row["problems"] == "failed"
    assert np.isnan(row["repeated_share"])
    assert row["language"] is None


def test_a_phrase_said_again_and_again_is_a_loop():
    assert "looping" in problems(LINE.format("The user edits. " * 4))
    assert repeated_share("one two three " * 5) == 1.0
    assert repeated_share("a start and then again again again again") == pytest.approx(4 / 8)
    assert repeated_share("one two three one two three and then some more") == 0.0  # only twice
    assert repeated_share(LINE.format(ANSWER)) == 0.0
    assert math.isnan(repeated_share("!!!"))


def test_a_long_phrase_that_repeats_shows_in_its_compression():
    words = " ".join(f"word{i}" for i in range(40))
    assert repeated_share(f"{words} " * 6) == 0.0  # longer than the phrases looked for
    assert compression_ratio(f"{words} " * 6) > 3
    assert "looping" in problems(LINE.format(f"{words} " * 6))
    assert compression_ratio(LINE.format(ANSWER)) < 2
    assert math.isnan(compression_ratio(""))


def test_a_run_of_one_letter_is_a_loop_too():
    assert "looping" in problems("a" * 400)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot view images.",
        "Sorry, I am unable to process this screenshot.",
        "description: I cannot identify people in this picture. | activity: other | apps: [] | topics: []",
        "As an AI language model, I do not see pictures.",
        "No image was provided.",
        "I don't see any image attached.",
        "Please upload the screenshot so that I can describe it.",
        "I apologize, but I am not able to describe this image.",
    ],
)
def test_refusals_are_told(text):
    assert is_refusal(text)
    assert "refusal" in problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "The chat window shows the reply 'I'm sorry, but I can't help with that.'",
        "The user is reading an error: I cannot access the file.",
        "An image editor is open; no image is selected.",
        "A sorry-looking page with a broken layout.",
    ],
)
def test_a_refusal_that_the_screen_shows_is_none(text):
    assert not is_refusal(text)


def test_another_script_than_the_references_is_another_language():
    chinese = "用户正在编辑代码编辑器中的文件，并在终端中运行测试。"
    assert "wrong_language" in problems(LINE.format(chinese))
    assert "wrong_language" not in problems(LINE.format(chinese), reference=chinese)
    quoted = f"{ANSWER} The title reads 用户."
    assert "wrong_language" not in problems(LINE.format(quoted))
    assert foreign_share("ab用户", frozenset({"LATIN"})) == 0.5
    assert math.isnan(foreign_share("12 !", frozenset({"LATIN"})))


def test_another_language_in_the_same_script_is_told_by_its_commonest_words():
    german = "Der Benutzer bearbeitet die Datei parser.py in VS Code und das Terminal zeigt einen Fehler."
    assert guess_language(german) == "de"
    assert "wrong_language" in problems(LINE.format(german))
    assert (
        guess_language("L'utilisateur lit la page dans le navigateur et regarde une image sur Chrome") == "fr"
    )
    assert guess_language("parser.py main.py") is None
    assert (
        guess_language("the a an of and in der die das und ist ein") is None
    )  # as much the one as the other
    assert main_language([REFERENCE, REFERENCE, german]) == "en"
    assert main_language([]) is None


def test_where_there_is_no_reference_the_answers_without_load_say_what_is_usual():
    rows = [reply(text="Пользователь редактирует файл в редакторе кода."), reply(concurrency=4, text=ANSWER)]
    scores = score_health(table(rows), frames(reference=None))
    assert scores["wrong_language"].tolist() == [False, True]
    assert main_scripts([]) == {"LATIN"}


def test_far_too_short_and_far_too_long_are_told_by_the_reference():
    assert problems(LINE.format("An editor.")) == "too_short"
    long = "; ".join(f"file number {i} named part_{i * 7919}.py has a tab" for i in range(12))
    assert "too_long" in problems(LINE.format(long))
    assert "too_long" not in problems(LINE.format(long), reference=long)


def test_without_a_reference_the_length_without_load_is_the_yardstick():
    rows = [reply(text=LINE.format(ANSWER)), reply(concurrency=4, text="An editor.")]
    scores = score_health(table(rows), frames(reference=None))
    assert scores["too_short"].tolist() == [False, True]
    assert np.isnan(scores["chars_vs_reference"]).all()
    alone = score_health(table([reply("other", concurrency=4, text="An editor.")]), frames(reference=None))
    assert not alone["too_short"].any()


def test_limits_can_be_changed():
    strict = HealthLimits(short_ratio=0.99)
    scores = score_health(table([reply(text=LINE.format(ANSWER[:80]))]), frames(), strict)
    assert scores["problems"].tolist() == ["too_short"]


def test_warm_up_is_not_scored_and_an_empty_run_gives_empty_tables():
    assert score_health(table([reply(phase="warmup")]), frames()).empty
    empty = score_health(table([]), frames())
    assert summarize_health(empty).empty


def test_the_summary_counts_each_flag_with_its_own_n_and_interval():
    rows = [reply(f"f{i}", text=LINE.format(ANSWER)) for i in range(1, 8)]
    rows += [failed("f8"), reply("f9", text=""), reply("f10", text=ANSWER, finish_reason="length")]
    row = summarize_health(score_health(table(rows), frames(10))).iloc[0]
    assert (row.n_requests, row.n_answers) == (10, 8)
    assert (row.failed, row["empty"], row.truncated, row.not_well_formed) == (1, 1, 1, 1)
    assert (row.failed_share, row.truncated_share) == (0.1, 1 / 8)
    assert row.parse_rate == 7 / 8
    assert row.parse_rate_low < 7 / 8 < row.parse_rate_high
    assert (row.healthy, row.healthy_share) == (7, 0.7)
    assert row.looping_high == pytest.approx(1 - 0.025 ** (1 / 8))
    assert (row.n_vs_reference, row.n_vs_level_1) == (8, 8)


def test_a_level_where_everything_failed_has_shares_of_requests_only():
    row = summarize_health(score_health(table([failed()]), frames())).iloc[0]
    assert row.failed_share == 1.0
    assert math.isnan(row.parse_rate)
    assert math.isnan(row.truncated_share)


def test_a_level_worse_than_without_load_stands_out():
    sound = [reply(f"f{i}", text=LINE.format(ANSWER)) for i in range(1, 11)]
    cut = [reply(f"f{i}", text=ANSWER[:30], concurrency=4, finish_reason="length") for i in range(1, 11)]
    summary = summarize_health(score_health(table(sound + cut), frames(10))).set_index("concurrency")
    assert math.isnan(summary.loc[1, "unhealthy_p_value"])
    assert summary.loc[4, "unhealthy_p_value"] == pytest.approx(2.0**-10)


@pytest.mark.parametrize(("fault", "flag"), [("truncated", "truncated"), ("loop", "looping")])
def test_every_planted_fault_is_flagged_and_no_sound_answer_of_the_simulator(outputs: Path, fault, flag):
    stage = draw_stage(read_stage(outputs / "demo-data"), 30, seed=0)
    requests = plant_run(stage, Plan(0, fault=fault, share=0.3, level=4))
    scores = score_health(requests, stage.frames)
    planted = requests["planted"].notna().to_numpy()
    assert planted.sum() > 5
    assert scores[flag].to_numpy().tolist() == planted.tolist()
    assert scores["healthy"].to_numpy().tolist() == (~planted).tolist()
