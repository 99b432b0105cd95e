"""Is every answer about its own image? Proof by the code on the image, and two plain signs without one.

Proof: a code that belongs to another request. To clear an answer one misread character is tolerated; to
accuse it the other code must stand there exactly, or exactly as its own answer misread it, and its request
must have been sent before the answer ended.

Signs, for answers without a code, count answers. An answer fits a frame as well as its mean cosine with what
the other servers say of it without load; its own frame, also as with the stored reference. One that does not
fit its own frame is a duplicate where it is word for word the answer to a frame that looks different, and
a wrong neighbour where it fits such a frame clearly better.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from scipy.sparse import csr_matrix

from poc_lib.client.stamp import judge_code
from poc_lib.images import LOOKS_DIFFERENT_BITS
from poc_lib.metrics.agreement import VectorsOf, cosines, vectorize_texts
from poc_lib.metrics.speedup import binomial_upper
from poc_lib.records import Finding, Frame

PROOF_COLUMNS = ["code_read", "proof", "donor_request", "donor_frame", "donor_in_flight", "donor_ago_s"]
FITS, MARGIN = 0.4, 0.15  # cosine of an answer that fits a frame; how much more is clearly better
FITS_NOTHING = 0.1  # a repeated answer below this is about nothing that was said of its frame
FEW_WORDS, MANY_WORDS = 4, 12  # fewer are no evidence; so many are, though nobody else spoke of the frame
CONTAMINATED = 0.1  # of a server's unloaded answers are duplicates: it is nobody's yardstick
SIGNS_ALLOWED = 0.05  # of a level's answers
READS_ENOUGH = 0.8  # of the codes at one request at a time: below, the model cannot prove
CHUNK_ROWS = 512
CELL = ["server", "phase", "concurrency", "block", "sitting"]
CURE = "Do not use it so: switch its prefix cache off (vllm-mlx: --disable-prefix-cache), or update it."


def is_suspicious(n_signs: int, n_texts: int) -> bool:
    """Whether more than one answer in twenty, and at least two, look as if they were about another image."""
    return n_signs >= 2 and n_signs > SIGNS_ALLOWED * n_texts


def judge_codes(rows: pd.DataFrame) -> pd.DataFrame:
    """PROOF_COLUMNS of requests in sending order; of a failed one only another's code counts."""
    found = {}
    for _, stamped in rows[rows["code"].notna() & rows["text"].notna()].groupby("server"):
        sent = {row.code: row for row in stamped.itertuples()}
        alone = {own: judge_code(row.text, own, []) for own, row in sent.items()}
        for own, row in sent.items():
            code, end = alone[own], (row.sitting, row.start_s + row.total_s)
            if code.whose == "none" and code.read:
                before = [c for c, other in sent.items() if (other.sitting, other.start_s) < end and c != own]
                code = judge_code(row.text, own, before)
            if code.whose == "other" and code.read in (code.other, alone[code.other].read):
                donor = sent[code.other]
                is_before = row.sitting != donor.sitting
                ago_s = np.nan if is_before else row.start_s - (donor.start_s + donor.total_s)
                donated = (donor.request_id, donor.frame_id, ago_s < 0, None if ago_s < 0 else ago_s)
                found[row.Index] = (code.read, "other", *donated)
            elif not isinstance(row.error_class, str):
                found[row.Index] = (code.read, "own" if code.whose == "own" else "none", *[None] * 4)
    table = pd.DataFrame.from_dict(found, orient="index", columns=PROOF_COLUMNS).reindex(rows.index)
    types = dict.fromkeys(PROOF_COLUMNS[:4], "str") | {"donor_in_flight": "boolean", "donor_ago_s": float}
    return table.astype(types).fillna({"proof": ""})


def whole_text(told: Any) -> str:
    """All that an answer or a stored reference says: description, activity, apps and topics."""
    return " ".join([told.description, told.activity or "", *(told.apps or ()), *(told.topics or ())])


