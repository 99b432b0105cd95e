"""Names of apps and topics, folded so that two spellings of one thing are equal."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from poc_lib.answers import tidy_names

# Spellings that a screenshot's describer may choose for one app. Left: after case, punctuation and version
# have been folded. Only names of the same product stand here: "terminal" is not iTerm, "browser" not Chrome.
ALIASES = {
    "vs code": "visual studio code",
    "vscode": "visual studio code",
    "code": "visual studio code",
    "ms code": "visual studio code",
    "microsoft visual studio code": "visual studio code",
    "chrome": "google chrome",
    "chrome browser": "google chrome",
    "google chrome browser": "google chrome",
    "iterm2": "iterm",
    "macos terminal": "terminal",
    "terminal app": "terminal",
    "mac terminal": "terminal",
    "mozilla firefox": "firefox",
    "firefox browser": "firefox",
    "apple safari": "safari",
    "safari browser": "safari",
    "edge": "microsoft edge",
    "brave browser": "brave",
    "arc browser": "arc",
    "teams": "microsoft teams",
    "ms teams": "microsoft teams",
    "outlook": "microsoft outlook",
    "word": "microsoft word",
    "ms word": "microsoft word",
    "excel": "microsoft excel",
    "ms excel": "microsoft excel",
    "powerpoint": "microsoft powerpoint",
    "ms powerpoint": "microsoft powerpoint",
    "zoom us": "zoom",
    "zoom meeting": "zoom",
    "zoom workplace": "zoom",
    "google meet": "meet",
    "docker": "docker desktop",
    "intellij": "intellij idea",
    "pycharm professional": "pycharm",
    "pycharm community": "pycharm",
    "gh": "github",
    "github com": "github",
    "chat gpt": "chatgpt",
    "macos finder": "finder",
    "apple mail": "mail",
    "apple notes": "notes",
}

_VERSION = re.compile(r"(?: v?\d+(?: \d+)*)+(?: (?:beta|rc|dev))?$")
_PUNCTUATION = re.compile(r"[^\w+#]+")


def fold_name(name: str) -> str:
    """One name without case, punctuation and ".app"/".exe"; spellings in ALIASES become one.

    "+" and "#" stay (C++, C#). A name of punctuation alone stays as it is.
    """
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    plain = re.sub(r"\.(?:app|exe)$", "", plain)
    words = _PUNCTUATION.sub(" ", plain).strip()
    return ALIASES.get(words, words) or plain


def fold_app(name: str) -> str:
    """As ``fold_name``, and without a version at the end ("Xcode 16.2" is "xcode")."""
    folded = fold_name(name)
    unversioned = _VERSION.sub("", folded)
    return ALIASES.get(unversioned, unversioned) or folded


def fold_apps(names: Any) -> frozenset[str] | None:
    """Names of apps as a set of ``fold_app``; None where there is no list (NULL, NaN)."""
    known = _names(names)
    return None if known is None else frozenset(fold_app(name) for name in known)


def fold_topics(names: Any) -> frozenset[str] | None:
    """Topics as a set of ``fold_name`` (a version may be the topic); None where there is no list."""
    known = _names(names)
    return None if known is None else frozenset(fold_name(name) for name in known)


def _names(names: Any) -> tuple[str, ...] | None:
    if isinstance(names, str) or not isinstance(names, Iterable):
        return None
    return tidy_names(names)
