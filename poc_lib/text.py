"""The one gate for foreign text (answers, errors, names of servers, models, apps, files), and for secrets.

What this project did not write itself passes here on its way to HTML, Markdown, CSV, figures and file names.
Each function takes any value and returns harmless text; none raises.
"""

import base64
import hashlib
import html as _html
import re
from collections.abc import Iterable
from urllib.parse import unquote

# Escape sequences of terminals, whole: their letters would stay behind when only the ESC went. Control
# characters but tab and line ends; marks that turn the direction of writing; invisible joiners.
_UNSEEN = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])"
    r"|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
# What acts as markup anywhere, at a line's start, or as a bare link that GitHub would make.
_MARKUP = re.compile(r"[`*_\[\]|~&<>\\$@]|^[#+=-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|:(?=//)|(?<=www)\.")
# MathJax finds dollar signs and backslashes only within one text: each becomes an element of its own.
_ELEMENTS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "<span>&#92;</span>", "$": "<span>&#36;</span>"}
_USERINFO = re.compile(r"^((?:[a-z][a-z0-9+.-]*:)?//)?([^/?#]*)@", re.IGNORECASE)
_FORMULA = re.compile(r"(^\s*|[;\t]\s*)(?=[=+\-@;＝＋－＠])")


def repair(text: str) -> str:
    """Text that can be stored as UTF-8: halves of surrogate pairs are joined, lone ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: object, limit: int | None = 300) -> str:
    """Text on one line, without control characters, cut at ``limit`` characters (None: not at all).

    Mask secrets before: a cut may leave half of one.
    """
    shown = str(text).lstrip()[: limit and 20 * limit]  # of an endless text only the beginning is looked at
    line = " ".join(_visible(shown).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def html(text: object) -> str:
    """Text for an HTML element or a quoted attribute; its line ends stay."""
    return _html.escape(_visible(str(text)))


def markdown(text: object) -> str:
    """Text on one line that shows as it is: no markup, HTML, table column, link or formula comes of it."""
    return _MARKUP.sub(lambda found: _ELEMENTS.get(found[0], f"\\{found[0]}"), one_line(text, None))


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula, nor for two cells or rows; numbers stay numbers.

    An apostrophe goes before = + - @ ; at its start and after ; or tab, where a spreadsheet may begin a cell.
    """
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", _visible(value).replace("\n", " "))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced, the longest first; call it before any cutting."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def split_credentials(url: str) -> tuple[str, str | None]:
    """A URL without ``user:password@``, and the Authorization header to send in its place (None: nothing)."""
    found = _USERINFO.match(url)
    if found is None:
        return url, None
    token = base64.b64encode(unquote(found[2]).encode("utf-8", "replace")).decode()
    return (found[1] or "") + url[found.end() :], f"Basic {token}"


def authorize(url: str, api_key: str | None) -> tuple[str, dict[str, str]]:
    """A clean URL and its headers: its own user and password go before the key, which all servers share."""
    url, header = split_credentials(url)
    header = header or (f"Bearer {api_key}" if api_key else None)
    return url, {"authorization": header} if header else {}


def secrets_of(headers: dict[str, str]) -> list[str]:
    """What must not be shown of authorize's headers: the key, or the password in all its forms."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    pair = base64.b64decode(token).decode("utf-8", "replace") if kind == "Basic" else ""
    return [secret for secret in (token, pair, pair.partition(":")[2]) if secret]


def safe_name(text: object) -> str:
    """A label for a file name: ASCII letters, digits, - and _; what had to be changed gets a short hash."""
    label = str(text)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", label)[:40].strip("-")
    if name and name == label:
        return name
    digest = hashlib.sha256(repair(label).encode()).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def _visible(text: str) -> str:
    return "\n".join(_UNSEEN.sub("", repair(text)).splitlines())
