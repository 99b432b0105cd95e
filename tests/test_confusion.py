import io
import math
import random
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from poc_lib.confusion import (
    LOOKS_DIFFERENT_BITS,
    ConfusionLimits,
    find_duplicates,
    find_replays,
    find_wrong_neighbours,
    fit_matrix,
    hash_distance,
    judge_answers,
    list_suspicious,
    summarize_confusion,
    visual_hash,
)
from poc_lib.looks import hash_distances
from poc_lib.records import Reply

# frame id: hash, stored reference, a model's paraphrase. editor and editor_later look alike (2 bits apart).
SCREENS = {
    "editor": (
        "ffff0000ffff0000",
        "The user is editing intelligence.ollama.adapter.ts in Visual Studio Code, fixing the retry loop"
        " around fetch('/api/chat'); the terminal below shows TypeError: response.body is null.",
        "A developer works on intelligence.ollama.adapter.ts in VS Code. The retry loop around the "
        "/api/chat call is open and the integrated terminal prints 'TypeError: response.body is null'.",
    ),
    "editor_later": (
        "ffff0000ffff0003",
        "The user is editing intelligence.ollama.adapter.ts in Visual Studio Code; the retry loop around"
        " fetch('/api/chat') has a new catch block and the terminal shows TypeError: response.body is "
        "null.",
        "intelligence.ollama.adapter.ts is open in VS Code, a catch block was added to the retry loop "
        "around the /api/chat call; the terminal still prints 'TypeError: response.body is null'.",
    ),
    "browser": (
        "0000ffff0000ffff",
        "The user is reading the GitHub issue 'MLX memory grows with every frame' in Google Chrome, "
        "scrolled to a comment that suggests clearing the metal cache after each batch.",
        "A GitHub issue titled 'MLX memory grows with every frame' is open in Chrome. A comment "
        "recommends to clear the Metal cache after each batch.",
    ),
    "terminal": (
        "f0f0f0f0f0f0f0f0",
        "The user is running pnpm test in iTerm2; vitest reports 212 passed and 3 failed tests in "
        "clustering.test.ts, with an AssertionError expected 4 to be 5.",
        "iTerm2 shows the output of pnpm test: 3 failed and 212 passed, the failures are in "
        "clustering.test.ts, AssertionError: expected 4 to be 5.",
    ),
    "meeting": (
        "0f0f0f0f0f0f0f0f",
        "The user is in a Zoom call with four participants; one shares a slide titled 'Q3 roadmap: "
        "local-first capture' with a timeline from July to September.",
        "Zoom meeting with four people. The shared slide reads 'Q3 roadmap: local-first capture' and has"
        " a timeline July-September.",
    ),
    "slack": (
        "cccccccccccccccc",
        "The user is reading the #design channel in Slack, where Maria posted new onboarding mockups and"
        " asks for feedback on the permission screen before Friday.",
        "Slack is open on the #design channel; Maria shared mockups of the onboarding and wants feedback"
        " on the permission screen by Friday.",
    ),
    "docs": (
        "3333333333333333",
        "The user is reading the SQLite documentation page 'Write-Ahead Logging' in Safari, at the "
        "section about checkpointing and the wal-index.",
        "The SQLite documentation on Write-Ahead Logging is open in Safari; the visible section explains"
        " checkpointing.",
    ),
}
REFERENCE = {frame_id: reference for frame_id, (_, reference, _) in SCREENS.items()}
PARAPHRASE = {frame_id: paraphrase for frame_id, (_, _, paraphrase) in SCREENS.items()}
SWAPPED = PARAPHRASE | {"browser": PARAPHRASE["terminal"], "terminal": PARAPHRASE["browser"]}


