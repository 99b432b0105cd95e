"""What a reader must know before two servers are compared, what failed, and what was interrupted.

Pure: of a run's frames, events and samples. Every sentence that can be said stands here, with what to do.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from poc_lib.client.identity import quantisation
from poc_lib.metrics.agreement import TIMED
from poc_lib.records import Finding

DIFFERS, DIFFERS_MUCH = 0.1, 0.25  # of tokens, relative: worth a note, worth a warning
SWAP_GREW_GB, LATE_S = 0.5, 0.05
CACHED = 0.7  # of the time that a new frame takes: a known one that is read so fast was kept
MISCOUNTED, ADDED_SHARE, REALLY_IN_FLIGHT = 0.02, 0.02, 0.8  # of our count, of a first token, of the level
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
lengths (fairness) {server} wrote {ours:.0f} tokens an answer, {other} {theirs:.0f} (n = {n} frames):
  frames/s favours whoever writes less. → Read output tok/s beside frames/s.
images (fairness) Of the same frame {server} read {ours:.0f} tokens, {other} {theirs:.0f} (n = {n} frames):
  they scale images differently. → Set image_width to what both read whole.
thinking (fairness) {said} answers began with thinking: it takes time and tokens. → Compare like with like.
models (fairness) The model of {server} is quantised as {ours}, that of {other} as {theirs}: the speed-up is
  not the server's alone. → Compare models of equal weights.
recorded (fairness) No baseline was measured: {s} s a frame was recorded elsewhere. → Set baseline_url.
alone (fairness) {server} was measured one request at a time only, though it may run several at once. → Set
  baseline_concurrency to [1, 4], for Ollama with OLLAMA_NUM_PARALLEL=4.
cache (fairness) {server}'s caches were not cleared, and {k} of {n} requests sent a known frame: read in
  {known:.2f} s, new ones in {new:.2f} s (medians). → Measure more frames, or switch its caches off.
restart (fairness) {server} was started anew at {level} in flight ({then} requests, then {now}). → Read why.
changed (fairness) {server} was another one in sitting {n}: {then}, then {now}. → Give it a run of its own.
counters (fairness) {server} counted {theirs:.0f} {what} where this run counted {ours:.0f}: somebody else used
  it, or counts are wrong. → Stop whoever else uses it (the app?), else rest on frames/s.
swap (fairness) Swap grew by {gb:.1f} GB meanwhile. → Quit other programs, or take a smaller model.
heat (fairness) The chip was slowed to {low:.0f} % in {k} of {n} samples: it was hot. → Let it cool down.
battery (fairness) On battery in {k} of {n} samples, where a chip may be slower. → Plug the machine in.
shared (fairness) {n_blocks} blocks of {n_block} frames sent {k} different ones, each up to {most} times: they
  are not quite independent, the interval may be too narrow. → Choose a longer recording, or raise n_frames.
whole (fairness) The interval speaks for the whole recording: all {n} usable frames take part.
sample (fairness) The interval speaks for these {n} frames, spread evenly over {n_usable} usable ones.
failed (failures) {server}, {level} in flight: {k} of {n} requests failed ({kind}){lost}. First: {first}
stopped (interruption) Sitting {n} {how} after {k} requests, {again} of which are in no rate: what was cut is
  measured again whole. → The same command goes on.
damage (interruption) Left out: {broken} half-written lines, {doubled} replies to requests that have one.
added (instrument) The instrument adds at most {p50:.1f} ms (median; p99 {p99:.1f} ms) to a first token at
  {level} in flight: {share:.1%} of what was measured.{over} → Measure on a quieter machine.
late (instrument) {k} of {n} requests were timed while this client's loop was over 50 ms late (at most
  {most:.0f} ms). → Quit what else uses the processor.
idle (instrument) {server}, {level} in flight: {mean:.1f} really were, on average. → Send more frames a block.
"""
_FOUND = re.findall(r"^(\w+) \((\w+)\) (.+(?:\n  .+)*)", SENTENCES, re.MULTILINE)
SAID = {key: (about, *" ".join(said.split()).partition(" → ")[::2]) for key, about, said in _FOUND}


