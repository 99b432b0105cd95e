"""Speed and quality of every server and level: one wide table, and the level that is worth confirming.

Every rate is work divided by the wall clock of its cells, never by the sum of overlapping latencies; only
answered requests are work. A missing value is NaN.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from poc_lib.metrics.confusion import is_proven, is_suspicious
from poc_lib.metrics.speedup import binomial_upper

MATCH = 0.8  # difflib ratio above which the plan counts two descriptions as equal
P99_FROM = 100  # answers; below, the 99th percentile of a sample is its slowest value
CELL = ["phase", "block", "server", "concurrency"]

# Columns of the levels frame: unit, meaning. Latencies and scores are of the answers of the level's source.
LEVEL_COLUMNS: dict[str, tuple[str, str]] = {
    "server": ("", "the server's label"),
    "role": ("", "candidate or baseline"),
    "concurrency": ("requests", "kept in flight"),
    "chosen": ("", "the level that is confirmed"),
    "source": ("", "what the row is taken from: confirm, pilot or measure (first edition)"),
    "n_sent": ("", "requests sent in complete cells"),
    "n_answered": ("", "of these, answered"),
    "n_failed": ("", "failed, or not sent any more after failures in a row"),
    "frames_per_s": ("1/s", "answers ÷ wall clock of the cells, first sending to last byte"),
    "output_tok_per_s": ("tokens/s", "output tokens ÷ wall clock; empty where an answer lacks its count"),
    "total_tok_per_s": ("tokens/s", "output and prompt tokens, images included, ÷ wall clock"),
    "pilot_frames_per_s": ("1/s", "frames/s of the pilot, a point without an interval"),
    "pilot_speedup": ("", "the same ÷ the baseline's at its chosen, else its fastest level"),
    "ttft_p50_s": ("s", "time to first token, median (percentiles: linear interpolation)"),
    "ttft_p95_s": ("s", "95th percentile"),
    "ttft_p99_s": ("s", "99th percentile; empty below 100 answers"),
    "tpot_p50_s": ("s", "time per output token after the first, median"),
    "itl_p50_s": ("s", "median over answers of the median gap between two chunks"),
    "itl_p95_s": ("s", "95th percentile over answers of the longest gap"),
    "total_p50_s": ("s", "sending to last byte, median"),
    "total_p95_s": ("s", "95th percentile"),
    "total_p99_s": ("s", "99th percentile; empty below 100 answers"),
    "slowest_s": ("s", "the slowest answer"),
    "prefill_share": ("0-1", "of the answers' time: reading, told by the server, else time to first token"),
    "decode_share": (
        "0-1",
        "of the answers' time: writing, told by the server, else from the first token on",
    ),
    "queue_s": ("s", "mean wait: time to first token less the server's own load and prefill times"),
    "prompt_tokens_mean": ("tokens", "per answer"),
    "output_tokens_mean": ("tokens", "per answer"),
    "n_scored": ("", "answers held against a stored reference"),
    "ref_ratio": ("0-1", "mean difflib ratio with the stored reference"),
    "match_rate": ("0-1", "share with a ratio above 0.8, the plan's measure"),
    "ref_cosine": ("0-1", "mean TF-IDF cosine with the stored reference"),
    "base_ratio": ("0-1", "mean difflib ratio with the baseline's unloaded answers (baseline: with itself)"),
    "base_cosine": ("0-1", "mean TF-IDF cosine with them"),
    "activity_rate": ("0-1", "share with the stored reference's activity"),
    "well_formed_rate": ("0-1", "share of answers in the app's one line"),
    "cut_rate": ("0-1", "share of answers cut at max_tokens"),
    "looping_rate": ("0-1", "share of answers that say the same again and again"),
    "n_proof": ("", "answers to stamped frames"),
    "n_code_own": ("", "of these, with their own code"),
    "n_code_other": ("", "about another image: with its code"),
    "n_code_none": ("", "without a code that can be read"),
    "mixup_share": ("0-1", "another's ÷ all codes read"),
    "mixup_upper": ("0-1", "its one-sided 95 % upper bound (Clopper and Pearson 1934)"),
    "n_duplicates": ("", "answers without a code that repeat another frame's"),
    "n_wrong_neighbours": ("", "answers without a code that fit another frame's answers better"),
    "n_signs": ("", "answers with either sign"),
    "n_texts": ("", "answers without a code that were looked at"),
    "in_flight_mean": ("requests", "in flight on average: sum of times ÷ wall clock"),
    "lag_p99_s": ("s", "99th percentile of the client's own delays; the longest below 100 requests"),
    "added_ttft_share": ("0-1", "what the client adds to time to first token ÷ its median"),
}


class Choice(NamedTuple):
    """The level that is worth confirming, and why no faster one is."""

    level: int | None  # None: no level lost nothing and mixed up nothing
    set_aside: list[str]  # a sentence for each faster level, fastest first


def summarize_levels(
    answers: pd.DataFrame, chosen: Mapping[str, int], events: Iterable[Mapping] = ()
) -> pd.DataFrame:
    """The levels frame: one row a (server, level) in closed loop, baselines first, with LEVEL_COLUMNS.

    A chosen level speaks from all its confirmation blocks where there are any, every other from the pilot.

    Args:
        answers: of judge_answers.
        chosen: each server's chosen level.
        events: of which "instrument" tells what the client itself adds.
    """
    added_s = {
        event["concurrency"]: event["added_ttft_p50_s"]
        for event in events
        if event.get("event") == "instrument"
    }
    closed = answers[answers["phase"] != "open_loop"]
    sizes = closed[closed["complete"]].groupby(CELL).size()
    lost = sizes.groupby(["phase", "block"]).transform("max") - sizes  # a block's cells have equally many
    rows = []
    for (role, server, level), here in closed.groupby(["role", "server", "concurrency"]):
        is_chosen = chosen.get(server) == level
        whole = here[here["complete"]]
        phases = [
            p
            for p in ("confirm", "pilot", "measure")
            if (p != "confirm" or is_chosen) and p in set(whole["phase"])
        ]
        source = phases[0] if phases else ""
        rows.append(
            {"server": server, "role": role, "concurrency": level, "chosen": is_chosen, "source": source}
            | _speed(whole[whole["phase"] == source], lost, added_s.get(level, np.nan))
            | {"pilot_frames_per_s": _rates(whole[whole["phase"].isin(("pilot", "measure"))])["frames_per_s"]}
            | count_mixups(here)
        )
    levels = pd.DataFrame(rows, columns=list(LEVEL_COLUMNS))
    of_baseline = levels[levels["role"] == "baseline"]
    if of_baseline["chosen"].any():
        of_baseline = of_baseline[of_baseline["chosen"]]
    return levels.assign(pilot_speedup=levels["pilot_frames_per_s"] / of_baseline["pilot_frames_per_s"].max())


def _rates(rows: pd.DataFrame) -> dict[str, float]:
    """The one place where work is divided by wall clock: of the cells of one level."""
    ends_s = (rows["start_s"] + rows["total_s"]).groupby([rows["phase"], rows["block"]])
    wall_s = float((ends_s.max() - rows.groupby(["phase", "block"])["start_s"].min()).sum()) or np.nan
    ok = rows[rows["error_class"].isna()]
    output = ok["output_tokens"].sum(skipna=False)
    prompt = ok["prompt_tokens"].where(ok["prompt_tokens"] > 0).sum(skipna=False)
    return {
        "frames_per_s": len(ok) / wall_s if len(ok) else np.nan,
        "output_tok_per_s": output / wall_s if len(ok) else np.nan,
        "total_tok_per_s": (output + prompt) / wall_s if len(ok) else np.nan,
        "in_flight_mean": rows["total_s"].sum() / wall_s,
    }


def _percentile(values: pd.Series, percent: float) -> float:
    """Linear between values; NaN without any, and for the 99th of fewer than P99_FROM."""
    known = values.dropna().to_numpy(dtype=float)
    enough = known.size >= (P99_FROM if percent == 99 else 1)
    return float(np.percentile(known, percent)) if enough else np.nan


def _speed(rows: pd.DataFrame, lost: pd.Series, added_s: float) -> dict[str, float]:
    ok = rows[rows["error_class"].isna()]
    n_lost = sum(lost[cell] for cell in set(rows[CELL].itertuples(index=False, name=None)))
    points = {(name, p): f"{name}_p{p}_s" for name in ("ttft", "total") for p in (50, 95, 99)}
    points |= {("tpot", 50): "tpot_p50_s", ("itl_p50", 50): "itl_p50_s", ("itl_max", 95): "itl_p95_s"}
    latency = {column: _percentile(ok[f"{name}_s"], p) for (name, p), column in points.items()}
    prefill_s = ok["server_prefill_s"].fillna(ok["ttft_s"])
    decode_s = ok["server_decode_s"].fillna(ok["total_s"] - ok["ttft_s"])
    told_s = ok["server_prefill_s"] + ok["server_load_s"].fillna(0)
    shares = {"prefill_share": prefill_s, "decode_share": decode_s}
    means = {"activity_rate": "activity_agrees", "well_formed_rate": "well_formed", "looping_rate": "looping"}
    means |= {"cut_rate": "cut", "prompt_tokens_mean": "prompt_tokens", "output_tokens_mean": "output_tokens"}
    means |= {name: name for name in ("ref_ratio", "ref_cosine", "base_ratio", "base_cosine")}
    scored = ok["ref_ratio"].dropna()
    return {
        "n_sent": len(rows),
        "n_answered": len(ok),
        "n_failed": len(rows) - len(ok) + n_lost,
        **_rates(rows),
        **latency,
        "slowest_s": ok["total_s"].max(),
        **{name: part.sum() / (ok["total_s"][part.notna()].sum() or np.nan) for name, part in shares.items()},
        "queue_s": (ok["ttft_s"] - told_s).clip(lower=0).mean(),
        **{name: ok[column].astype(float).mean() for name, column in means.items()},
        "n_scored": len(scored),
        "match_rate": (scored > MATCH).mean() if len(scored) else np.nan,
        "lag_p99_s": _percentile(rows["lag_s"], 99 if len(rows) >= P99_FROM else 100),
        "added_ttft_share": added_s / latency["ttft_p50_s"],
    }


def count_mixups(rows: pd.DataFrame) -> dict[str, float]:
    """Counts over every answer at the level, cut cells included: a proof stays one."""
    codes = rows["proof"].value_counts()
    own, other, none = (int(codes.get(whose, 0)) for whose in ("own", "other", "none"))
    signs = rows["sign"].value_counts()
    return {
        "n_proof": own + other + none,
        "n_code_own": own,
        "n_code_other": other,
        "n_code_none": none,
        "mixup_share": other / (own + other) if own + other else np.nan,
        "mixup_upper": binomial_upper(other, own + other),
        "n_duplicates": int(signs.get("duplicate", 0)),
        "n_wrong_neighbours": int(signs.get("wrong neighbour", 0)),
        "n_signs": int((rows["sign"] != "").sum()),
        "n_texts": int((rows["error_class"].isna() & rows["code"].isna()).sum()),
    }


def choose_level(levels: pd.DataFrame, server: str) -> Choice:
    """The fastest pilot level that lost nothing and mixed up nothing, with a sentence for each faster one.

    Args:
        levels: of summarize_levels.
    """
    tried = levels[levels["server"] == server]
    tried = tried.sort_values("pilot_frames_per_s", ascending=False, na_position="first")
    set_aside = []
    for row in tried.itertuples():
        about = "answers were about another image"
        doubted = is_suspicious(row.n_signs, row.n_texts) and not (row.n_code_other or is_proven(row))
        why = {
            "no cell was completed": not row.source,
            f"lost {row.n_failed} of {row.n_answered + row.n_failed} frames": row.n_failed,
            f"{row.n_code_other} of {row.n_code_own + row.n_code_other} {about}": row.n_code_other,
            f"{row.n_signs} of {row.n_texts} {about}, as it seems": doubted,
        }
        reasons = "; ".join(reason for reason, holds in why.items() if holds)
        if not reasons:
            return Choice(int(row.concurrency), set_aside)
        rate = f" ({row.pilot_frames_per_s:.3g} frames/s)" if row.pilot_frames_per_s > 0 else ""
        set_aside.append(f"{row.concurrency} in flight{rate} was set aside: {reasons}.")
    return Choice(None, set_aside)