def frames_table(**changes):
    frames = pd.DataFrame(
        {
            "frame_id": list(SCREENS),
            "timestamp_s": [10.0 * i for i in range(len(SCREENS))],
            "ref_description": list(REFERENCE.values()),
            "ref_activity": "coding",
            "ref_apps": None,
            "ref_topics": None,
            "ref_model": None,
            "phash": [phash for phash, _, _ in SCREENS.values()],
            "image_path": [f"{frame_id}.jpg" for frame_id in SCREENS],
        }
    )
    return frames.assign(**changes)


def reply(frame_id, text, server="vllm-mlx", concurrency=4, block=0, **fields):
    defaults = {"phase": "measure", "sitting": 0, "start_s": 0.0, "total_s": 5.0, "ttft_s": 1.0}
    return Reply(
        request_id=f"{server}/c{concurrency}/b{block}/{frame_id}",
        server=server,
        role="baseline" if server == "ollama" else "candidate",
        concurrency=concurrency,
        block=block,
        frame_id=frame_id,
        slot=0,
        simulated=False,
        sent_at="2026-11-22T10:00:00",
        in_flight=concurrency,
        text=f"description: {text} | activity: coding | apps: [A] | topics: [B]" if text else "",
        **(defaults | fields),
    )


def cell(answers, spacing_s=1.0, **fields):
    """One cell: each frame sent ``spacing_s`` after the one before; every request takes 5 s."""
    rows = (reply(f, text, start_s=i * spacing_s, **fields) for i, (f, text) in enumerate(answers.items()))
    return pd.DataFrame([asdict(row) for row in rows])


def drawn_screen(seed, caret_at=None):
    """A dark window with lines of blocks, as text looks from afar."""
    draw_at = random.Random(seed)
    image = Image.new("RGB", (1024, 576), (30, 30, 30))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, draw_at.randint(80, 500), 576), fill=(60, 60, 70))
    for y in range(20, 560, draw_at.randint(40, 90)):
        left = draw_at.randint(0, 500)
        draw.rectangle((left, y, left + draw_at.randint(50, 500), y + 25), fill=(210, 210, 210))
    if caret_at:
        draw.rectangle((*caret_at, caret_at[0] + 2, caret_at[1] + 16), fill=(255, 255, 255))
    return image


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_a_moved_caret_and_another_jpeg_quality_look_alike_and_other_screens_do_not():
    for seed in range(5):
        plain = visual_hash(drawn_screen(seed))
        assert (
            hash_distance(plain, visual_hash(drawn_screen(seed, caret_at=(700, 300)))) < LOOKS_DIFFERENT_BITS
        )
        assert hash_distance(plain, visual_hash(as_jpeg(drawn_screen(seed), 40))) < LOOKS_DIFFERENT_BITS
        assert hash_distance(plain, visual_hash(drawn_screen(seed + 100))) >= LOOKS_DIFFERENT_BITS


def test_the_distance_counts_differing_bits_and_refuses_unlike_hashes():
    assert hash_distance("00000000000000ff", "000000000000000f") == 4
    assert hash_distance("0" * 16, "F" * 16) == 64
    with pytest.raises(ValueError, match="64 and 32 bits"):
        hash_distance("0" * 16, "0" * 8)


def test_unknown_hashes_have_no_distance():
    unknown = [None, float("nan"), "0" * 64, "0" * 8, "not a hash 64bit"]
    table = hash_distances(["0" * 15 + "7", *unknown], ["0" * 16, *unknown])
    assert table[0, 0] == 3
    assert np.isnan(table).sum() == 6 * 6 - 1


def test_paraphrases_are_judged_to_be_about_their_own_image():
    judged = judge_answers(cell(PARAPHRASE), frames_table())
    assert judged["judgement"].tolist() == ["own image"] * 7
    assert (judged["own"] > judged["other"] + 0.15).all()


def test_two_swapped_answers_are_both_found_with_the_frame_they_fit():
    found = find_wrong_neighbours(cell(SWAPPED), frames_table())
    assert dict(zip(found["frame_id"], found["fits_frame_id"], strict=True)) == {
        "browser": "terminal",
        "terminal": "browser",
    }
    assert found["in_flight_together"].tolist() == [True, True]
    assert found["also_unloaded"].tolist() == [False, False]


