"""Speed and quality of every server and level: one wide table, and the level that is worth confirming.

Every rate is work divided by the wall clock of its cells, never by the sum of overlapping latencies; only
answered requests are work. A missing value is NaN.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from poc_lib.metrics.confusion import is_proven, is_suspicious
from poc_lib.metrics.speedup import binomial_upper

MATCH = 0.8  # difflib ratio above which the plan counts two descriptions as equal
P99_FROM = 100  # answers; below, the 99th percentile of a sample is its slowest value
CELL = ["server", "concurrency", "phase", "block"]

# Every column: unit, meaning; where one of the answers' columns gives it, that and its percentile or "mean".
_COLUMNS: dict[str, tuple] = {
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
    "ttft_p50_s": ("s", "time to first token, median (percentiles: linear interpolation)", "ttft_s", 50),
    "ttft_p95_s": ("s", "95th percentile", "ttft_s", 95),
    "ttft_p99_s": ("s", "99th percentile; empty below 100 answers", "ttft_s", 99),
    "tpot_p50_s": ("s", "time per output token after the first, median", "tpot_s", 50),
    "itl_p50_s": ("s", "median over answers of the median gap between two chunks", "itl_p50_s", 50),
    "itl_p95_s": ("s", "95th percentile over answers of the longest gap", "itl_max_s", 95),
    "total_p50_s": ("s", "sending to last byte, median", "total_s", 50),
    "total_p95_s": ("s", "95th percentile", "total_s", 95),
    "total_p99_s": ("s", "99th percentile; empty below 100 answers", "total_s", 99),
    "slowest_s": ("s", "the slowest answer", "total_s", 100),
    "prefill_share": ("0-1", "of the answers' time: reading, told by the server, else time to first token"),
    "decode_share": ("0-1", "of the answers' time: writing, told by the server, else all after that"),
    "output_tokens_mean": ("tokens", "per answer", "output_tokens", "mean"),
    "n_scored": ("", "answers held against a stored reference"),
    "ref_ratio": ("0-1", "mean difflib ratio with the stored reference", "ref_ratio", "mean"),
    "match_rate": ("0-1", "share with a ratio above 0.8, the plan's measure"),
    "ref_cosine": ("0-1", "mean TF-IDF cosine with the stored reference", "ref_cosine", "mean"),
    "base_ratio": ("0-1", "mean difflib ratio with the baseline's unloaded answers", "base_ratio", "mean"),
    "base_cosine": ("0-1", "mean TF-IDF cosine with them", "base_cosine", "mean"),
    "activity_rate": ("0-1", "share with the stored reference's activity", "activity_agrees", "mean"),
    "well_formed_rate": ("0-1", "share of answers in the app's one line", "well_formed", "mean"),
    "cut_rate": ("0-1", "share of answers cut at max_tokens", "cut", "mean"),
    "looping_rate": ("0-1", "share of answers that say the same again and again", "looping", "mean"),
    "n_proof": ("", "answers to stamped frames"),
    "n_code_own": ("", "of these, with their own code"),
    "n_code_other": ("", "about another image: with its code"),
    "n_code_none": ("", "without a code that can be read"),
    "mixup_upper": ("0-1", "one-sided 95 % bound of others ÷ all codes read (Clopper and Pearson 1934)"),
    "n_duplicates": ("", "answers without a code that repeat another frame's"),
    "n_wrong_neighbours": ("", "answers without a code that fit another frame's answers better"),
    "n_signs": ("", "answers with either sign"),
    "n_texts": ("", "answers without a code that were looked at"),
    "in_flight_mean": ("requests", "in flight on average: sum of times ÷ wall clock"),
    "added_ttft_share": ("0-1", "what the client adds to time to first token ÷ its median"),
}
LEVEL_COLUMNS = {name: entry[:2] for name, entry in _COLUMNS.items()}
_TAKEN = {name: entry[2:] for name, entry in _COLUMNS.items() if entry[2:]}


def summarize_levels(
    answers: pd.DataFrame, chosen: Mapping[str, int], events: Iterable[Mapping] = ()
) -> pd.DataFrame:
    """The levels frame: one row a (server, level) in closed loop, baselines first, with LEVEL_COLUMNS.

    A server's ``chosen`` level speaks from all its confirmation blocks where there are any, every other from
    the pilot; codes and signs are counted in cut cells, too, for a proof stays one. ``events`` tell what the
    client itself adds.
    """
    added_s = {e["concurrency"]: e["added_ttft_p50_s"] for e in events if e.get("event") == "instrument"}
    closed = answers[answers["phase"] != "open_loop"]
    sizes = closed[closed["complete"]].groupby(CELL).size()
    lost = sizes.groupby(["phase", "block"]).transform("max") - sizes  # a block's cells have equally many
    lost = lost.groupby(CELL[:3]).sum()
    rows = []
    for (role, server, level), here in closed.groupby(["role", "server", "concurrency"]):
        is_chosen, whole = chosen.get(server) == level, here[here["complete"]]
        phases = ("confirm", "pilot", "measure") if is_chosen else ("pilot", "measure")
        source = next((phase for phase in phases if phase in set(whole["phase"])), "")
        sent = whole[whole["phase"] == source]
        ok = sent[sent["error_class"].isna()]
        row = {"server": server, "role": role, "concurrency": level, "chosen": is_chosen, "source": source}
        row |= {"n_sent": len(sent), "n_answered": len(ok)} | _rates(sent)
        row["n_failed"] = len(sent) - len(ok) + lost.get((server, level, source), 0)
        row["pilot_frames_per_s"] = _rates(whole[whole["phase"].isin(["pilot", "measure"])])["frames_per_s"]
        for name, (column, how) in _TAKEN.items():
            values = ok[column].astype(float)
            row[name] = values.mean() if how == "mean" else values.quantile(how / 100)
            if how == 99 and values.count() < P99_FROM:
                row[name] = np.nan
        row["added_ttft_share"] = added_s.get(level, np.nan) / row["ttft_p50_s"]
        prefill_s = ok["server_prefill_s"].fillna(ok["ttft_s"])
        decode_s = ok["server_decode_s"].fillna(ok["total_s"] - ok["ttft_s"])
        for name, part_s in (("prefill_share", prefill_s), ("decode_share", decode_s)):
            row[name] = part_s.sum() / (ok["total_s"][part_s.notna()].sum() or np.nan)
        scored = ok["ref_ratio"].dropna()
        row |= {"n_scored": len(scored), "match_rate": (scored > MATCH).mean()}
        own, other, none = ((here["proof"] == whose).sum() for whose in ("own", "other", "none"))
        row |= {"n_code_own": own, "n_code_other": other, "n_code_none": none, "n_proof": own + other + none}
        row["mixup_upper"] = binomial_upper(other, own + other)
        for name, sign in (("n_duplicates", "duplicate"), ("n_wrong_neighbours", "wrong neighbour")):
            row[name] = (here["sign"] == sign).sum()
        row["n_signs"] = row["n_duplicates"] + row["n_wrong_neighbours"]
        row["n_texts"] = (here["error_class"].isna() & here["code"].isna()).sum()
        rows.append(row)
    levels = pd.DataFrame(rows, columns=list(LEVEL_COLUMNS))
    of_baseline = levels[levels["role"] == "baseline"]
    if of_baseline["chosen"].any():
        of_baseline = of_baseline[of_baseline["chosen"]]
    return levels.assign(pilot_speedup=levels["pilot_frames_per_s"] / of_baseline["pilot_frames_per_s"].max())


def _rates(sent: pd.DataFrame) -> dict[str, float]:
    """The one place where work is divided by wall clock: of the cells of one level."""
    ends_s = (sent["start_s"] + sent["total_s"]).groupby([sent["phase"], sent["block"]])
    wall_s = float((ends_s.max() - sent.groupby(["phase", "block"])["start_s"].min()).sum()) or np.nan
    ok = sent[sent["error_class"].isna()]
    output = ok["output_tokens"].sum(skipna=False)
    prompt = ok["prompt_tokens"].where(ok["prompt_tokens"] > 0).sum(skipna=False)
    work = {"frames_per_s": len(ok), "output_tok_per_s": output, "total_tok_per_s": output + prompt}
    rates = {name: done / wall_s if len(ok) else np.nan for name, done in work.items()}
    return rates | {"in_flight_mean": sent["total_s"].sum() / wall_s}


def level_row(levels: pd.DataFrame, server: str, level: int | None) -> pd.Series:
    """The row of a server at a level, else one of NaN."""
    rows = levels[(levels["server"] == server) & (levels["concurrency"] == level)]
    return rows.iloc[0] if len(rows) else pd.Series(np.nan, index=levels.columns)


def choose_level(levels: pd.DataFrame, server: str) -> tuple[int | None, list[str]]:
    """The fastest pilot level that lost nothing and mixed up nothing, and why each faster one is not."""
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
            return int(row.concurrency), set_aside
        rate = f" ({row.pilot_frames_per_s:.3g} frames/s)" if row.pilot_frames_per_s > 0 else ""
        set_aside.append(f"{row.concurrency} in flight{rate} was set aside: {reasons}.")
    return None, set_aside