def say(key: str, state: Any, server: str = "", level: float = 0, **values: Any) -> Finding:
    """The sentence of that name, filled; what to do about it only where it is a warning."""
    about, text, to_do = SAID[key]
    to_do = values.get("to_do", to_do) if state == "warning" else ""
    return Finding(about, state, text.format(server=server, level=level, **values), to_do, server, int(level))


def fairness_findings(
    answers: pd.DataFrame, levels: pd.DataFrame, events: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any], telemetry: pd.DataFrame, damage: Any,
) -> list[Finding]:  # fmt: skip
    """Findings about "fairness", "failures", "interruption" and "instrument", of either edition's runs.

    ``facts`` are run.json's, ``telemetry`` is telemetry_table's frame, ``damage`` runs.Damage.
    """
    answers = answers.assign(rate_per_s=answers["rate_per_s"].astype(float).fillna(0.0))
    rows, cells = dict(iter(answers.groupby(CELL))), {}
    for event in events:
        key = tuple(event.get(name) or 0 for name in CELL)
        if event["event"] == "cell_started" and key[0]:
            cells[key] = {**event, "ended": {}, "rows": rows.get(key, answers.head(0))}
        elif event["event"] == "cell_ended" and key in cells:
            cells[key]["ended"] = event
    return [
        *compare_sides(answers, levels, facts),
        *judge_caches(answers, cells.values()),
        *judge_servers(cells.values(), events, facts),
        *judge_circumstances(telemetry, answers, facts),
        *list_losses(answers, cells.values(), events, damage),
        *judge_instrument(answers, levels, events),
    ]


def compare_sides(answers: pd.DataFrame, levels: pd.DataFrame, facts: Mapping) -> Iterator[Finding]:
    """Each candidate beside the baseline, at their chosen levels; and how the baseline was measured."""
    good = answers[answers["error_class"].isna() & answers["phase"].isin(TIMED)]
    chosen = levels[levels["chosen"].eq(True)].set_index("server")["concurrency"]
    servers = {server["name"]: server for server in facts["servers"]}
    base = next((name for name, server in servers.items() if server["role"] == "baseline"), None)
    if base is None:
        yield say("recorded", "warning", s=facts["params"].get("recorded_s_per_frame"))
        return
    if set(levels.loc[levels["server"] == base, "concurrency"]) == {1} and not serial_because(servers[base]):
        yield say("alone", "warning", base)
    for name in (name for name, server in servers.items() if server["role"] == "candidate"):
        sides = [good[good["server"].eq(side) & good["concurrency"].eq(chosen.get(side, good["concurrency"]))]
                 for side in (name, base)]  # fmt: skip
        for key, column in (("lengths", "output_tokens"), ("images", "prompt_tokens")):
            means = [side[side[column] > 0].groupby("frame_id")[column].mean() for side in sides]
            both = pd.concat(means, axis=1, join="inner")
            ours, theirs = both.mean()
            if (apart := max(ours / theirs, theirs / ours) - 1) > DIFFERS:
                about = {"ours": ours, "theirs": theirs, "n": len(both)}
                yield say(key, "warning" if apart > DIFFERS_MUCH else "note", name, other=base, **about)
        ours, theirs = (side["reasoning_chars"].gt(0).mean() for side in sides)
        if max(ours, theirs) > 0:
            said = f"{ours:.0%} of {name}'s and {theirs:.0%} of {base}'s"
            yield say("thinking", "warning" if abs(ours - theirs) > DIFFERS else "note", name, said=said)
        ours, theirs = (quantisation(f"{server['details'].get('details')} {server['model']}") or "?"
                        for server in (servers[name], servers[base]))  # fmt: skip
        if len({bits[0] for word in (ours, theirs) if (bits := re.findall(r"\d+", word))}) == 2:
            yield say("models", "warning", name, other=base, ours=ours, theirs=theirs)


def serial_because(identity: Mapping) -> str:
    """Why a server takes one request at a time whatever is sent, as a clause; "": nothing known says so."""
    if (identity["details"].get("health") or {}).get("engine_type") == "simple":
        return "it runs without continuous batching"
    family = SEQUENTIAL.search(f"{identity['details'].get('details')} {identity['model']}")
    by_ollama = "Ollama runs this family one by one, whatever OLLAMA_NUM_PARALLEL says"
    return by_ollama if family and identity["api"] == "ollama" else ""