def test_answers_swapped_between_frames_that_look_alike_are_no_confusion():
    pair = {"editor": PARAPHRASE["editor_later"], "editor_later": PARAPHRASE["editor"]}
    requests = cell(PARAPHRASE | pair)
    assert find_wrong_neighbours(requests, frames_table(), ConfusionLimits(margin=0.01)).empty
    everything_differs = ConfusionLimits(looks_different_bits=1, margin=0.01)
    assert not find_wrong_neighbours(requests, frames_table(), everything_differs).empty


def test_requests_that_did_not_overlap_were_not_in_flight_together():
    apart = cell(SWAPPED, spacing_s=5.5, concurrency=1)
    assert find_wrong_neighbours(apart, frames_table())["in_flight_together"].tolist() == [False, False]
    overlapping = cell(SWAPPED, spacing_s=4.5)
    assert find_wrong_neighbours(overlapping, frames_table())["in_flight_together"].tolist() == [True, True]
    other_sitting = overlapping.assign(sitting=(overlapping["frame_id"] == "terminal").astype(int))
    assert find_wrong_neighbours(other_sitting, frames_table())["in_flight_together"].tolist() == [
        False,
        False,
    ]


def test_an_answer_that_went_to_the_wrong_frame_while_its_own_request_failed_is_found():
    answers = PARAPHRASE | {"browser": PARAPHRASE["terminal"]}
    requests = cell(answers)
    failed = requests["frame_id"] == "terminal"
    requests.loc[failed, ["text", "error_class"]] = ["", "timeout"]
    found = find_wrong_neighbours(requests, frames_table())
    assert found[["frame_id", "fits_frame_id"]].to_numpy().tolist() == [["browser", "terminal"]]
    assert found["in_flight_together"].all()


def gibberish_answers(words, seed):
    draw = random.Random(seed)
    return {frame_id: " ".join(draw.choice(words) for _ in range(30)) for frame_id in SCREENS}


def test_random_words_fit_nothing_and_neither_accuse_nor_clear():
    tokens = ["qzx", "oid", "_ve", "rrth", "ß", "7f", "plin", "agg", "UT", "nom", "ke"]
    row = summarize_confusion(cell(gibberish_answers(tokens, 0)), frames_table()).iloc[0]
    assert (row.n_answers, row.n_judged, row.n_undecided, row.wrong_neighbours) == (7, 0, 7, 0)
    assert math.isnan(row.wrong_rate_high)


def test_even_random_words_of_the_references_themselves_accuse_hardly_anybody():
    words = " ".join(REFERENCE.values()).split()
    cells = [cell(gibberish_answers(words, seed)) for seed in range(30)]
    accused = sum(len(find_wrong_neighbours(requests, frames_table())) for requests in cells)
    assert accused <= 2  # of 210


def test_vague_answers_are_undecided_rather_than_wrong():
    vague = dict.fromkeys(SCREENS, "The user is working on a computer with several windows open.")
    judged = judge_answers(cell(vague), frames_table())
    assert set(judged["judgement"]) == {"undecided"}


def test_an_answer_that_fits_two_images_about_equally_is_undecided():
    both = f"{REFERENCE['browser']} {REFERENCE['terminal']}"
    judged = judge_answers(cell(PARAPHRASE | {"browser": both, "slack": both}), frames_table())
    row = judged.set_index("frame_id").loc["browser"]
    assert min(row["own"], row["other"]) > 0.5
    assert row["judgement"] == "undecided"


