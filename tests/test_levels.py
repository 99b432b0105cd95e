"""Speed and quality of every level, and the level that is chosen."""

import numpy as np
import pandas as pd
import pytest

from poc_lib import metrics
from poc_lib.metrics import COLUMNS, LEVEL_COLUMNS, choose_level, summarize_levels

NAN = float("nan")


def cell(level: int, n: int = 24, s_per_wave: float = 1.0, first_s: float = 0.0, **changes) -> pd.DataFrame:
    """One cell of judged answers: waves of ``level`` requests, ``s_per_wave`` long, all answered."""
    rows = pd.DataFrame({"position": range(n), "frame_id": [f"f{i}" for i in range(n)], "concurrency": level})
    rows["start_s"] = first_s + rows["position"] // level * s_per_wave
    plain = {"server": "vllm", "role": "candidate", "phase": "pilot", "block": 0, "complete": True}
    plain |= {"total_s": s_per_wave, "ttft_s": 0.25, "tpot_s": 0.01, "itl_p50_s": 0.01, "itl_max_s": 0.3}
    plain |= {"output_tokens": 50.0, "prompt_tokens": 600.0, "sign": "", "proof": "", "ref_ratio": 0.5}
    plain |= {"well_formed": True, "cut": False, "looping": False}
    rows = rows.assign(**plain | changes).reindex(columns=list(COLUMNS))
    return rows.astype({"error_class": "str", "code": "str"})


def levels_of(*cells: pd.DataFrame, chosen=None, events=()) -> pd.DataFrame:
    answers = pd.concat(cells, ignore_index=True)
    return summarize_levels(answers, chosen or {}, events).set_index(["server", "concurrency"], drop=False)


OLLAMA = {"server": "ollama", "role": "baseline"}


def test_the_levels_frame_has_its_columns_baselines_first_and_lowest_level_first():
    levels = levels_of(cell(4), cell(1), cell(1, **OLLAMA))
    assert list(levels.columns) == list(LEVEL_COLUMNS)
    assert levels.index.tolist() == [("ollama", 1), ("vllm", 1), ("vllm", 4)]
    assert all(meaning for _, meaning in LEVEL_COLUMNS.values())
    assert list(summarize_levels(cell(1).iloc[:0], {}).columns) == list(LEVEL_COLUMNS)


def test_rates_are_work_divided_by_wall_clock_summed_over_the_blocks():
    later = cell(4, first_s=100.0, block=1)
    level = levels_of(cell(4), later).loc[("vllm", 4)]
    assert level[["frames_per_s", "output_tok_per_s", "total_tok_per_s"]].tolist() == [4.0, 200.0, 2600.0]
    assert level["in_flight_mean"] == 4.0


def test_a_chosen_level_speaks_from_all_its_confirmation_blocks_and_others_from_the_pilot():
    confirm = [cell(4, 24, 0.5, 99.0 * block, phase="confirm", block=block) for block in (1, 2)]
    levels = levels_of(cell(4), cell(1), *confirm, chosen={"vllm": 4})
    assert levels["source"].tolist() == ["pilot", "confirm"]
    assert levels["chosen"].tolist() == [False, True]
    assert levels["n_sent"].tolist() == [24, 48]
    assert levels["frames_per_s"].tolist() == [1.0, 8.0]
    assert levels["pilot_frames_per_s"].tolist() == [1.0, 4.0]
    assert levels_of(cell(4), *confirm)["source"].tolist() == ["pilot"]


def test_what_was_cut_counts_in_no_rate():
    cut = cell(4, n=3, first_s=50.0, complete=False)
    assert levels_of(cell(4), cut).loc[("vllm", 4), ["n_sent", "frames_per_s"]].tolist() == [24, 4.0]
    alone = levels_of(cut).loc[("vllm", 4)]
    assert (alone["source"], alone["n_sent"]) == ("", 0)
    assert np.isnan(alone["frames_per_s"])


def test_failures_and_frames_that_were_not_sent_any_more_are_lost_and_are_no_work():
    failing = cell(4)
    failing.loc[12:13, "error_class"] = "timeout"
    level = levels_of(failing).loc[("vllm", 4)]
    assert level[["n_sent", "n_answered", "n_failed"]].tolist() == [24, 22, 2]
    assert level["frames_per_s"] == 22 / 6
    given_up = cell(8, n=10, error_class="busy")
    assert levels_of(cell(1), given_up).loc[("vllm", 8), ["n_sent", "n_failed"]].tolist() == [10, 24]


def test_a_token_rate_needs_every_answers_count():
    unknown = cell(4)
    unknown.loc[3, "output_tokens"] = NAN
    level = levels_of(unknown).loc[("vllm", 4)]
    assert np.isnan([level["output_tok_per_s"], level["total_tok_per_s"]]).all()
    assert level["output_tokens_mean"] == 50
    text_only = levels_of(cell(4, prompt_tokens=0.0)).loc[("vllm", 4)]
    assert text_only["output_tok_per_s"] == 200
    assert np.isnan(text_only["total_tok_per_s"])