def find_signs(rows: pd.DataFrame, frames: Sequence[Frame]) -> pd.DataFrame:
    """``sign`` and ``sign_of`` of each row: "" where an answer shows none, or none can be told.

    Frames that look alike, or whose look is not known, accuse nobody. Unloaded answers are those at a
    server's lowest level; one that repeats itself in a tenth of them is nobody's yardstick. The rows have
    ``said``, the whole text of an answer, "" for a failed one.
    """
    looks = {frame.frame_id: int(frame.look, 16) for frame in frames if frame.look}
    texts = rows[rows["code"].isna() & rows["frame_id"].isin(looks)]
    texts = texts.assign(words=texts["said"].str.casefold().str.findall(r"\w+").str.join(" "))
    texts = texts.assign(n_words=texts["words"].str.count(" ") + 1)
    texts = texts[texts["n_words"] >= FEW_WORDS]
    stored = {frame.frame_id: whole_text(frame.reference) for frame in frames if frame.reference}
    references = [stored.get(frame_id, "") for frame_id in texts["frame_id"]]
    vectors_of = vectorize_texts(texts["said"], references)
    stored_fit = cosines(vectors_of(texts["said"]), vectors_of(references))
    place, frame_ids = pd.factorize(texts["frame_id"])
    look_of = np.array([looks[frame_id] for frame_id in frame_ids], dtype=np.uint64)
    texts = texts.assign(place=place, stored_fit=stored_fit, is_stored=list(map(bool, references)))
    lowest = texts.groupby("server")["concurrency"].transform("min")
    unloaded = texts[(texts["concurrency"] == lowest) & (texts["phase"] != "open_loop")]
    spoilt, found = set(), {}
    for _ in range(2):  # who repeats himself without load, and is no yardstick, is known after the first
        found = {}
        sound = unloaded[~unloaded["server"].isin(spoilt)]
        for server, own in texts.groupby("server"):
            others = sound[sound["server"] != server]
            others = sound if others.empty else others  # alone it is held, under load, against itself
            own = fit_frames(own, others, vectors_of, look_of)
            is_wrong = (own["fit"] < FITS) & (own["best_fit"] >= FITS) & own["is_spoken"]
            wrong = own[is_wrong & (own["best_fit"] - own["fit"] >= MARGIN)]
            found |= {at: ("wrong neighbour", frame_ids[best]) for at, best in wrong["best"].items()}
            own["is_known"] = own["is_spoken"] | own["is_stored"] | (own["n_words"] >= MANY_WORDS)
            for _, same in own[own["words"].duplicated(keep=False)].groupby("words"):
                owner = same.loc[same["fit"].idxmax()]
                is_off = (same["fit"] < FITS_NOTHING) & same["is_known"]
                is_off = (same["fit"] < FITS) & (is_off | (owner["fit"] - same["fit"] >= MARGIN))
                bits = np.bitwise_count(look_of[same["place"]] ^ look_of[owner["place"]])
                victims = same.index[is_off & (bits >= LOOKS_DIFFERENT_BITS)]
                found |= dict.fromkeys(victims, ("duplicate", owner["request_id"]))
        is_repeat = [found.get(at, ("",))[0] == "duplicate" for at in unloaded.index]
        share = pd.Series(is_repeat, unloaded.index).groupby(unloaded["server"]).mean()
        spoilt = set(share.index[share >= CONTAMINATED])
    table = pd.DataFrame.from_dict(found, orient="index", columns=["sign", "sign_of"])
    return table.reindex(rows.index).astype("str").fillna("")


def fit_frames(
    own: pd.DataFrame, others: pd.DataFrame, vectors_of: VectorsOf, look_of: np.ndarray
) -> pd.DataFrame:
    """A server's answers with ``fit`` (with their own frame), ``best`` and ``best_fit`` (with the frame of
    another look that they fit best) and ``is_spoken``: whether another answer speaks of their own frame."""
    counts = np.bincount(others["place"], minlength=len(look_of))
    weights = 1 / counts[others["place"]], (others["place"], np.arange(len(others)))
    told = csr_matrix(weights, shape=(len(look_of), len(others))) @ vectors_of(others["said"])
    is_itself = own.index.isin(others.index)  # no answer measures itself
    parts = []
    for start in range(0, len(own), CHUNK_ROWS):
        part = own.iloc[start : start + CHUNK_ROWS]
        at, each = part["place"].to_numpy(), np.arange(len(part))
        fits = (vectors_of(part["said"]) @ told.T).toarray()  # 0 where nothing is said of a frame
        own_fit = fits[each, at]
        fits[np.bitwise_count(look_of[at][:, None] ^ look_of) < LOOKS_DIFFERENT_BITS] = 0.0
        parts.append(np.column_stack([own_fit, fits.argmax(axis=1), fits.max(axis=1)]))
    own_fit, best, best_fit = np.concatenate(parts).T
    return own.assign(
        fit=np.maximum(own["stored_fit"], np.where(is_itself, 0.0, own_fit)),
        best=best.astype(int),
        best_fit=best_fit,
        is_spoken=~is_itself & (counts[own["place"]] > 0),
    )


def is_proven(level: Any) -> bool:
    """Whether a level's row has codes that were read and were all its own: then signs accuse nobody."""
    return not level.n_code_other and level.n_code_own >= READS_ENOUGH * level.n_proof > 0


