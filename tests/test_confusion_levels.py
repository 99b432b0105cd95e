"""Planted faults and clean runs through the whole check; benchmarks/laboratory.py is the large version."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.laboratory import CLEAN, clean_table, judge_run
from benchmarks.planted_runs import (
    Plan,
    Stage,
    draw_stage,
    plant_run,
    read_stage,
    with_wrong_references,
    without_references,
)
from poc_lib.accuracy.similarity import cosine_matrix, vectorize_texts
from poc_lib.confusion import (
    LOOKS_DIFFERENT_BITS,
    examine_confusion,
    find_duplicates,
    find_wrong_neighbours,
    hash_distance,
    judge_answers,
    list_suspicious,
    summarize_confusion,
)
from poc_lib.confusion import tables as confusion_tables
from poc_lib.confusion.tables import answers_table

N_FRAMES = 40


@pytest.fixture(scope="module")
def whole_stage(outputs: Path) -> Stage:
    return read_stage(outputs / "demo-data")


@pytest.fixture
def stage(whole_stage: Stage) -> Stage:
    return draw_stage(whole_stage, N_FRAMES, seed=0)


def states(stage: Stage, plan: Plan) -> dict[tuple[str, int], str]:
    table = summarize_confusion(plant_run(stage, plan), stage.frames)
    return dict(zip(zip(table["role"], table["concurrency"], strict=True), table["state"], strict=True))


def suspected(stage: Stage, plan: Plan) -> set[tuple[str, int]]:
    return {key for key, state in states(stage, plan).items() if state == "suspicion"}


@pytest.mark.parametrize("kind", list(CLEAN))
def test_clean_runs_raise_no_alarm_whatever_the_model_is_like(whole_stage, kind):
    (row,) = clean_table(whole_stage, 2, blocks=1, names=[kind]).to_dict("records")
    assert row["with an alarm"] == 0


@pytest.mark.parametrize(
    ("fault", "blocks", "share"),
    [("wrong_image", 3, 0.2), ("replay_first", 1, 0.3), ("duplicate", 3, 0.2), ("replay_first", 1, 1.0)],
)
def test_a_fault_at_one_level_is_found_there_with_its_cause_and_nowhere_else(stage, fault, blocks, share):
    plan = Plan(1, blocks=blocks, fault=fault, share=share, level=4)
    outcome = judge_run(stage, plant_run(stage, plan), plan)
    assert outcome.found
    assert not outcome.blamed_elsewhere
    assert outcome.n_right_answer >= 0.7 * outcome.n_listed > 0
    assert outcome.n_right_cause >= 0.7 * outcome.n_right_answer


def test_a_cache_that_replays_the_first_image_is_found_at_level_1_and_at_every_level(stage):
    plan = Plan(0, fault="replay_first", share=1.0)
    assert suspected(stage, plan) == {("candidate", level) for level in (1, 2, 4, 8)}
    assert suspected(stage, replace(plan, level=1)) == {("candidate", 1)}
    assert suspected(stage, replace(plan, baseline=False)) == {("candidate", level) for level in (1, 2, 4, 8)}


def test_without_stored_references_a_confused_level_is_found_by_the_servers_own_unloaded_answers(stage):
    plan = Plan(0, fault="replay_first", share=1.0, level=4, baseline=False)
    assert suspected(without_references(stage), plan) == {("candidate", 4)}


def test_without_any_reference_nothing_can_be_judged(stage):
    plan = Plan(0, levels=(4,), baseline=False)
    assert states(without_references(stage), plan) == {("candidate", 4): "cannot be judged"}


def test_a_terse_model_repeats_itself_at_every_level_and_is_not_accused(stage):
    table = summarize_confusion(plant_run(stage, Plan(0, model="terse")), stage.frames)
    loaded = table[(table["role"] == "candidate") & (table["concurrency"] > 1)]
    assert (loaded["duplicates"] > 5).all()
    assert loaded["duplicates_expected"].tolist() == loaded["duplicates"].tolist()
    assert (loaded["duplicates_p_value"] == 1).all()
    assert np.isnan(table["duplicates_p_value"].iloc[:2]).all()  # at the lowest levels there is no yardstick


def test_wrong_stored_references_are_expected_by_what_happens_without_load(stage):
    wrong = with_wrong_references(stage, 0.3, seed=0)
    table = summarize_confusion(plant_run(wrong, Plan(0, model="deterministic")), wrong.frames)
    loaded = table[(table["role"] == "candidate") & (table["concurrency"] == 8)].iloc[0]
    assert loaded.wrong_neighbours >= 3
    assert loaded.wrong_neighbours_expected == pytest.approx(loaded.wrong_neighbours)
    assert loaded.wrong_neighbours_held_against == "vllm-mlx at 1, vllm-mlx at 2, vllm-mlx at 4"
    assert loaded.state == "none found"


def test_a_suspicious_level_is_no_yardstick_for_the_next(stage):
    plan = Plan(0, fault="replay_first", share=1.0, level=2)
    table = summarize_confusion(plant_run(stage, plan), stage.frames)
    at_4 = table[table["concurrency"] == 4].iloc[0]
    assert at_4.wrong_neighbours_held_against == "vllm-mlx at 1"


def test_the_lowest_level_is_held_against_another_servers_or_else_against_wrong_references(stage):
    with_baseline = summarize_confusion(plant_run(stage, Plan(0)), stage.frames)
    assert with_baseline["wrong_neighbours_held_against"].tolist()[:2] == [
        "5% wrong references",
        "ollama at 1",
    ]
    alone = summarize_confusion(plant_run(stage, Plan(0, baseline=False)), stage.frames).iloc[0]
    assert alone.wrong_neighbours_held_against == "5% wrong references"
    assert alone.wrong_neighbours_expected == pytest.approx(0.05 * N_FRAMES)


def test_every_listed_answer_has_one_row_and_the_state_of_its_level(stage):
    plan = Plan(2, fault="duplicate", share=0.5, level=4)
    tables = examine_confusion(plant_run(stage, plan), stage.frames)
    keys = ["server", "concurrency", "block", "frame_id"]
    assert not tables.suspicious.duplicated(keys).any()
    at_4 = tables.suspicious["concurrency"] == 4
    assert set(tables.suspicious.loc[at_4, "state"]) == {"suspicion"}
    assert set(tables.suspicious.loc[~at_4, "state"]) <= {"within chance"}
    again = list_suspicious(plant_run(stage, plan), stage.frames)
    pd.testing.assert_frame_equal(again, tables.suspicious)


def test_the_adjusted_p_value_is_the_smallest_by_holm_over_the_whole_run(stage):
    plan = Plan(0, fault="replay_first", share=1.0, level=4)
    tables = examine_confusion(plant_run(stage, plan), stage.frames)
    n_tests = int(tables.signs["p_value"].notna().sum())
    row = tables.summary[tables.summary["concurrency"] == 4].iloc[0]
    raw = {sign: row[f"{sign}_p_value"] for sign in ("wrong_neighbours", "duplicates")}
    assert row["p_adjusted"] == pytest.approx(min(raw.values()) * n_tests)
    assert row["clearest_sign"] == min(raw, key=raw.get)


def test_truncated_rows_and_missing_hashes_are_no_obstacle(stage):
    requests = plant_run(stage, Plan(0))
    requests.loc[requests.index[::7], ["text", "error_class"]] = ["", "timeout"]
    frames = stage.frames.copy()
    frames.loc[::3, "phash"] = None
    table = summarize_confusion(requests, frames)
    assert (table["n_answers"] < N_FRAMES).all()
    assert set(table["state"]) == {"none found"}


def plain_duplicates(answers, hashes):
    """By the definition, pair by pair."""
    vectors = vectorize_texts(answers["compared"])
    found = []
    for _, cell in answers.groupby(["server", "concurrency", "block"], sort=False):
        rows = list(cell.itertuples(index=False))
        for i, later in enumerate(rows):
            for earlier in rows[:i]:
                different = hash_distance(hashes[later.frame_id], hashes[earlier.frame_id]) >= 10
                cosine = cosine_matrix(vectors, [later.compared], [earlier.compared])[0, 0]
                near = cosine >= 0.8 and plain_edit_similarity(later.compared, earlier.compared) >= 0.8
                if different and (later.words == earlier.words or near):
                    found.append((later.server, later.concurrency, later.frame_id, earlier.frame_id))
                    break
    return found


def plain_edit_similarity(a, b):
    a, b = a.casefold(), b.casefold()
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


@pytest.fixture
def few(whole_stage, monkeypatch) -> tuple[Stage, pd.DataFrame]:
    """Twelve frames with swaps and near repeats, and dense tables held five rows at a time."""
    monkeypatch.setattr(confusion_tables, "CHUNK_ROWS", 5)
    stage = draw_stage(whole_stage, 12, seed=3)
    requests = plant_run(stage, Plan(3, fault="replay_first", share=0.5, level=4, model="deterministic"))
    nearly = requests["text"].str.replace("The user is", "A user is now").where(requests.index % 3 == 0)
    return stage, requests.assign(text=nearly.fillna(requests["text"]))


def test_duplicates_found_in_chunks_are_those_of_the_plain_definition(few):
    stage, requests = few
    hashes = dict(zip(stage.frames["frame_id"], stage.frames["phash"], strict=True))
    plain = plain_duplicates(answers_table(requests), hashes)
    found = find_duplicates(requests, stage.frames)
    assert len(plain) > 2
    assert found["same_words"].nunique() == 2  # same and nearly the same
    columns = ["server", "concurrency", "frame_id", "same_as"]
    assert found[columns].to_numpy().tolist() == [list(row) for row in plain]


def test_fits_found_in_chunks_are_those_of_the_plain_definition(few):
    stage, requests = few
    judged = judge_answers(requests, stage.frames)
    answers = answers_table(requests)
    references = dict(zip(stage.frames["frame_id"], stage.frames["ref_description"], strict=True))
    hashes = dict(zip(stage.frames["frame_id"], stage.frames["phash"], strict=True))
    vectors = vectorize_texts([*answers["compared"], *references.values()])
    for answer, row in zip(answers.itertuples(), judged.itertuples(), strict=True):
        fits = {f: cosine_matrix(vectors, [answer.compared], [text])[0, 0] for f, text in references.items()}
        own = fits[answer.frame_id]
        others = {
            f: fit
            for f, fit in fits.items()
            if hash_distance(hashes[f], hashes[answer.frame_id]) >= LOOKS_DIFFERENT_BITS
        }
        assert row.own == pytest.approx(own)
        assert row.other == pytest.approx(max(others.values()))
        assert row.fits_frame_id == max(others, key=others.get)
    assert len(find_wrong_neighbours(requests, stage.frames)) > 0


def test_look_alike_pairs_are_those_of_the_plain_definition(few):
    stage, requests = few
    row = summarize_confusion(requests, stage.frames).iloc[0]
    hashes = list(stage.frames["phash"])
    pairs = [(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert row.n_frame_pairs == len(pairs) == math.comb(12, 2)
    assert row.n_look_alike_pairs == sum(hash_distance(a, b) < LOOKS_DIFFERENT_BITS for a, b in pairs)


@pytest.mark.parametrize("seed", [14, 36])
def test_stock_phrases_without_stored_references_are_no_swaps(whole_stage, seed):
    stage = without_references(draw_stage(whole_stage, 50, seed))
    assert suspected(stage, Plan(seed, model="stock phrases")) == set()
