"""Is every answer about its own image? Proof by the code on the image, and two plain signs without one.

Proof: a code that belongs to another request. To clear an answer one misread character is tolerated; to
accuse it the other code must stand there exactly, or exactly as its own answer misread it, and its request
must have been sent before the answer ended.

Signs, for answers without a code. Duplicate: word for word the answer to a frame that looks different, unless
what others say of its frame bears it out. Wrong neighbour: it fits what was said of another frame without
load, by this server and the others, clearly better than anything known of its own. A sign counts answers.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from scipy.sparse import csr_matrix

from poc_lib.client.stamp import judge_code
from poc_lib.images import LOOKS_DIFFERENT_BITS
from poc_lib.metrics.agreement import TextVectors
from poc_lib.metrics.speedup import binomial_upper
from poc_lib.records import Finding, Frame, Reference

PROOF_COLUMNS = ["code_read", "proof", "donor_request", "donor_frame", "donor_in_flight", "donor_ago_s"]
MIN_FIT, MARGIN = 0.3, 0.15  # cosine with the other frame's answers, and how much less with its own
SUPPORTED = 0.5  # of an answer's rare words occur in what others say of its frame: a duplicate in order
FEW_WORDS, MANY_WORDS = 4, 8  # rare words: fewer are no evidence; so many are, though nobody else spoke
CONTAMINATED = 0.1  # of a server's unloaded answers show a sign: they are no yardstick for it
SIGNS_ALLOWED = 0.05  # of a level's answers
READS_ENOUGH = 0.8  # of the codes at one request at a time: below, the model cannot prove
CHUNK_ROWS = 512
CELL = ["server", "phase", "concurrency", "block", "sitting"]
CURE = (
    "Do not use it like this: switch its prefix cache off (vllm-mlx: --disable-prefix-cache), or update it."
)


def is_suspicious(n_signs: int, n_texts: int) -> bool:
    """Whether more than one answer in twenty, and at least two, look as if they were about another image."""
    return n_signs >= 2 and n_signs > SIGNS_ALLOWED * n_texts


def judge_codes(rows: pd.DataFrame) -> pd.DataFrame:
    """PROOF_COLUMNS of requests in sending order; of a failed one only another's code counts."""
    found = {}
    for _, stamped in rows[rows["code"].notna()].groupby("server"):
        stamped = stamped[stamped["text"].notna()]
        sent = {row.code: row for row in stamped.itertuples()}
        alone = {own: judge_code(row.text, own, []) for own, row in sent.items()}
        for own, row in sent.items():
            code, end = alone[own], (row.sitting, row.start_s + row.total_s)
            if code.whose == "none" and code.read:
                before = [c for c, one in sent.items() if (one.sitting, one.start_s) < end and c != own]
                code = judge_code(row.text, own, before)
            if code.whose == "other" and code.read in (code.other, alone[code.other].read):
                donor = sent[code.other]
                since_s = row.start_s - (donor.start_s + donor.total_s)
                ago_s = since_s if row.sitting == donor.sitting else np.nan
                donated = (donor.request_id, donor.frame_id, ago_s < 0, None if ago_s < 0 else ago_s)
                found[row.Index] = (code.read, "other", *donated)
            elif not isinstance(row.error_class, str):
                found[row.Index] = (code.read, "own" if code.whose == "own" else "none", *[None] * 4)
    table = pd.DataFrame.from_dict(found, orient="index", columns=PROOF_COLUMNS).reindex(rows.index)
    types = dict.fromkeys(PROOF_COLUMNS[:4], "str") | {"donor_in_flight": "boolean", "donor_ago_s": float}
    return table.astype(types).fillna({"proof": ""})


