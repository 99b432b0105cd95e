"""What a reader must know before two servers are compared, what failed, and what was interrupted.

Pure: of a run's frames, events and samples. Every sentence that can be said stands here, with what to do.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from poc_lib.client.identity import quantisation
from poc_lib.metrics.agreement import TIMED
from poc_lib.metrics.speedup import binomial_bounds, count, interval
from poc_lib.records import Finding, State

DIFFERS, DIFFERS_MUCH = 0.1, 0.25  # of tokens, relative: worth a note, worth a warning
SWAP_GREW_GB, LATE_S, FEW = 0.5, 0.05, 0.01
CACHED = 0.7  # of the time that a new frame takes: a known one that is read so fast was kept
MISCOUNTED, ADDED_SHARE, REALLY_IN_FLIGHT = 0.02, 0.02, 0.8  # of our count, of a first token, of the level
KEPT_SHARE = 0.95  # of requests that must keep the service level, by the lower bound
# Ollama's scheduler runs these families one request at a time (server/sched.go, September 2026).
SEQUENTIAL = re.compile(r"mllama|qwen3[-_. ]?(vl|5|next)|lfm2|nemotron[-_]h", re.IGNORECASE)
CELL = ["server", "phase", "concurrency", "block", "rate_per_s", "sitting"]
CURES = {  # of failures, by class
    "connect": "Read the server's log: it may have crashed.",
    "timeout": "Raise timeout_s or answer_timeout_s, or read the server's log.",
    "busy": "Start the server with continuous batching, and stop whoever else uses it.",
    "empty": "Use an instruct model, or raise max_tokens: thinking may have taken all of them.",
}
SENTENCES = """
lengths (fairness) {server} wrote {ours:.0f} tokens an answer, {other} {theirs:.0f} (n = {n}): frames/s
  favours whoever writes less. → Read output tok/s beside frames/s.
images (fairness) Of the same frame {server} read {ours:.0f} tokens, {other} {theirs:.0f} (n = {n}): they
  scale images differently. → Set image_width to what both read whole.
cut (fairness) {share:.1%} of {server}'s answers at {level} in flight were cut at max_tokens. → Raise
  max_tokens.
thinking (fairness) {said} answers began with thinking: it takes time and tokens. → Compare like with like.
models (fairness) The model of {server} is quantised as {ours}, that of {other} as {theirs}: the speed-up is
  not the server's alone. → Compare models of equal weights.
recorded (fairness) No baseline was measured: {s} s a frame was recorded elsewhere. → Set baseline_url.
alone (fairness) {server} was measured one request at a time only, though it may run several at once. → Set
  baseline_concurrency to [1, 4], for Ollama with OLLAMA_NUM_PARALLEL=4.
cache (fairness) {server}'s caches were not cleared, and {k} of {n} requests sent a known frame{times}.
  → Measure more frames, or switch its caches off.
changed (fairness) {server} was another one in sitting {n}: {then}, then {now}. → Give it a run of its own.
blind (fairness) Servers and machine were not watched to the end of sitting {n}: {problem}. → Read the
  findings about them as those of a part.
counters (fairness) {server} counted {theirs:.0f} {what} where this run counted {ours:.0f}: somebody else used
  it, or counts are wrong. → Stop whoever else uses it (the app?), else rest on frames/s.
swap (fairness) Swap grew by {gb:.1f} GB meanwhile. → Quit other programs, or take a smaller model.
heat (fairness) The chip was slowed to {low:.0f} % in {k} of {n} samples: it was hot. → Let it cool down.
battery (fairness) On battery in {k} of {n} samples, where a chip may be slower. → Plug the machine in.
shared (fairness) {blocks} of {frames} sent {k} different ones, each up to {most} times: they are not quite
  independent, the interval may be too narrow. → Choose a longer recording, or raise n_frames.
failed (failures) {server}, {level} in flight: {k} of {n} requests failed ({kind}){lost}. First: {first}
stopped (interruption) Sitting {n} {how} after {k}, {again} of which are in no rate: what was cut is measured
  again whole. → The same command goes on.
damage (interruption) Left out: {broken} half-written lines, {doubled} replies to requests that have one.
added (instrument) The instrument adds at most {p50:.1f} ms (median; p99 {p99:.1f} ms) to a first token at
  {level} in flight{spread}: {share:.1%} of what was measured.{over} → Measure on a quieter machine.
late (instrument) {k} of {n} requests were timed while this client's loop was over 50 ms late (at most
  {most:.0f} ms). → Quit what else uses the processor.
