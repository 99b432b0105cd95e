"""Fairness of what the servers remembered: caches that could not be cleared, and answers they made faster."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from poc_lib.fairness.line import FairnessLine, answered
from poc_lib.metrics import Baseline

FAST_SHARE = 0.3  # of the usual prefill: a first token that came sooner has hardly read an image
_HITS = re.compile(r"cache.*hits?|hits?.*cache|cached_tokens", re.IGNORECASE)


def cache_lines(
    requests: pd.DataFrame, events: Sequence[Mapping], telemetry: pd.DataFrame, baseline: Baseline
) -> Iterator[FairnessLine]:
    """Caches not cleared, hits that a server counted, and prefills that were too fast for a known frame."""
    yield from _uncleared_lines(requests, events)
    yield from _counted_hits_lines(events, telemetry)
    yield from _fast_lines(requests, baseline)


def _uncleared_lines(requests: pd.DataFrame, events: Sequence[Mapping]) -> Iterator[FairnessLine]:
    cleared = defaultdict(list)
    for event in events:
        if event.get("event") == "cell_started" and event.get("phase", "measure") == "measure":
            cleared[event["server"]].append(event.get("cache_cleared") is True)
    one_sided = any(map(all, cleared.values())) and not all(map(all, cleared.values()))
    seen = requests[requests["phase"] == "measure"].groupby("server")[["concurrency", "block"]]
    for server, cells in cleared.items():
        if all(cells):
            continue
        repeated = server in seen.groups and len(seen.get_group(server).drop_duplicates()) > 1
        others = [name for name, of_other in cleared.items() if all(of_other)]
        beside = f", {' and '.join(others)}'s were" if one_sided else ""
        yield FairnessLine(
            "cache",
            f"{server}'s caches were not cleared before {cells.count(False)} of its {len(cells)} cells"
            f"{beside}.",
            "warning" if one_sided and repeated else "note",
            "It was sent every frame in several cells and may have kept some of the work on it; the "
            "repeat-image pass says what that gives."
            if repeated
            else "Every frame was sent to it once, so a cache has little to give but the prompt's beginning.",
        )


def _counted_hits_lines(events: Sequence[Mapping], telemetry: pd.DataFrame) -> Iterator[FairnessLine]:
    """Counters of cache hits that grew while a cell was measured, and such columns of the samples."""
    began, grown = {}, defaultdict(float)
    for event in events:
        if event.get("phase", "measure") != "measure" or "counters" not in event:
            continue
        for name, value in (event["counters"] or {}).items():
            if not _HITS.search(name) or not isinstance(value, int | float):
                continue
            key = (event["server"], name)
            if event["event"] == "cell_ended" and key in began:
                grown[key] += max(0.0, value - began[key])
            began[key] = value
    for name in [column for column in telemetry.columns if _HITS.search(column)]:
        for server, rows in telemetry[telemetry[name].notna()].groupby("server"):
            if not any(key[0] == server for key in grown):
                grown[server, name] = float(rows[name].max() - rows[name].min())
    for (server, name), n in grown.items():
        if n > 0:
            yield FairnessLine(
                "cache",
                f"{server} counted {n:g} cache hits ({name}) while it was measured.",
                "warning",
                "Part of its answers did not cost what a new frame costs.",
            )


def _fast_lines(requests: pd.DataFrame, baseline: Baseline) -> Iterator[FairnessLine]:
    ok = answered(requests).sort_values(["sitting", "start_s"], kind="stable")
    known = ok.duplicated(["server", "frame_id"])
    # Under load TTFT is mostly waiting; the server's own prefill time is the image's at any level.
    prefill_s = ok["server_prefill_s"].fillna(ok["ttft_s"].where(ok["concurrency"] == 1))
    for server, rows in ok.groupby("server", sort=False):
        seconds, again = prefill_s[rows.index].dropna(), known[rows.index]
        first, repeated = seconds[~again[seconds.index]], seconds[again[seconds.index]]
        usual_s = (first if len(first) else seconds).median()
        fast = repeated[repeated < FAST_SHARE * usual_s]
        if len(fast):
            at_baseline = server == baseline.name and baseline.measured
            yield FairnessLine(
                "cache",
                f"{server} read {len(fast)} of {len(repeated)} frames that it had seen before in less than "
                f"{FAST_SHARE:.0%} of the usual {usual_s:.2f} s (median {fast.median():.2f} s).",
                "warning",
                "It seems to have kept them: its rate is too good for new frames"
                + (", and speed-ups against it are too small." if at_baseline else "."),
            )