def judge_caches(answers: pd.DataFrame, cells: Collection[Mapping]) -> Iterator[Finding]:
    """Servers that were sent a frame again with their caches not cleared, unless that was no faster."""
    cleared = [row for cell in cells if cell.get("cache_cleared") for row in cell["rows"].index]
    good = answers[answers["error_class"].isna() & answers["code"].isna()]  # with a code it is another image
    for server, rows in good.groupby("server") if cells else ():
        seen = rows.duplicated("frame_id")
        kept = seen & ~rows.index.isin(cleared)
        read_s = rows["server_prefill_s"].fillna(rows["ttft_s"].where(rows["concurrency"] == 1)).astype(float)
        known, new = read_s[kept].median(), read_s[~seen].median()
        if kept.any() and not known / new >= CACHED:
            state, about = "warning" if known / new < CACHED else "note", {"known": known, "new": new}
            yield say("cache", state, server, k=kept.sum(), n=len(rows), **about)


def judge_servers(cells: Iterable[Mapping], events: Iterable[Mapping], facts: Mapping) -> Iterator[Finding]:
    """Servers that were started anew, were others in a later sitting, or counted otherwise than this run."""
    began = {server["name"]: server for server in facts["servers"]}
    for event in events:
        for server in event.get("servers") or ():
            then, now = (f"{told['version']} {told['details'].get('process', {}).get('flags', '')}".strip()
                         for told in (began.get(server["name"], server), server))  # fmt: skip
            if then != now:
                yield say("changed", "warning", server["name"], n=event["sitting"] + 1, then=then, now=now)
    served, counted, was_whole = {}, Counter(), {}
    for cell in cells:
        server, rows, here = cell["server"], cell["rows"], (cell["server"], cell["sitting"])
        told = [noted.get("counters") or {} for noted in (cell, cell["ended"])]
        for now in (figures["requests_total"] for figures in told if "requests_total" in figures):
            if now < (then := served.get(here, now)):
                yield say("restart", "warning", server, cell["concurrency"], then=then, now=now)
            served[here] = now
        # Of a request that failed or was given up vllm-mlx counts the tokens late, into the next cell.
        whole = len(rows) == cell["requests"] and rows["error_class"].isna().all()
        ours = {"requests": len(rows), "output_tokens": rows["output_tokens"].sum(skipna=False)}
        for name in ours if whole and was_whole.get(server, True) else ():
            if all(f"{name}_total" in figures for figures in told):
                rise = told[1][f"{name}_total"] - told[0][f"{name}_total"]
                counted.update({(server, name): ours[name], (server, name, "theirs"): rise})
        was_whole[server] = whole
    for server, name in (key for key in counted if len(key) == 2):
        theirs, ours = counted[server, name, "theirs"], counted[server, name]
        if abs(theirs - ours) > MISCOUNTED * ours:
            yield say("counters", "warning", server, what=name.replace("_", " "), theirs=theirs, ours=ours)


def judge_circumstances(telemetry: pd.DataFrame, answers: pd.DataFrame, facts: Mapping) -> Iterator[Finding]:
    """What of the machine's state spoils a comparison; for which frames the interval speaks."""
    samples = telemetry[telemetry["source"].isin(["machine", "host"])]
    swap = samples.groupby("sitting")["swap_used_gb"]
    if (grew_gb := (swap.max() - swap.first()).max()) > SWAP_GREW_GB:
        yield say("swap", "warning", gb=grew_gb)
    thermal, battery = (samples[name].dropna().astype(float) for name in ("thermal", "on_battery"))
    if (thermal < 100).any():
        yield say("heat", "warning", low=thermal.min(), k=(thermal < 100).sum(), n=len(thermal))
    if battery.any():
        yield say("battery", "warning", k=int(battery.sum()), n=len(battery))
    rows = answers[answers["phase"].eq("confirm") & answers["complete"].eq(True)]
    rows = rows[rows["server"].eq(rows["server"].min())]
    if rows.empty:
        return
    uses, blocks, n = rows.groupby("frame_id").size(), rows.groupby("block").size(), len(facts["frames"])
    if uses.max() > 1:
        state, about = "warning" if uses.max() > 2 else "note", {"k": len(uses), "most": uses.max()}
        yield say("shared", state, n_blocks=len(blocks), n_block=blocks.max(), **about)
    key, state = ("whole", "ok") if facts.get("whole_recording") else ("sample", "note")
    yield say(key, state, n=n, n_usable=(facts.get("counts") or {}).get("usable", n))