idle (instrument) {server}, {level} in flight: {mean:.1f} really were, on average. → Send more frames a block.
"""
_FOUND = re.findall(r"^(\w+) \((\w+)\) (.+(?:\n  .+)*)", SENTENCES, re.MULTILINE)
SAID = {key: (about, *" ".join(said.split()).partition(" → ")[::2]) for key, about, said in _FOUND}


def say(
    key: str, server: str = "", level: float = 0, grave: Any = True, otherwise: State = "note", **values: Any
) -> Finding:
    """The sentence of that name, filled: where it is ``grave`` a warning, with what to do about it."""
    about, text, to_do = SAID[key]
    state, to_do = ("warning", values.get("to_do", to_do)) if grave else (otherwise, "")
    return Finding(about, state, text.format(server=server, level=level, **values), to_do, server, int(level))


def fairness_findings(
    answers: pd.DataFrame, levels: pd.DataFrame, events: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any], telemetry: pd.DataFrame, damage: Any,
) -> list[Finding]:  # fmt: skip
    """What is unfair, failed, broke off or late; ``facts`` are run.json's, ``damage`` is a runs.Damage."""
    return [
        *compare_sides(answers, levels, facts),
        *judge_servers(answers, events, facts),
        *judge_machine(answers, levels, events, telemetry),
        *list_losses(answers, events, damage),
    ]


def compare_sides(answers: pd.DataFrame, levels: pd.DataFrame, facts: Mapping) -> Iterator[Finding]:
    """Each candidate beside the baseline, at their chosen levels; how that was measured; what was cut."""
    for row in levels[levels["cut_rate"] > 0].sort_values("cut_rate").groupby("server").tail(1).itertuples():
        yield say("cut", row.server, row.concurrency, grave=row.cut_rate > FEW, share=row.cut_rate)
    servers = {server["name"]: server for server in facts["servers"]}
    base = next((name for name, server in servers.items() if server["role"] == "baseline"), None)
    if base is None:
        yield say("recorded", s=facts["params"].get("recorded_s_per_frame"))
        return
    if set(levels.loc[levels["server"] == base, "concurrency"]) == {1} and not is_serial(servers[base]):
        yield say("alone", base)
    good = answers[answers["error_class"].isna() & answers["phase"].isin(TIMED)]
    chosen = levels[levels["chosen"].eq(True)].set_index("server")["concurrency"]
    good = good[good["concurrency"].eq(good["server"].map(chosen).fillna(good["concurrency"]))]
    for name in (name for name, server in servers.items() if server["role"] == "candidate"):
        for key, column in (("lengths", "output_tokens"), ("images", "prompt_tokens")):
            known = good[good[column] > 0].astype({column: float})
            both = known.pivot_table(column, "frame_id", "server").reindex(columns=[name, base]).dropna()
            ours, theirs = both.mean()
            if (apart := max(ours / theirs, theirs / ours) - 1) > DIFFERS:
                told = {"other": base, "ours": ours, "theirs": theirs, "n": count(len(both), "frame")}
                yield say(key, name, grave=apart > DIFFERS_MUCH, **told)
        thinking = good["reasoning_chars"].gt(0).groupby(good["server"]).mean()
        ours, theirs = thinking.reindex([name, base])
        if ours + theirs > 0:  # not, where a side has no answer
            said = f"{ours:.0%} of {name}'s and {theirs:.0%} of {base}'s"
            yield say("thinking", name, grave=abs(ours - theirs) > DIFFERS, said=said)
        sides = (servers[name], servers[base])
        told = [f"{server['details'].get('details')} {server['model']}" for server in sides]
        ours, theirs = (quantisation(text) or "?" for text in told)
        if len({bits[0] for word in (ours, theirs) if (bits := re.findall(r"\d+", word))}) == 2:
            yield say("models", name, other=base, ours=ours, theirs=theirs)


def is_serial(identity: Mapping) -> bool:
    """Whether a server is known to take one request at a time, whatever is sent."""
    family = SEQUENTIAL.search(f"{identity['details'].get('details')} {identity['model']}")
    engine = (identity["details"].get("health") or {}).get("engine_type")
    return engine == "simple" or (identity["api"] == "ollama" and family is not None)