def test_frames_without_reference_or_hash_cannot_be_judged():
    no_reference = frames_table()
    no_reference.loc[no_reference["frame_id"] == "browser", "ref_description"] = None
    judged = judge_answers(cell(SWAPPED), no_reference).set_index("frame_id")["judgement"]
    assert judged["browser"] == "cannot be judged"
    assert judged["terminal"] == "undecided"  # it is about browser, whose reference is not there

    no_hash = frames_table()
    no_hash.loc[no_hash["frame_id"] == "browser", "phash"] = None
    judged = judge_answers(cell(SWAPPED), no_hash).set_index("frame_id")["judgement"]
    assert judged["browser"] == "cannot be judged"
    assert "another image" not in set(judged)


def test_a_frame_that_was_never_sent_is_nobodys_wrong_neighbour():
    requests = cell({f: t for f, t in SWAPPED.items() if f != "terminal"})
    judged = judge_answers(requests, frames_table()).set_index("frame_id")
    assert judged.loc["browser", "judgement"] == "undecided"


def test_a_mistake_made_without_load_too_is_marked():
    wrong_reference = {"slack": REFERENCE["docs"]} | {f: r for f, r in REFERENCE.items() if f != "slack"}
    frames = frames_table()
    frames["ref_description"] = frames["frame_id"].map(wrong_reference)
    frames.loc[frames["frame_id"] == "docs", "ref_description"] = REFERENCE["slack"]
    requests = pd.concat([cell(PARAPHRASE, server="ollama", concurrency=1), cell(PARAPHRASE)])
    found = find_wrong_neighbours(requests, frames)
    assert len(found) == 4
    assert found["also_unloaded"].all()


def test_a_mistake_at_the_lowest_level_only_does_not_vouch_for_itself():
    found = find_wrong_neighbours(cell(SWAPPED, concurrency=1), frames_table())
    assert found["also_unloaded"].tolist() == [False, False]


def test_the_same_words_for_frames_that_look_different_are_duplicates():
    requests = cell(
        PARAPHRASE | {"slack": PARAPHRASE["terminal"].upper() + " ", "docs": PARAPHRASE["terminal"]}
    )
    found = find_duplicates(requests, frames_table())
    assert found[["frame_id", "same_as", "distance"]].to_numpy().tolist() == [
        ["slack", "terminal", 32],
        ["docs", "terminal", 32],
    ]


def test_the_same_words_for_frames_that_look_alike_are_no_duplicates():
    requests = cell(PARAPHRASE | {"editor_later": PARAPHRASE["editor"]})
    assert find_duplicates(requests, frames_table()).empty
    assert len(find_duplicates(requests, frames_table(), ConfusionLimits(looks_different_bits=2))) == 1


def test_the_same_words_in_another_cell_are_no_duplicates():
    other = PARAPHRASE | {"slack": PARAPHRASE["docs"], "docs": "A page about checkpoints."}
    requests = pd.concat([cell(PARAPHRASE), cell(other, block=1), cell(other, concurrency=8)])
    assert find_duplicates(requests, frames_table()).empty


def test_failed_and_wordless_answers_are_no_duplicates():
    requests = cell(dict.fromkeys(SCREENS, PARAPHRASE["docs"])).assign(text="", error_class="empty")
    assert find_duplicates(requests, frames_table()).empty
    requests = requests.assign(text="!!!!", error_class=None)
    assert find_duplicates(requests, frames_table()).empty
    same_text_but_failed = cell(dict.fromkeys(SCREENS, PARAPHRASE["docs"])).assign(error_class="truncated")
    assert find_duplicates(same_text_but_failed, frames_table()).empty


def replayed(ttft_s, answers):
    requests = cell(answers, concurrency=1)
    requests["ttft_s"] = requests["frame_id"].map(ttft_s)
    return find_replays(requests, frames_table())


USUAL_TTFT_S = dict.fromkeys(SCREENS, 2.0)