@pytest.mark.parametrize(("n", "known"), [(96, False), (100, True)])
def test_the_99th_percentile_is_shown_from_a_hundred_answers_on_and_the_slowest_always(n, known):
    answers = cell(4, n=n).assign(ttft_s=np.linspace(0, 1, n), total_s=np.linspace(1, 2, n))
    level = levels_of(answers).loc[("vllm", 4)]
    assert level["ttft_p50_s"] == pytest.approx(0.5)
    assert level["ttft_p95_s"] == pytest.approx(0.95)
    assert level["slowest_s"] == 2.0
    assert level[["ttft_p99_s", "total_p99_s"]].notna().tolist() == [known, known]


def test_prefill_and_decode_are_told_by_the_server_where_it_tells_them():
    seen = levels_of(cell(4)).loc[("vllm", 4)]
    assert seen[["prefill_share", "decode_share"]].tolist() == [0.25, 0.75]
    told = {"server_prefill_s": 0.125, "server_decode_s": 0.5}
    level = levels_of(cell(4, **told)).loc[("vllm", 4)]
    assert level[["prefill_share", "decode_share"]].tolist() == [0.125, 0.5]


def test_a_speed_up_in_the_pilot_is_over_the_baselines_chosen_else_its_fastest_level():
    cells = [cell(4), cell(1, **OLLAMA), cell(2, **OLLAMA)]
    assert levels_of(*cells)["pilot_speedup"].tolist() == [0.5, 1.0, 2.0]
    assert levels_of(*cells, chosen={"ollama": 1})["pilot_speedup"].tolist() == [1.0, 2.0, 4.0]
    assert levels_of(cell(4))["pilot_speedup"].isna().all()


def test_codes_and_signs_are_counted_over_every_answer_of_the_level():
    proofs = cell(4, n=10, phase="proof", code="CH7K4M", proof=["own"] * 6 + ["other"] * 2 + ["none", ""])
    signed = cell(4, sign=["duplicate"] + ["wrong neighbour"] * 2 + [""] * 21)
    level = levels_of(signed, proofs.assign(complete=False)).loc[("vllm", 4)]
    assert level[["n_proof", "n_code_own", "n_code_other", "n_code_none"]].tolist() == [9, 6, 2, 1]
    assert level[["n_duplicates", "n_wrong_neighbours", "n_signs", "n_texts"]].tolist() == [1, 2, 3, 24]
    assert level["mixup_upper"] == pytest.approx(metrics.binomial_upper(2, 8))
    assert np.isnan(levels_of(signed).loc[("vllm", 4), "mixup_upper"])


def test_what_the_client_adds_to_the_first_token_is_a_share_of_the_levels_median():
    events = [{"event": "instrument", "concurrency": 4, "added_ttft_p50_s": 0.01}, {"event": "look"}]
    shares = levels_of(cell(1), cell(4), events=events)["added_ttft_share"].tolist()
    assert shares == pytest.approx([NAN, 0.04], nan_ok=True)


def test_scores_are_means_over_answers_with_their_n():
    scores = {"ref_ratio": [0.9, 0.7, NAN, 0.8], "base_cosine": [0.4, NAN, NAN, 0.6]}
    level = levels_of(cell(4, n=4, cut=[True, *[False] * 3], **scores)).loc[("vllm", 4)]
    assert level["n_scored"] == 3
    assert level["match_rate"] == pytest.approx(1 / 3)  # above 0.8, not at it
    assert level[["ref_ratio", "base_cosine", "cut_rate"]].tolist() == pytest.approx([0.8, 0.5, 0.25])


MIXED = cell(8, n=24, phase="proof", code="CH7K4M", proof=["other", *["own"] * 23])
SIGNED = {"sign": ["duplicate", "duplicate", *[""] * 22]}
ASIDE = "in flight was set aside: "
ONE = "8 in flight (8 frames/s) was set aside: 1 of 24 answers were about another image."
TWO = ONE.replace("1 of 24", "2 of 24").replace("image.", "image, as it seems.")
CHOICES = {  # cells -> the level, and what is said of a faster one
    "the fastest": ([cell(1), cell(4), cell(8)], 8, None),
    "not always the highest": ([cell(1), cell(4), cell(8, s_per_wave=4.0)], 4, None),
    "one proven mix-up": ([cell(1), cell(4), cell(8), MIXED], 4, ONE),
    "signs": ([cell(1), cell(4), cell(8, **SIGNED)], 4, TWO),
    "a single sign": ([cell(1), cell(8, sign=["duplicate", *[""] * 23])], 8, None),
    "given up": ([cell(1), cell(8, n=10, error_class="busy")], 1, f"8 {ASIDE}lost 24 of 24 frames."),
    "cut": ([cell(1), cell(4, complete=False)], 1, f"4 {ASIDE}no cell was completed."),
    "none is fit": ([cell(1, error_class="busy")], None, f"1 {ASIDE}lost 24 of 24 frames."),
    "none was tried": ([cell(1, **OLLAMA)], None, None),
}


@pytest.mark.parametrize(("cells", "level", "aside"), CHOICES.values(), ids=CHOICES)
def test_the_level_to_confirm_is_the_fastest_that_lost_nothing_and_mixed_up_nothing(cells, level, aside):
    choice = choose_level(summarize_levels(pd.concat(cells, ignore_index=True), {}), "vllm")
    assert choice == (level, [aside] if aside else [])