def judge_servers(answers: pd.DataFrame, events: Sequence[Mapping], facts: Mapping) -> Iterator[Finding]:
    """Servers that knew a frame, were others in a later sitting, or counted otherwise than this run did."""
    noted = {(event["event"], *(event.get(name) or 0 for name in CELL)): event for event in events}
    started = {key[1:]: event for key, event in noted.items() if key[0] == "cell_started"}
    answers = answers.assign(rate_per_s=answers["rate_per_s"].astype(float).fillna(0.0))
    warm = [key for key, event in started.items() if not event.get("cache_cleared")]
    answers["warm"] = pd.MultiIndex.from_frame(answers[CELL]).isin(warm)
    good = answers[answers["error_class"].isna() & answers["code"].isna()]  # with a code it is another image
    for server, rows in good.groupby("server"):
        seen = rows.duplicated("frame_id")
        kept = seen & rows["warm"]
        read_s = rows["server_prefill_s"].fillna(rows["ttft_s"].where(rows["concurrency"] == 1)).astype(float)
        known, new = read_s[kept].median(), read_s[~seen].median()
        if kept.any() and not known / new >= CACHED:
            times = f": read in {known:.2f} s, new ones in {new:.2f} s (medians)" if known < new else ""
            yield say("cache", server, grave=times, k=kept.sum(), n=len(rows), times=times)
    began = {server["name"]: server for server in facts["servers"]}
    for event in events:
        if event["event"] == "telemetry_failed":
            yield say("blind", n=event["sitting"] + 1, problem=event["problem"])
        for server in event.get("servers") or ():
            then, now = (
                f"{told['version']} {told['details'].get('process', {}).get('flags', '')}".strip()
                for told in (began.get(server["name"], server), server)
            )
            if then != now:
                yield say("changed", server["name"], n=event["sitting"] + 1, then=then, now=now)
    cells, counted, was_whole = dict(iter(answers.groupby(CELL))), defaultdict(lambda: np.zeros(2)), {}
    for key, event in started.items():
        server, rows = key[0], cells.get(key, answers.head(0))
        # Of a request that failed or was given up vllm-mlx counts the tokens late, into the next cell.
        whole = len(rows) == event.get("requests") and rows["error_class"].isna().all()
        ours = {"requests": len(rows), "output_tokens": rows["output_tokens"].sum(skipna=False)}
        ended = noted.get(("cell_ended", *key), {})
        before, after = (told.get("counters") or {} for told in (event, ended))
        is_clean, was_whole[server] = whole and was_whole.get(server, True), whole
        for name, n in ours.items():
            total = f"{name}_total"
            if is_clean and total in before and total in after:
                counted[server, name] += (n, after[total] - before[total])
    for (server, name), (ours, theirs) in counted.items():
        if abs(theirs - ours) > MISCOUNTED * ours:
            yield say("counters", server, what=name.replace("_", " "), theirs=theirs, ours=ours)


def judge_machine(
    answers: pd.DataFrame, levels: pd.DataFrame, events: Sequence[Mapping], telemetry: pd.DataFrame
) -> Iterator[Finding]:
    """What of the machine's state, of shared frames or of this client itself spoils a comparison."""
    samples = telemetry[telemetry["source"].isin(["machine", "host"])]
    swap = samples.groupby("sitting")["swap_used_gb"]
    if (grew_gb := (swap.max() - swap.first()).max()) > SWAP_GREW_GB:
        yield say("swap", gb=grew_gb)
    thermal, battery = (samples[name].dropna().astype(float) for name in ("thermal", "on_battery"))
    if (thermal < 100).any():
        yield say("heat", low=thermal.min(), k=(thermal < 100).sum(), n=len(thermal))
    if battery.any():
        yield say("battery", k=int(battery.sum()), n=len(battery))
    rows = answers[answers["phase"].eq("confirm") & answers["complete"].eq(True)]
    rows = rows[rows["server"].eq(rows["server"].min())]
    uses, blocks = rows.groupby("frame_id").size(), rows.groupby("block").size()
    if (most := uses.max()) > 1:
        of_what = {"blocks": count(len(blocks), "block"), "frames": count(blocks.max(), "frame")}
        yield say("shared", grave=most > 2, k=len(uses), most=most, **of_what)
    added = {event["concurrency"]: event for event in events if event["event"] == "instrument"}
    rows = levels[levels["added_ttft_share"] >= 0].sort_values("added_ttft_share", ascending=False)
    high = rows[rows["added_ttft_share"] > ADDED_SHARE]
    over = ", ".join(high["server"] + " at " + high["concurrency"].astype(str))
    over = f" Over {ADDED_SHARE:.0%}: {over}." if over else ""
    for row in rows.head(1).itertuples():
        p50, p99 = (1e3 * added[row.concurrency][f"added_ttft_p{q}_s"] for q in (50, 99))
        told = {"p50": p50, "p99": p99, "share": row.added_ttft_share, "over": over}
        n_processes = added[row.concurrency].get("processes")
        told["spread"] = f", sent by {n_processes} processes" if n_processes else ""
        yield say("added", row.server, row.concurrency, grave=over, otherwise="ok", **told)
    late_s = answers["lag_s"].astype(float)
    if k := (late_s > LATE_S).sum():
        yield say("late", grave=k > FEW * len(answers), k=k, n=len(answers), most=1e3 * late_s.max())
    for row in levels[levels["in_flight_mean"] < REALLY_IN_FLIGHT * levels["concurrency"]].itertuples():
        yield say("idle", row.server, row.concurrency, mean=row.in_flight_mean)