def test_the_previous_answer_again_and_too_fast_is_a_replay():
    nearly_the_same = PARAPHRASE["browser"].replace("recommends to clear", "suggests to clear")
    found = replayed(USUAL_TTFT_S | {"terminal": 0.2}, PARAPHRASE | {"terminal": nearly_the_same})
    assert found[["frame_id", "repeats", "distance"]].to_numpy().tolist() == [["terminal", "browser", 32]]
    assert found["usual_ttft_s"].tolist() == [2.0]
    assert 0.8 <= found["cosine"].iloc[0] < 1


def test_the_same_answer_at_the_usual_speed_is_no_replay():
    answers = PARAPHRASE | {"terminal": PARAPHRASE["browser"]}
    assert replayed(USUAL_TTFT_S | {"terminal": 1.1}, answers).empty
    assert len(replayed(USUAL_TTFT_S | {"terminal": 0.9}, answers)) == 1


def test_a_fast_answer_of_its_own_is_no_replay():
    assert replayed(USUAL_TTFT_S | {"terminal": 0.2}, PARAPHRASE).empty


def test_a_fast_repeat_for_a_frame_that_looks_alike_is_no_replay():
    answers = PARAPHRASE | {"editor_later": PARAPHRASE["editor"]}
    assert replayed(USUAL_TTFT_S | {"editor_later": 0.2}, answers).empty


def test_replays_of_the_first_answer_are_found_even_when_nearly_all_are_replays():
    answers = dict.fromkeys(SCREENS, PARAPHRASE["editor"])
    found = replayed(dict.fromkeys(SCREENS, 0.1) | {"editor": 2.0}, answers)
    assert found["frame_id"].tolist() == ["browser", "terminal", "meeting", "slack", "docs"]
    assert set(found["repeats"]) == {"editor"}


def test_without_times_nothing_is_called_a_replay():
    answers = dict.fromkeys(SCREENS, PARAPHRASE["editor"])
    assert replayed({}, answers).empty


def test_the_summary_keeps_levels_and_servers_apart():
    requests = pd.concat(
        [
            cell(SWAPPED, concurrency=4),
            cell(PARAPHRASE | {"slack": PARAPHRASE["terminal"]}, concurrency=4, block=1),
            cell(PARAPHRASE, concurrency=1),
            cell(PARAPHRASE, server="ollama", concurrency=1),
        ]
    )
    table = summarize_confusion(requests, frames_table()).set_index(["server", "concurrency"])
    assert table.index.tolist() == [("ollama", 1), ("vllm-mlx", 1), ("vllm-mlx", 4)]
    assert table["n_answers"].tolist() == [7, 7, 14]
    assert table["n_judged"].tolist() == [7, 7, 14]
    assert table["wrong_neighbours"].tolist() == [0, 0, 3]
    assert table["wrong_in_flight_together"].tolist() == [0, 0, 3]
    assert table["duplicates"].tolist() == [0, 0, 1]
    assert table["replays"].tolist() == [0, 0, 0]
    assert table["wrong_rate"].tolist() == pytest.approx([0, 0, 3 / 14])


def test_the_upper_bound_is_clopper_and_pearsons():
    none_wrong = summarize_confusion(cell(PARAPHRASE), frames_table()).iloc[0]
    assert none_wrong.wrong_rate_high == pytest.approx(1 - 0.025 ** (1 / 7))
    one_swap = summarize_confusion(cell(SWAPPED), frames_table()).iloc[0]
    # 2 of 7: the p at which two or fewer wrong ones have 2.5 % chance
    p = one_swap.wrong_rate_high
    chance = sum(math.comb(7, k) * p**k * (1 - p) ** (7 - k) for k in range(3))
    assert chance == pytest.approx(0.025, abs=1e-6)


def test_a_level_where_everything_failed_is_a_row_with_nothing_judged():
    requests = cell(PARAPHRASE).assign(text="", error_class="busy")
    row = summarize_confusion(requests, frames_table()).iloc[0]
    assert (row.n_answers, row.n_judged, row.duplicates, row.wrong_neighbours, row.replays) == (0, 0, 0, 0, 0)
    assert math.isnan(row.wrong_rate)