def proof_findings(answers: pd.DataFrame, levels: pd.DataFrame) -> list[Finding]:
    """What the codes prove and the signs suggest, as sentences about "proof"."""
    found: list[tuple] = []
    lowest = levels.groupby("server")["concurrency"].min()
    for row in levels.itertuples():
        here = answers[(answers["server"] == row.server) & (answers["concurrency"] == row.concurrency)]
        at = f"{row.server}'s answers at {row.concurrency} in flight"
        if row.n_code_other:
            text = f"{row.n_code_other} of {row.n_code_own + row.n_code_other} of {at} "
            text += "were about another image: they carry its code."
            text += tell_donors(answers, here[here["proof"] == "other"])
            found.append((row, "problem", text, CURE))
        elif is_suspicious(row.n_signs, row.n_texts) and not is_proven(row):
            text = f"{row.n_signs} of {row.n_texts} of {at} look as if they were about another image: "
            text += f"{row.n_duplicates} repeat the answer to a frame that looks different, "
            text += f"{row.n_wrong_neighbours} fit another frame's answers clearly better than their own's."
            text += tell_donors(answers, here[here["sign"] != ""])
            if row.concurrency == lowest[row.server] and row.n_duplicates >= CONTAMINATED * row.n_texts:
                text += " So they do with least load: the yardstick itself is spoilt."
            found.append((row, "problem", text, CURE))
    for server, proven in levels[levels["n_proof"] > 0].groupby("server", sort=False):
        first, n = next(proven.itertuples()), int(proven["n_code_own"].sum())
        if proven["n_code_other"].any():
            continue
        state, to_do = "ok", ""
        text = f"{server}: none of {n} codes at {', '.join(map(str, proven['concurrency']))} in flight was "
        text += f"another image's, so at most {binomial_upper(0, n):.1%} of answers are mixed up (95% bound)."
        if first.n_code_own < READS_ENOUGH * first.n_proof:
            state, to_do = "warning", "Use a model that reads the strip."
            text = f"{server} read {first.n_code_own} of {first.n_proof} of its own codes at "
            text += f"{first.concurrency} in flight: too few to prove."
        found.append((first, state, text, to_do))
    return [Finding("proof", *what, row.server, row.concurrency) for row, *what in found]


def donor_frames(answers: pd.DataFrame) -> pd.Series:
    """The frame that each answer is about, or looks as if it were, where that is not its own."""
    frame_of = answers.set_index("request_id")["frame_id"]
    seeming = answers["sign_of"].map(frame_of).fillna(answers["sign_of"])
    return answers["donor_frame"].fillna(seeming)


def tell_donors(answers: pd.DataFrame, victims: pd.DataFrame) -> str:
    """How many victims' donors were in flight with them, and whether by chance.

    In drawn order each is with (level - 1) ÷ (requests of its cell - 1); binomial, exact, one-sided.
    """
    pairs = victims.assign(donor=donor_frames(answers)).merge(
        answers[["server", "sitting", "frame_id", "start_s", "total_s"]],
        left_on=["server", "sitting", "donor"],
        right_on=["server", "sitting", "frame_id"],
        suffixes=("", "_donor"),
    )
    since_s = pairs["start_s"] - pairs["start_s_donor"]
    overlap = (since_s < pairs["total_s_donor"]) & (-since_s < pairs["total_s"])
    k, n = pairs.loc[overlap, "request_id"].nunique(), len(victims)
    sizes = answers.groupby(CELL)["request_id"].transform("size")[victims.index]
    chance = ((victims["concurrency"] - 1) / (sizes - 1)).clip(upper=1).mean()
    p_value = special.bdtrc(k - 1, n, chance) if k else 1.0
    more = f", more often than by chance (p = {p_value:.1g})" if p_value < 0.05 else ""
    text, ago_s = (
        f" That image was in flight with it in {k} of {n} cases{more}",
        victims["donor_ago_s"].dropna(),
    )
    if ago_s.empty:
        return f"{text}."
    return f"{text}; in {len(ago_s)} it had been answered {ago_s.min():.1f} to {ago_s.max():.1f} s before."


def worst_pairs(answers: pd.DataFrame, n: int = 3) -> pd.DataFrame:
    """Up to ``n`` answers that are, or look, about another image: proven ones first, a frame once.

    The answers' columns and ``kind``: "code", "duplicate" or "wrong neighbour"; donor_frame for all of them.
    """
    kind = answers["sign"].where(answers["proof"] != "other", "code")
    pairs = answers.assign(kind=kind, donor_frame=donor_frames(answers))[kind != ""]
    return pairs.sort_values("kind", kind="stable").drop_duplicates("frame_id").head(n)