def list_losses(answers: pd.DataFrame, events: Sequence[Mapping], damage: Any) -> Iterator[Finding]:
    """What failed by server, level and class, what was not sent, what broke off, and what a crash left."""
    failed = answers[answers["error_class"].notna() & answers["error_class"].ne("aborted")]
    sent, lost = answers.groupby(["server", "concurrency"]).size(), defaultdict(int)
    for event in events:
        lost[event.get("server"), event.get("concurrency")] += event.get("not_sent", 0)
    for (server, level, kind), rows in failed.groupby(["server", "concurrency", "error_class"]):
        more = f", {n} more were not sent" if (n := lost[server, level]) else ""
        told = {"k": len(rows), "n": sent[server, level], "lost": more, "kind": kind}
        told |= {"first": rows["error_message"].iloc[0], "to_do": CURES.get(kind, "Read the server's log.")}
        yield say("failed", server, level, **told)
    ended = {event["sitting"] for event in events if event["event"] in ("sitting_ended", "finished")}
    stopped = {event["sitting"]: event["because"] for event in events if event["event"] == "sitting_stopped"}
    started = [event["sitting"] for event in events if event["event"] == "sitting_started"]
    for sitting in (sitting for sitting in started if sitting in stopped or sitting not in ended):
        how = f"was stopped ({stopped[sitting]})" if sitting in stopped else "broke off"
        rows = answers[answers["sitting"] == sitting]
        told = {"k": count(len(rows), "request"), "again": (~rows["complete"].eq(True)).sum()}
        yield say("stopped", grave=sitting == started[-1], n=sitting + 1, how=how, **told)
    if damage.n_broken or damage.n_doubled:
        yield say("damage", grave=damage.n_doubled, broken=damage.n_broken, doubled=damage.n_doubled)


def open_loop_findings(answers: pd.DataFrame, ttft_s: float, total_s: float) -> list[Finding]:
    """One finding a candidate and rate in an open loop: its latency, and whether the service level holds.

    A latency counts from the moment at which the request was due. The level, ``ttft_s`` and ``total_s`` (0:
    no limit), holds where the lower 95 % bound (Clopper-Pearson) of the share that keeps it is at least 95 %.
    """
    findings = []
    rows = answers[(answers["phase"] == "open_loop") & answers["complete"].astype(bool)]
    for (server, rate), cell in rows.groupby(["server", "rate_per_s"]):
        waited_s, answered = cell["start_s"] - cell["due_s"], cell["error_class"].isna()
        first_s, last_s = cell["ttft_s"] + waited_s, cell["total_s"] + waited_s
        text = f"Open loop, {server} at {rate:.3g} arrivals/s: TTFT p50 {first_s[answered].median():.2f} s, "
        text += f"answer p95 {last_s[answered].quantile(0.95):.2f} s from the due moment, "
        text, state = f"{text}{answered.sum()} of {len(cell)} answered", "note"
        if ttft_s or total_s:
            kept = answered & ((first_s <= ttft_s) | (not ttft_s)) & ((last_s <= total_s) | (not total_s))
            low, high = binomial_bounds(int(kept.sum()), len(cell))
            state = "ok" if low >= KEPT_SHARE else "problem" if high < KEPT_SHARE else "warning"
            word = {"ok": "holds", "problem": "does not hold", "warning": "is not decided"}[state]
            share = interval(100 * kept.mean(), 100 * low, 100 * high, "%", ".0f")
            text += f"; the service level {word}: kept by {share} of {len(cell)}"
        findings.append(Finding("open loop", state, f"{text}.", server=server))
    return findings
