"""Is the answer in the references' language? Told by its letters' script and its commonest words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

MAIN_SCRIPT_SHARE = 0.05  # a script with less than this share of the references' letters is a quotation
MIN_STOP_WORDS = 3  # fewer tell no language

_STOP_WORDS = {
    "en": "the a an of and to in is with on for that are it as by this from at or was be has user",
    "de": "der die das und ist ein eine einen mit auf im in den dem zu von für nicht wird sich des als",
    "fr": "le la les un une des du de et est dans sur avec pour qui que au aux il elle en par ce cette",
    "es": "el la los las un una de del y es en con por para que se su al está como lo no usuario",
    "it": "il lo la gli le un una di del della e è in con per che si sul nel non sono come dal utente",
    "pt": "o a os as um uma de do da e é em com por para que se no na está ao como não usuário",
    "nl": "de het een en van is in op met te voor dat zijn aan door niet wordt als bij gebruiker",
}
STOP_WORDS = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}


def main_scripts(texts: Iterable[str]) -> frozenset[str]:
    """The scripts ("LATIN", "CYRILLIC", "CJK", …) that the texts are use; Latin where there is no letter."""
    counts = Counter(script for text in texts for script in _scripts(text))
    total = sum(counts.values())
    return frozenset(s for s, n in counts.items() if n >= MAIN_SCRIPT_SHARE * total) or frozenset({"LATIN"})


def foreign_share(text: str, scripts: frozenset[str]) -> float:
    """Share of the text's letters that are of none of these scripts; NaN without a letter."""
    found = _scripts(text)
    if not found:
        return float("nan")
    return sum(script not in scripts for script in found) / len(found)


def guess_language(text: str) -> str | None:
    """One of STOP_WORDS' languages by the commonest words; None where they are too few or a draw."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    hits = {language: sum(word in known for word in words) for language, known in STOP_WORDS.items()}
    (best, most), (_, second) = sorted(hits.items(), key=lambda hit: -hit[1])[:2]
    return best if most >= MIN_STOP_WORDS and most > 1.5 * second else None


def main_language(texts: Iterable[str]) -> str | None:
    """The language that most of the texts are in, None where none can be told."""
    counts = Counter(language for language in map(guess_language, texts) if language)
    return counts.most_common(1)[0][0] if counts else None


def _scripts(text: str) -> list[str]:
    letters = re.findall(r"[^\W\d_]", text)
    return [_script(letter) for letter in letters]


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