def list_losses(
    answers: pd.DataFrame, cells: Iterable[Mapping], events: Iterable[Mapping], damage: Any
) -> Iterator[Finding]:
    """What failed by server, level and class, what was not sent, what broke off, and what a crash left."""
    failed = answers[answers["error_class"].notna() & answers["error_class"].ne("aborted")]
    sent, lost = answers.groupby(["server", "concurrency"]).size(), Counter()
    for cell in cells:
        lost[cell["server"], cell["concurrency"]] += cell["ended"].get("not_sent", 0)
    for (server, level, kind), rows in failed.groupby(["server", "concurrency", "error_class"]):
        more = f", {n} more were not sent" if (n := lost[server, level]) else ""
        about = {"k": len(rows), "n": sent[server, level], "lost": more, "kind": kind}
        first, to_do = rows["error_message"].iloc[0], CURES.get(kind, "Read the server's log.")
        yield say("failed", "warning", server, level, first=first, to_do=to_do, **about)
    ended = {event["sitting"] for event in events if event["event"] in ("sitting_ended", "finished")}
    stopped = {event["sitting"]: event["because"] for event in events if event["event"] == "sitting_stopped"}
    started = [event["sitting"] for event in events if event["event"] == "sitting_started"]
    for sitting in (sitting for sitting in started if sitting in stopped or sitting not in ended):
        how = f"was stopped ({stopped[sitting]})" if sitting in stopped else "broke off"
        rows, state = answers[answers["sitting"] == sitting], "warning" if sitting == started[-1] else "note"
        about = {"k": len(rows), "again": (~rows["complete"].eq(True)).sum()}
        yield say("stopped", state, n=sitting + 1, how=how, **about)
    if damage.n_broken or damage.n_doubled:
        state = "warning" if damage.n_doubled else "note"
        yield say("damage", state, broken=damage.n_broken, doubled=damage.n_doubled)


def judge_instrument(answers: pd.DataFrame, levels: pd.DataFrame, events: Sequence) -> Iterator[Finding]:
    """What this client itself adds to the times, how often its loop was late, and whether it kept up."""
    added = {event["concurrency"]: event for event in events if event["event"] == "instrument"}
    rows = levels[levels["ttft_p50_s"].gt(0) & levels["concurrency"].isin(added)]
    share = rows["concurrency"].map(lambda level: added[level]["added_ttft_p50_s"]) / rows["ttft_p50_s"]
    rows = rows.assign(share=share.astype(float)).sort_values("share", ascending=False)
    high = rows[rows["share"] > ADDED_SHARE]
    over = ", ".join(high["server"] + " at " + high["concurrency"].astype(str))
    for row in rows.head(1).itertuples():
        p50, p99 = (1e3 * added[row.concurrency][f"added_ttft_p{q}_s"] for q in (50, 99))
        about = {"p50": p50, "p99": p99, "over": f" Over {ADDED_SHARE:.0%}: {over}." if over else ""}
        yield say("added", "warning" if over else "ok", row.server, row.concurrency, share=row.share, **about)
    late_s = answers["lag_s"].astype(float)
    if k := (late_s > LATE_S).sum():
        state, about = "warning" if k > 0.01 * len(answers) else "note", {"most": 1e3 * late_s.max()}
        yield say("late", state, k=k, n=len(answers), **about)
    for row in levels[levels["in_flight_mean"] < REALLY_IN_FLIGHT * levels["concurrency"]].itertuples():
        yield say("idle", "warning", row.server, row.concurrency, mean=row.in_flight_mean)