def find_signs(rows: pd.DataFrame, frames: Sequence[Frame], vectors: TextVectors) -> pd.DataFrame:
    """``sign`` and ``sign_of`` of each row: "" where an answer shows none, or none can be told.

    Frames that look alike, or whose look is not known, accuse nobody. Unloaded answers are those at a
    server's lowest level; where a tenth of them are duplicates, a server is nobody's yardstick, and where a
    tenth show either sign, none for itself.

    Args:
        rows: requests in sending order with ``compared`` ("" for a failed one) and ``ref_cosine``.
        vectors: of all texts compared.
    """
    found = pd.DataFrame({"sign": "", "sign_of": ""}, index=rows.index)
    texts = rows[(rows["compared"] != "") & rows["code"].isna()]
    if texts.empty:
        return found
    known = {frame.frame_id: frame for frame in frames}
    ids = sorted(set(texts["frame_id"]))
    looks = [known[f].look if f in known else None for f in ids]
    bits, seen = np.array([[int(look or "0", 16), bool(look)] for look in looks], dtype=np.uint64).T
    unlike = np.bitwise_count(bits[:, None] ^ bits) >= LOOKS_DIFFERENT_BITS
    unlike &= (seen[:, None] & seen) > 0
    references = [known[f].reference if f in known else None for f in ids]
    lowest = texts.groupby("server")["concurrency"].transform("min")
    texts = texts.assign(
        place=pd.Index(ids).get_indexer(texts["frame_id"]),
        unloaded=(texts["concurrency"] == lowest) & (texts["phase"] != "open_loop"),
        words=[" ".join(re.findall(r"\w+", text.casefold())) for text in texts["text"]],
    )
    texts = _support(texts, references)
    by_server = list(texts.groupby("server"))
    for _, own in by_server:
        for victim, donor in find_duplicates(own, unlike):
            found.loc[victim] = ["duplicate", donor]
    repeats = found["sign"] != ""
    unloaded = texts[texts["unloaded"]]
    sound = unloaded[repeats[unloaded.index].groupby(unloaded["server"]).transform("mean") < CONTAMINATED]
    for server, own in by_server:
        others, alone = sound[sound["server"] != server], own[own["unloaded"]]
        accused = set(_wrong_neighbours(alone, [others], unlike, vectors))
        is_spoilt = (repeats[alone.index] | alone.index.isin(accused)).mean() >= CONTAMINATED
        yardsticks = [others] if is_spoilt else [others, alone]
        for index, place in _wrong_neighbours(own, yardsticks, unlike, vectors).items():
            if not repeats[index]:
                found.loc[index] = ["wrong neighbour", ids[place]]
    return found


def _support(texts: pd.DataFrame, references: Sequence[Reference | None]) -> pd.DataFrame:
    """The texts with ``n_rare``, their words that are in at most half of the run's distinct texts, and
    ``cover``: the share of their words, weighed by rarity, in what others say of the frame (NaN: nobody).
    """
    from sklearn.feature_extraction.text import CountVectorizer  # a second to import

    told = {
        i: " ".join([one.description, one.activity or "", *(one.apps or ()), *(one.topics or ())])
        for i, one in enumerate(references)
        if one
    }
    corpus = [*texts["words"], *told.values()]
    said = CountVectorizer(binary=True, token_pattern=r"\w+").fit_transform([*corpus, "a"])
    first = np.unique(corpus, return_index=True)[1]  # of each distinct text
    n_with = np.asarray(said[first].sum(axis=0)).ravel()
    weights = said.multiply(np.log((1 + len(first)) / (1 + n_with)) + 1e-9).tocsr()
    place = np.array([*texts["place"], *told], dtype=int)
    speaker = np.array([*texts["server"], *([""] * len(told))], dtype=object)
    speaks = np.array([*texts["unloaded"], *([True] * len(told))], dtype=bool)
    cover = np.full(len(texts), np.nan)
    for server in texts["server"].unique():
        others = np.flatnonzero(speaks & (speaker != server))
        own = np.flatnonzero((texts["server"] == server) & np.isin(texts["place"], place[others]))
        voices = _sums(place[others], said[others], len(references)) > 0
        heard, total = weights[own].multiply(voices[place[own]]).sum(axis=1), weights[own].sum(axis=1)
        cover[own] = np.asarray(heard).ravel() / np.maximum(np.asarray(total).ravel(), 1e-12)
    n_rare = said[: len(texts), np.flatnonzero(n_with <= max(1, len(first) / 2))].sum(axis=1)
    return texts.assign(cover=cover, n_rare=np.asarray(n_rare).ravel())


