"""How long scoring takes, and how much memory, on answers made from a word list.

    python benchmarks/accuracy_scale.py [--frames 2000] [--answers 10000]

Checks on a sample that the quick ways give what the plain definitions give. Measures this process alone.
"""

import argparse
import difflib
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from poc_lib.accuracy import compare_levels, compare_models, score_answers, summarize_calibration
from poc_lib.accuracy.clusters import looks_different
from poc_lib.accuracy.facts import fidelity, fidelity_matrix
from poc_lib.accuracy.matrices import difflib_sample, similarity_matrix
from poc_lib.accuracy.pairs import run_vectors
from poc_lib.accuracy.sides import answer_sides, reference_sides
from poc_lib.accuracy.similarity import SequenceMatcher, cosine_matrix, cosine_pairs, jaccard
from poc_lib.records import Reply

SYLLABLES = [
    "ba",
    "co",
    "di",
    "fe",
    "gu",
    "ka",
    "lo",
    "mi",
    "ne",
    "po",
    "ra",
    "so",
    "ti",
    "vu",
    "wa",
    "xe",
    "yo",
    "zi",
]
ACTIVITIES = ("coding", "debugging", "reading", "terminal", "meeting")
APPS = ("VS Code", "Google Chrome", "iTerm2", "Slack", "Figma", "Zoom")


def make_run(n_frames: int, n_answers: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Requests and frames tables: descriptions of about 60 words, of which an answer keeps half."""
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(3000)]
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]  # word frequencies as in language (Zipf)
    frames, rows = [], []
    for i in range(n_frames):
        words = [*draw.choices(vocabulary, weights, k=draw.randint(40, 80)), f"file_{i}.py", str(i), "Q3"]
        frames.append(_frame(i, words, draw))
    cells = [("ollama", "baseline", 1, 0), ("ollama", "baseline", 1, 1)]
    cells += [("vllm-mlx", "candidate", c, b) for c in (1, 4, 8, 16) for b in range(9)]
    for number in range(n_answers):
        cell, frame = cells[number // n_frames % len(cells)], frames[number % n_frames]
        kept = [word if draw.random() < 0.5 else draw.choice(vocabulary) for word in frame["words"]]
        rows.append(asdict(_reply(number, *cell, frame, _line(kept, draw))))
    return pd.DataFrame(rows), pd.DataFrame(frames).drop(columns="words")


def _frame(number: int, words: list[str], draw: random.Random) -> dict[str, Any]:
    return {
        "frame_id": f"f{number}",
        "timestamp_s": float(number),
        "phash": f"{draw.getrandbits(64):016x}",
        "words": words,
        "ref_description": " ".join(words),
        "ref_activity": draw.choice(ACTIVITIES),
        "ref_apps": draw.sample(APPS, 2),
        "ref_topics": draw.sample(words, 3),
        "ocr_text": " ".join([*words, *draw.choices(words, k=100)]),
    }


def _line(words: list[str], draw: random.Random) -> str:
    apps, topics = (", ".join(draw.sample(list(names), 2)) for names in (APPS, words))
    return (
        f"description: {' '.join(words)} | activity: {draw.choice(ACTIVITIES)} | apps: [{apps}] | "
        f"topics: [{topics}]"
    )


def _reply(number: int, server: str, role: str, level: int, block: int, frame: dict, text: str) -> Reply:
    return Reply(
        request_id=f"{server}/measure/c{level}/b{block}/{frame['frame_id']}",
        server=server,
        role=role,
        concurrency=level,
        block=block,
        phase="measure",
        frame_id=frame["frame_id"],
        sitting=0,
        slot=0,
        simulated=True,
        sent_at="",
        start_s=float(number),
        in_flight=level,
        total_s=1.0,
        text=text,
    )


def timed(what: str, call: Callable[[], Any]) -> Any:
    """Call, and print the time by the clock and of the processor, and the most memory held so far."""
    start_s, cpu_s = time.perf_counter(), time.process_time()
    found = call()
    took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(f"{what:<45}{took_s:8.2f} s   {cpu_s:6.2f} s CPU   peak {peak_mb:6.0f} MB")
    return found


def check_definitions(requests: pd.DataFrame, frames: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Compare a sample with difflib itself and with the pairwise definitions."""
    sides = answer_sides(requests)
    references = reference_sides(frames)
    stored = scores[scores["against"] == "stored reference"].reset_index(drop=True)
    for row in range(0, len(stored), max(1, len(stored) // 300)):
        plain = difflib.SequenceMatcher(None, references[stored["frame_id"][row]].text, sides[row].text)
        assert stored["difflib_ratio"][row] == plain.ratio(), "difflib's ratio differs"
    some, others = sides[:200], list(references.values())[:150]
    vectors = run_vectors([*some, *others])
    cosines = similarity_matrix("tfidf_cosine", some, others, vectors)
    f1 = fidelity_matrix([one.facts for one in some], [one.facts for one in others])
    apps = similarity_matrix("apps_jaccard", some, others, vectors)
    for i in range(0, len(some), 7):
        for j in range(0, len(others), 5):
            a, b = some[i], others[j]
            assert np.isclose(cosines[i, j], cosine_pairs(vectors, [a.text], [b.text])[0])
            assert np.isclose(f1[i, j], fidelity(a.facts, b.facts).f1, equal_nan=True)
            assert np.isclose(apps[i, j], jaccard(a.apps, b.apps), equal_nan=True)
    print("sample equal to the plain definitions: difflib, TF-IDF, F1, Jaccard")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=10_000)
    asked = parser.parse_args()
    n, m = asked.answers, asked.frames
    print(f"difflib by {SequenceMatcher.__module__}")
    requests, frames = timed(f"made {n:,} answers to {m:,} frames", lambda: make_run(m, n))
    scores = timed(f"score_answers, {n:,} answers", lambda: score_answers(requests, frames, 0.8))
    check_definitions(requests, frames, scores)
    answers, references = answer_sides(requests[:m]), list(reference_sides(frames).values())
    texts = [one.text for one in answers], [one.text for one in references]
    vectors = timed(f"TF-IDF fitted, {2 * m:,} texts", lambda: run_vectors([*answers, *references]))
    timed(f"TF-IDF, all {m:,} × {m:,}", lambda: cosine_matrix(vectors, *texts))
    wanted = looks_different(frames, list(frames["frame_id"]))
    ratios = timed("difflib, sample of other pairs", lambda: difflib_sample(answers, references, wanted))
    print(f"    {np.count_nonzero(~np.isnan(ratios)):,} pairs")
    facts = [[one.facts for one in sides] for sides in (answers, references)]
    timed(f"F1 of names and numbers, all {m:,} × {m:,}", lambda: fidelity_matrix(*facts))
    timed("compare_levels", lambda: compare_levels(requests, frames, 0.05, scores))
    timed("compare_models", lambda: compare_models(requests, frames, 0.05))
    table = timed("summarize_calibration", lambda: summarize_calibration(requests, frames, 0.8))
    print(f"    {len(table)} rows")


if __name__ == "__main__":
    main()