def test_warm_up_answers_are_not_judged():
    requests = pd.concat([cell(PARAPHRASE), cell(SWAPPED, phase="warmup")])
    row = summarize_confusion(requests, frames_table()).iloc[0]
    assert (row.n_answers, row.wrong_neighbours) == (7, 0)


def test_without_any_reference_duplicates_are_still_found():
    requests = cell(PARAPHRASE | {"docs": PARAPHRASE["slack"]})
    row = summarize_confusion(requests, frames_table(ref_description=None)).iloc[0]
    assert (row.n_answers, row.n_judged, row.duplicates) == (7, 0, 1)


def test_an_empty_run_gives_empty_tables():
    for requests in (pd.DataFrame(), cell(PARAPHRASE).iloc[:0]):
        assert summarize_confusion(requests, frames_table()).empty
        assert list_suspicious(requests, frames_table()).empty
        assert judge_answers(requests, pd.DataFrame()).empty
        assert fit_matrix(requests, pd.DataFrame())[1] == []


def test_an_answer_is_listed_once_with_all_its_signs_and_its_most_specific_cause():
    requests = cell(PARAPHRASE | {"terminal": PARAPHRASE["browser"]})
    requests.loc[requests["frame_id"] == "terminal", "ttft_s"] = 0.1
    (row,) = list_suspicious(requests, frames_table()).to_dict("records")
    assert (row["frame_id"], row["other_frame_id"]) == ("terminal", "browser")
    assert (row["sign"], row["signs"]) == ("replay", "replay; wrong neighbour; duplicate")
    assert row["cause"] == "replay of the previous answer"
    replay, neighbour, duplicate = row["evidence"].split("; fits")[0], row["evidence"], row["evidence"]
    assert replay == "nearly the same words (1.00) as the previous answer after 0.10 s; usual 1.00 s"
    assert "in flight together" in neighbour
    assert duplicate.endswith("same words; the frames differ in 32 of 64 bits")


def test_a_duplicate_is_put_down_to_the_answer_that_does_not_fit_its_own_image():
    requests = cell(PARAPHRASE | {"editor": PARAPHRASE["terminal"]})
    assert find_duplicates(requests, frames_table())["frame_id"].tolist() == ["terminal"]
    listed = list_suspicious(requests, frames_table())
    assert listed[["frame_id", "cause"]].to_numpy().tolist() == [["editor", "wrong image"]]
    assert listed["signs"].tolist() == ["wrong neighbour; duplicate"]


def test_nearly_the_same_answer_is_a_duplicate_only_by_words_and_letters():
    nearly = PARAPHRASE["browser"].replace("recommends to clear", "suggests to clear")
    (row,) = find_duplicates(cell(PARAPHRASE | {"docs": nearly}), frames_table()).to_dict("records")
    assert (row["frame_id"], row["same_as"], row["same_words"]) == ("docs", "browser", False)
    turned_round = ". ".join(reversed(PARAPHRASE["browser"].split(". ")))
    assert find_duplicates(cell(PARAPHRASE | {"docs": turned_round}), frames_table()).empty


def test_a_replay_of_what_the_server_was_asked_in_warm_up_is_found():
    warm_up = cell({"slack": PARAPHRASE["slack"]}, phase="warmup", concurrency=1)
    answers = {f: PARAPHRASE[f] for f in ("browser", "terminal", "meeting")} | {"docs": PARAPHRASE["slack"]}
    requests = cell(answers, concurrency=1)
    requests.loc[requests["frame_id"] == "docs", "ttft_s"] = 0.1
    (row,) = find_replays(pd.concat([requests, warm_up]), frames_table()).to_dict("records")
    assert (row["frame_id"], row["repeats"], row["source"]) == ("docs", "slack", "first answer")
    assert find_replays(requests, frames_table()).empty