def _sums(places: np.ndarray, vectors: csr_matrix, n_frames: int) -> csr_matrix:
    """The sum of the vectors of each frame, one row a frame."""
    shape = (n_frames, len(places))
    return csr_matrix((np.ones(len(places)), (places, np.arange(len(places)))), shape=shape) @ vectors


def find_duplicates(own: pd.DataFrame, unlike: np.ndarray) -> Iterator[tuple[int, str]]:
    """(index, request it repeats) of one server's answers that repeat the one to an unlike frame.

    Of equal answers the one is in order that others bear out best, else the first; so are those to frames
    that look like its frame. Short ones are doubted only where others bear out less than half of them.
    """
    for _, same in own.groupby("words", sort=False):
        n_rare = same["n_rare"].iloc[0]
        if len(set(same["place"])) > 1 and n_rare:
            owner = same.loc[same["cover"].fillna(-1.0).idxmax()]
            doubted = same["cover"] < SUPPORTED
            if n_rare < FEW_WORDS:
                doubted &= doubted.sum() > same["cover"].count() / 2
            if n_rare >= MANY_WORDS:
                doubted |= same["cover"].isna()
            for victim in same.index[doubted & unlike[owner["place"], same["place"]]]:
                yield victim, owner["request_id"]


def _wrong_neighbours(
    own: pd.DataFrame, yardsticks: Sequence[pd.DataFrame], unlike: np.ndarray, vectors: TextVectors
) -> dict[int, int]:
    """{index: place of the frame that it fits} of one server's answers that clearly fit another frame's.

    An answer's fit with another frame is its mean cosine with each yardstick's answers to it, with its own
    frame the best of these and of the stored reference. A yardstick that says nothing of its own frame (no
    answer measures itself) is asked about no other.
    """
    own = own[(own["n_rare"] >= FEW_WORDS) & ~(own["cover"] >= SUPPORTED)]
    found, n_frames = {}, len(unlike)
    sums = [_sums(one["place"].to_numpy(), vectors.of(one["compared"]), n_frames) for one in yardsticks]
    for start in range(0, len(own), CHUNK_ROWS):
        part = own.iloc[start : start + CHUNK_ROWS]
        at, said, each = part["place"].to_numpy(), vectors.of(part["compared"]), np.arange(len(part))
        total, n_told, best_own = np.zeros((len(part), n_frames)), 0, part["ref_cosine"].fillna(-1.0)
        for one, texts in zip(yardsticks, sums, strict=True):
            products = (said @ texts.T).toarray()
            counts = np.tile(np.bincount(one["place"], minlength=n_frames), (len(part), 1))
            itself = part.index.isin(one.index)
            products[each, at] -= itself
            counts[each, at] -= itself
            counts *= counts[each, at][:, None] > 0
            fits = np.where(counts > 0, products / np.maximum(counts, 1), 0.0)
            best_own = np.maximum(best_own, np.where(counts > 0, fits, -1.0)[each, at])
            total, n_told = total + fits, n_told + (counts > 0)
        others = np.where(unlike[at] & (n_told > 0), total / np.maximum(n_told, 1), -1.0)
        best = others.argmax(axis=1)
        wrong = (others[each, best] >= MIN_FIT) & (others[each, best] - best_own >= MARGIN)
        found |= dict(zip(part.index[wrong], best[wrong].tolist(), strict=True))
    return found


