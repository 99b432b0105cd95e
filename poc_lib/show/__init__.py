"""What people see of a run: tables, the verdict, galleries. Its pages, made of notebooks, are in pages.py.

Each part is HTML and Markdown that say the same, filled from a pair of templates under templates/parts.
Whatever these are given passes ``poc_lib.text`` on its way: foreign text can be nothing but text.
"""

import base64
import io
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from poc_lib import metrics, text
from poc_lib.analysis import Analysis
from poc_lib.metrics.agreement import TIMED
from poc_lib.metrics.speedup import NOT_RECOMMENDED, STEPS, count, interval, step_of
from poc_lib.params import Params
from poc_lib.records import Finding, Frame
from poc_lib.runs import list_runs, read_events, replace_file, write_json

TEMPLATES = Path(__file__).resolve().parent / "templates"
STATES = {"problem": "problem", "warning": "warning", "note": "note", "ok": "fine"}  # the gravest first
CRITERION_STATES = {"problem": "not met", "warning": "open", "note": "not known", "ok": "met"}
HARMLESS = re.compile(r"(?!.*www)(?!\d+[.)]\s)[\d.,%()×·–∞a-z ]+")  # needs no escaping in Markdown
MOST_CHARS = 1_000  # of a text in a gallery

FILES = ("run.json", "requests.jsonl", "events.jsonl", "telemetry.jsonl", "verdict.json", "tables/README.md")
LEVELS = {
    "server": "{server}",
    "in flight": "{concurrency}",
    "measured": "{measured}",
    "frames/s": "{frames_per_s:.2f}",
    "× baseline": "{gain}",
    "output tok/s": "{output_tok_per_s:.0f}",
    "first token p50 · p95, s": "{ttft_p50_s:.2f} · {ttft_p95_s:.2f}",
    "answer p50 · p95, s": "{total_p50_s:.2f} · {total_p95_s:.2f}",
    "answer tail, s": "{tail}",
    "match": "{match_rate:.0%}",
    "like baseline": "{base_ratio:.2f}",
    "codes right": "{n_code_own} of {n_proof:.0f}",
    "failed": "{n_failed} of {n_sent}",
}
LEVELS_CAPTION = (
    "Bold: chosen. Tail: p99 from 100 answers on, else the maximum. Match: share of answers over 0.8 alike "
    "the stored text (difflib). Like baseline: mean likeness to the baseline's answers, one at a time."
)
RUNS = {
    "run": "{run_id}",
    "candidate": "{candidate}",
    "in flight": "{level}",
    "verdict": "{label}",
    "speed-up": "{gain}",
    "against the first run": "{changed}",
    "frames/s": "{frames_per_s:.2f}",
    "first token p50, s": "{ttft_p50_s:.2f}",
    "like stored text": "{ref_ratio:.2f}",
    "others' codes": "{n_code_other} of {n_proof}",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing to look at: HTML for a notebook and its page, Markdown for report.md."""

    html: str
    markdown: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/markdown": self.markdown, "text/plain": self.markdown}


def thumbnail(path: Path) -> str:
    """A small JPEG of an image as a data URI; "" where it cannot be read."""
    buffer = io.BytesIO()
    with suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
        image.thumbnail((400, 400))
        image.convert("RGB").save(buffer, "JPEG", quality=50, optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return encoded and f"data:image/jpeg;base64,{encoded}"


def _escape(kind: str, value: Any) -> Markup:
    if hasattr(value, "__html__") or (kind == "md" and HARMLESS.fullmatch(str(value))):
        return Markup(value)
    return Markup(text.html(value) if kind == "html" else text.markdown(value))


OPTIONS = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
LOADER = FileSystemLoader(TEMPLATES / "parts")
ENVIRONMENTS = {
    kind: Environment(loader=LOADER, finalize=partial(_escape, kind), **OPTIONS) for kind in ("html", "md")
}
ENVIRONMENTS["html"].filters["thumbnail"] = thumbnail


def render_part(name: str, **context: Any) -> Shown:
    """The part of that name under templates/parts, filled; every text in the context is escaped."""
    html, markdown = (
        environment.get_template(f"{name}.{kind}.j2").render(context).strip("\n")
        for kind, environment in ENVIRONMENTS.items()
    )
    return Shown(html, re.sub(r"\n{3,}", "\n\n", markdown))


def say(sentence: str) -> Shown | None:
    """One sentence as a paragraph; None where there is none to say."""
    return render_part("say", sentence=sentence) if sentence else None


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    caption: str = "",
    empty: str = "Nothing to show.",
    marked: str = "",
    fold: str = "",
) -> Shown | None:
    """A frame as a table; ``columns``: heading -> template, as {"frames/s": "{frames_per_s:.2f}"}; None: all.

    A missing value is a dash. Rows in which the column ``marked`` is true are bold; with a text ``fold`` the
    table opens at a click. Without rows the sentence ``empty`` is shown, and nothing where it is "".
    """
    if frame.empty:
        return say(empty)
    columns = columns or {str(name).replace("_", " "): f"{{{name}}}" for name in frame}
    cells, numeric, rows = [], [], frame.to_dict("records")
    for template in columns.values():
        names = [name for _, name, _, _ in Formatter().parse(template) if name]
        gaps = frame[names].isna().any(axis=1)
        cells.append(["–" if gap else template.format_map(row) for row, gap in zip(rows, gaps, strict=True)])
        numeric.append(all(map(pd.api.types.is_numeric_dtype, frame[names].dtypes)))
    bold = [row.get(marked) is True for row in rows]
    rows = list(zip(zip(*cells, strict=True), bold, strict=True))
    return render_part("table", heads=list(columns), rows=rows, numeric=numeric, caption=caption, fold=fold)


def params_table(params: Params) -> Shown:
    """Every parameter with its value and meaning, folded."""
    rows = [(n, getattr(params, n), field.description) for n, field in type(params).model_fields.items()]
    frame = pd.DataFrame(rows, columns=["parameter", "value", "meaning"]).astype(str)
    return table(frame, fold="All parameters")


def findings(
    found: Iterable[Finding], about: str = "", but: Sequence[str] = (), empty: str = "Nothing was found."
) -> Shown | None:
    """Judged sentences of a kind, or of all but some, the gravest first; ``empty`` as for a table."""
    chosen = [finding for finding in found if about in ("", finding.about) and finding.about not in but]
    if not chosen:
        return say(empty)
    if about == "criteria":  # these keep their order
        return render_part("findings", findings=chosen, names=CRITERION_STATES)
    chosen.sort(key=lambda finding: list(STATES).index(finding.state))
    return render_part("findings", findings=chosen, names=STATES)


def samples(analysis: Analysis) -> Shown:
    """Three answers at the chosen level, the least alike the stored text or the baseline's answer first."""
    answers, levels = analysis.answers, analysis.levels
    good = answers[answers["error_class"].isna() & answers["phase"].isin(TIMED)]
    said = good["description"].fillna(good["text"]).astype(str).str[:MOST_CHARS]
    good = good.assign(said=said, alike=good["ref_ratio"].fillna(good["base_ratio"]).astype(float))
    chosen = levels.loc[levels["chosen"].eq(True) & levels["role"].eq("candidate"), "concurrency"]
    rows = good[good["role"].eq("candidate") & (good["concurrency"].isin(chosen) | chosen.empty)]
    if rows.empty:
        return say("No answer can be shown: there is none.")
    baseline = good[good["role"].eq("baseline")].sort_values("concurrency", kind="stable")[::-1]
    others = {row.frame_id: (row.server, row.said) for row in baseline.itertuples()}
    rows, cards = rows.sort_values("alike", kind="stable").drop_duplicates("frame_id"), []
    for row in rows.iloc[sorted({0, len(rows) // 2, len(rows) - 1})].itertuples():
        frame = analysis.frames[row.frame_id]
        whose, other = others.get(row.frame_id, ("no text to hold it against", ""))
        if stored := frame.reference:
            whose, other = f"stored, by {stored.model or 'an earlier model'}", stored.description[:MOST_CHARS]
        answer_pieces, other_pieces = mark_differences(row.said, other)
        texts = [(f"{row.server}, {row.concurrency} in flight", answer_pieces), (whose, other_pieces)]
        cards.append(([frame], f"alike: {interval(row.alike, unit='')}", texts))
    return render_part("gallery", cards=cards, is_shown=analysis.params.screenshots)


def worst_pairs(analysis: Analysis) -> Shown | None:
    """Answers that are, or look, about another image: what was sent, what it is about; None without any."""
    cards = []
    for row in metrics.worst_pairs(analysis.answers).itertuples():
        note, code = f"looks as if about another image: {row.kind}", "\0"
        if row.kind == "code":
            note, code = f"proven: its image shows {row.code}", row.code_read
        parts = re.split(f"({re.escape(code)})", row.text[:MOST_CHARS])
        said = [("mark" if part == code else "same", part) for part in parts]
        frames = [analysis.frames[key] for key in (row.frame_id, row.donor_frame) if key in analysis.frames]
        cards.append((frames, note, [(f"{row.server}, {row.concurrency} in flight", said)]))
    return render_part("gallery", cards=cards, is_shown=analysis.params.screenshots) if cards else None


def frame_gallery(frames: Sequence[Frame], n: int = 3, screenshots: bool = False) -> Shown:
    """Frames spread over the recording, each with the description stored for it."""
    cards = []
    for frame in frames[:: max(1, len(frames) // n)][:n]:
        stored = frame.reference.description[:MOST_CHARS] if frame.reference else ""
        cards.append(([frame], "", [("stored", [("same", stored)] if stored else [])]))
    return render_part("gallery", cards=cards, is_shown=screenshots)


def mark_differences(answer: str, other: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Both texts in pieces: "ins" only the answer has, "del" it lacks, "same" but for case and marks."""
    left, right = (re.findall(r"\w+\W*|\W+", text) for text in (answer, other))
    keys = [[re.sub(r"\W+", "", word).casefold() for word in words] for words in (left, right)]
    found = SequenceMatcher(None, *keys, autojunk=False).get_opcodes()
    return (
        [("same" if tag == "equal" else "ins", "".join(left[a:b])) for tag, a, b, _, _ in found if b > a],
        [("same" if tag == "equal" else "del", "".join(right[a:b])) for tag, _, _, a, b in found if b > a],
    )


def banner(analysis: Analysis) -> Shown:
    """The decision with its reason and its reservations, and what was measured, on top of everything."""
    starts = {NOT_RECOMMENDED: f"below {STEPS[0][0]:g} ×"}
    starts |= {name: f"from {start:g} ×" for start, name in STEPS}
    names, verdicts = list(starts), []
    for v in analysis.verdicts:
        title, steps = v.headline[: v.headline.index(": ", len(v.label))], []
        if not pd.isna(v.low) and step_of(v.low) == v.label:  # else speed did not decide
            at, top = names.index(v.label), names.index(step_of(v.high)) if v.open_above else 0
            steps = [(name, starts[name], i == at, at < i <= top) for i, name in enumerate(names)]
        parts = {"label": title, "headline": v.headline.removeprefix(f"{title}: "), "steps": steps}
        verdicts.append(asdict(v) | parts | {"is_reserved": v.proof != "met" or ". But " in v.headline})
    return render_part("banner", analysis=analysis, verdicts=verdicts)


def levels_table(analysis: Analysis) -> Shown:
    """Speed and quality of every server and level: the one table to compare numbers in."""
    whole = analysis.answers[analysis.answers["complete"].eq(True)]
    n_blocks = whole.groupby(["server", "concurrency", "phase"])["block"].nunique()
    verdicts = {(v.candidate, v.level): v for v in analysis.verdicts if not pd.isna(v.speedup)}
    rows = analysis.levels.to_dict("records")
    for row in rows:
        at = row["server"], row["concurrency"]
        n, v = n_blocks.get((*at, row["source"]), 0), verdicts.get(at)
        row["measured"] = "pilot" if row["source"] == "pilot" else count(n, "block")
        row["gain"] = interval(v.speedup, v.low, v.high) if v else interval(row["pilot_speedup"])
        tail, column = ("max", "slowest_s") if pd.isna(row["total_p99_s"]) else ("p99", "total_p99_s")
        row |= {"tail": f"{tail} {interval(row[column], unit='')}", "n_proof": row["n_proof"] or None}
    caption = f"n ≥ {analysis.levels['n_answered'].min():.0f} answers a row. {LEVELS_CAPTION}"
    return table(pd.DataFrame(rows), LEVELS, caption, empty="No level was measured.", marked="chosen")


def failures_table(analysis: Analysis) -> Shown:
    """How many requests failed where and how, with the first message of each kind."""
    rows = analysis.answers.query("error_class != 'aborted'")  # given up on purpose; an answer has no class
    messages = rows.groupby(["server", "concurrency", "phase", "error_class"], sort=False)["error_message"]
    counts = messages.agg(n="size", error_message="first").reset_index()
    return table(counts, empty="No request failed.")


def next_steps(analysis: Analysis) -> Shown:
    """What the findings ask for; report.md has the verdict before it, once more."""
    to_dos = [f.to_do for state in STATES for f in analysis.findings if f.state == state and f.to_do]
    return render_part("next", to_dos=list(dict.fromkeys(to_dos)), verdicts=analysis.verdicts)


def reproduce(analysis: Analysis) -> Shown:
    """The command that measures the same again, and links to the run's files."""
    defaults = Params().model_dump(exclude={"run_id", "outputs_dir"})
    words = ["python -m poc_lib run"]
    for name, value in analysis.run.facts["params"].items():
        if name in defaults and value != defaults[name]:
            values = value if isinstance(value, list) else [] if isinstance(value, bool) else [value]
            texts = [json.dumps(v) if isinstance(v, dict) else text.one_line(v, None) for v in values]
            words += [f"--{'no-' * (value is False)}{name}", *map(shlex.quote, texts)]
    files = [name for name in FILES if (analysis.run.folder / name).is_file()]
    return render_part("reproduce", command=" ".join(words), files=files)


def write_tables(analysis: Analysis) -> Shown:
    """Write tables/*.csv, tables/README.md and verdict.json of a run; SetupProblem where the disk is full."""
    folder = analysis.run.folder
    tables = {name: getattr(analysis, name) for name in ("answers", "levels", "blocks")}
    tables["findings"] = pd.DataFrame(analysis.findings, columns=Finding.__slots__)
    for name, frame in tables.items():
        write_csv(folder / "tables" / f"{name}.csv", frame)
    readme = render_part("readme", metrics=metrics).markdown
    replace_file(folder / "tables" / "README.md", f"{readme}\n".encode())
    facts, keys = analysis.run.facts, ("name", "role", "software", "version", "model")
    verdict = {"run_id": analysis.run.run_id, "created_at": facts.get("created_at")}
    verdict["servers"] = [{key: server.get(key) for key in keys} for server in facts["servers"]]
    verdict["verdicts"] = [asdict(verdict) for verdict in analysis.verdicts]
    write_json(folder / "verdict.json", verdict)
    return say(f"Written: verdict.json, tables/README.md and {', '.join(f'{name}.csv' for name in tables)}.")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table that opens in a spreadsheet without any of its cells becoming a formula."""
    data = frame.map(text.csv_cell).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    replace_file(path, data.encode("utf-8", "replace"))


def runs_table(outputs: Path) -> str:
    """One line a run below a folder, newest first: when, whether it is finished, what came out."""
    lines = []
    for run in list_runs(outputs):
        state = "" if any(event["event"] == "finished" for event in read_events(run)) else "not finished; "
        labels, at = "not analysed", str(run.facts.get("created_at"))[:16].replace("T", " ")
        with suppress(OSError, ValueError, KeyError, TypeError):  # no verdict.json, or a damaged one
            verdicts = json.loads((run.folder / "verdict.json").read_text(encoding="utf-8"))["verdicts"]
            labels = "; ".join(f"{v['candidate']}: {v['label']}" for v in verdicts) or labels
        lines.append(f"{text.one_line(run.run_id):<32}  {at}  {state}{text.one_line(labels)}")
    return "\n".join(lines) or f"no run in {outputs}"


def verdict_text(folder: Path) -> str:
    """The levels and the verdict of an analysed run for a terminal, from its tables/ and verdict.json."""
    shown = ["server", "concurrency", "source", "frames_per_s", "ttft_p50_s", "total_p50_s", "n_failed"]
    rows = pd.read_csv(folder / "tables" / "levels.csv")[shown]  # written without control characters
    verdicts = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["verdicts"]
    lines = [text.one_line(verdict["headline"], 1000) for verdict in verdicts]
    return "\n".join([rows.to_string(index=False, float_format="{:.2f}".format, na_rep="–"), "", *lines])


def comparison_table(rows: pd.DataFrame) -> Shown | None:
    """Runs side by side, as metrics.compare_runs gives them; None without any."""
    if rows.empty:
        return None
    pairs = {"gain": ["speedup", "low", "high"], "changed": ["change", "change_low", "change_high"]}
    rows = rows.assign(change=rows["change"].where(rows["run_id"] != rows["run_id"].iloc[0]))
    shown = {name: [interval(*row) for row in rows[columns].to_numpy()] for name, columns in pairs.items()}
    caption = f"n = {len(rows)}, a row a run and candidate. Intervals as in the verdicts."
    return table(rows.assign(**shown), RUNS, caption)