def test_without_stored_references_answers_are_judged_by_those_without_load():
    requests = pd.concat([cell(PARAPHRASE, concurrency=1), cell(SWAPPED)])
    judged = judge_answers(requests, frames_table(ref_description=None))
    loaded = judged[judged["concurrency"] == 4].set_index("frame_id")
    assert loaded.loc[["browser", "terminal"], "judgement"].tolist() == ["another image"] * 2
    assert (loaded["held_against"] == "unloaded answer").all()
    assert set(judged.loc[judged["concurrency"] == 1, "judgement"]) == {"cannot be judged"}
    table = summarize_confusion(requests, frames_table(ref_description=None))
    assert table["n_unloaded_references"].tolist() == [0, 7]


def test_an_unloaded_answer_is_judged_by_another_block_or_server_but_never_by_itself():
    two_blocks = pd.concat([cell(PARAPHRASE, concurrency=1), cell(SWAPPED, concurrency=1, block=1)])
    judged = judge_answers(two_blocks, frames_table(ref_description=None))
    assert judged.loc[judged["frame_id"] == "browser", "judgement"].tolist() == ["another image"] * 2
    servers = pd.concat([cell(PARAPHRASE, server="ollama", concurrency=1), cell(SWAPPED, concurrency=1)])
    judged = judge_answers(servers, frames_table(ref_description=None)).set_index(["server", "frame_id"])
    assert judged.loc[("vllm-mlx", "browser"), "judgement"] == "another image"


def test_the_servers_own_unloaded_answer_comes_before_a_baselines():
    vague = dict.fromkeys(SCREENS, "A window is open.")
    requests = pd.concat(
        [cell(vague, server="ollama", concurrency=1), cell(PARAPHRASE, concurrency=1), cell(PARAPHRASE)]
    )
    judged = judge_answers(requests, frames_table(ref_description=None))
    assert judged.loc[judged["concurrency"] == 4, "own"].tolist() == pytest.approx([1.0] * 7)


def test_pairs_of_frames_that_look_alike_are_counted():
    row = summarize_confusion(cell(PARAPHRASE), frames_table()).iloc[0]
    assert (row.n_look_alike_pairs, row.n_frame_pairs) == (1, 21)


def test_the_fit_matrix_has_its_maximum_on_the_diagonal_except_where_answers_were_swapped():
    shuffled = cell(SWAPPED).sample(frac=1, random_state=1)
    matrix, frame_ids = fit_matrix(shuffled, frames_table())
    assert frame_ids == list(SCREENS)
    distinct = [i for i, frame_id in enumerate(frame_ids) if not frame_id.startswith("editor")]
    fitted = {frame_ids[i]: frame_ids[int(matrix[i].argmax())] for i in distinct}
    assert fitted == {f: f for f in fitted} | {"browser": "terminal", "terminal": "browser"}


def test_of_several_answers_to_a_frame_the_fit_matrix_shows_the_first():
    requests = pd.concat([cell(PARAPHRASE), cell(SWAPPED, block=1).assign(start_s=100.0)])
    matrix, frame_ids = fit_matrix(requests, frames_table())
    assert frame_ids[int(matrix[frame_ids.index("browser")].argmax())] == "browser"


def test_the_fit_matrix_has_no_numbers_where_there_is_nothing_to_compare():
    requests = cell(PARAPHRASE)
    requests.loc[requests["frame_id"] == "docs", ["text", "error_class"]] = ["", "timeout"]
    frames = frames_table()
    frames.loc[frames["frame_id"] == "slack", "ref_description"] = None
    matrix, frame_ids = fit_matrix(requests, frames)
    assert np.isnan(matrix[frame_ids.index("docs")]).all()
    assert np.isnan(matrix[:, frame_ids.index("slack")]).all()
    assert np.isnan(matrix).sum() == 7 + 7 - 1