def donor_frames(answers: pd.DataFrame, victims: pd.DataFrame) -> pd.Series:
    """The frame that each mixed-up answer is about, or looks as if it were."""
    frame_of = answers.set_index("request_id")["frame_id"]
    seeming = victims["sign_of"].map(frame_of).fillna(victims["sign_of"])
    return victims["donor_frame"].fillna(seeming)


def donors_in_flight(answers: pd.DataFrame, victims: pd.DataFrame) -> tuple[int, float]:
    """How many victims' donor frames were in flight with them, and how probable so many are by chance.

    In drawn order each is with (level - 1) ÷ (requests of the cell - 1); exact, binomial, one-sided.
    """
    pairs = victims.assign(donor=donor_frames(answers, victims)).merge(
        answers[["server", "sitting", "frame_id", "start_s", "total_s"]],
        left_on=["server", "sitting", "donor"],
        right_on=["server", "sitting", "frame_id"],
        suffixes=("", "_donor"),
    )
    since_s = pairs["start_s"] - pairs["start_s_donor"]
    overlap = (since_s < pairs["total_s_donor"]) & (-since_s < pairs["total_s"])
    together = pairs.loc[overlap, "request_id"].nunique()
    sizes = answers.groupby(CELL)["request_id"].transform("size")[victims.index]
    chance = ((victims["concurrency"] - 1) / (sizes - 1)).clip(upper=1).mean()
    return together, float(special.bdtrc(together - 1, len(victims), chance)) if together else 1.0


def is_proven(level: Any) -> bool:
    """Whether a level's row has codes that were read and were all its own: then signs accuse nobody."""
    return not level.n_code_other and level.n_code_own >= READS_ENOUGH * level.n_proof > 0


def proof_findings(answers: pd.DataFrame, levels: pd.DataFrame) -> list[Finding]:
    """What the codes prove and the signs suggest, as sentences about "proof".

    Args:
        answers: of judge_answers.
        levels: of summarize_levels.
    """
    found: list[tuple] = []
    lowest = levels.groupby("server")["concurrency"].min()
    for row in levels.itertuples():
        here = answers[(answers["server"] == row.server) & (answers["concurrency"] == row.concurrency)]
        at = f"{row.server}'s answers at {row.concurrency} in flight"
        if row.n_code_other:
            text = f"{row.n_code_other} of {row.n_code_own + row.n_code_other} of {at} "
            text += "were about another image: they carry its code."
            found.append((row, "problem", text + _donors(answers, here[here["proof"] == "other"]), CURE))
        elif is_suspicious(row.n_signs, row.n_texts) and not is_proven(row):
            text = f"{row.n_signs} of {row.n_texts} of {at} look as if they were about another image: "
            text += f"{row.n_duplicates} repeat the answer to a frame that looks different, "
            text += f"{row.n_wrong_neighbours} fit another frame's answers clearly better than their own's."
            text += _donors(answers, here[here["sign"] != ""])
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


def _donors(answers: pd.DataFrame, victims: pd.DataFrame) -> str:
    together, p_value = donors_in_flight(answers, victims)
    more = f", more often than by chance (p = {p_value:.1g})" if p_value < 0.05 else ""
    text = f" That image was in flight with it in {together} of {len(victims)} cases{more}"
    ago_s = victims["donor_ago_s"].dropna()
    span = f"{ago_s.min():.1f} to {ago_s.max():.1f} s" if len(ago_s) else ""
    return text + (f"; in {len(ago_s)} it had been answered {span} before." if span else ".")


def worst_pairs(answers: pd.DataFrame, n: int = 3) -> pd.DataFrame:
    """Up to ``n`` answers that are, or look, about another image: proven ones first, a frame once.

    The answers' columns and ``kind``: "code", "duplicate" or "wrong neighbour"; donor_frame for all of them.
    """
    kind = answers["sign"].where(answers["proof"] != "other", "code")
    pairs = answers.assign(kind=kind, donor_frame=donor_frames(answers, answers))[kind != ""]
    return pairs.sort_values("kind", kind="stable").drop_duplicates("frame_id").head(n)
