"""The gate for foreign text: nothing that a server or a database says acts as anything but text."""

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import orjson
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbconvert.filters import markdown2html

from poc_lib import text

HOSTILE = [
    "<script>alert(1)</script>",
    "`<img src=x onerror=alert(1)>`",
    '"><img src=//evil.example/x.png onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "a | b || c",
    "```\n# heading\n- item\n1. item\n> quote",
    "[x](javascript:alert(1)) ![y](http://evil.example/y.png) <http://evil.example>",
    "www.evil.example http://evil.example user@evil.example @someone",
    "[x]: javascript:alert(1)",
    "a\rb\r\nc\nd\u2028e\x85f\x0bg",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07bell",
    "user\u202egnp.exe \u2066x\u2069 \u200f",
    "nul\x00 bell\x07 del\x7f c1\x9b31m",
    "half \ud83d and \udda5, whole \ud83d\udda5",
    r"$\frac b $ and \$x$ and $$",
    r"\<b> \| \\",
    r"\(x\) \[y\] \begin{equation}z\end{equation} \\(x\\)",
    "12) &lt;script&gt; &#36;",
    "=cmd|' /C calc'!A0",
    "# Setext\n===",
    "- ~~gone~~ **bold** _soft_ *soft*",
    "",
    "  \t ",
    "1. " + "word " * 200,
]


class Page(HTMLParser):
    """What a browser would see: its elements, and its text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.said = [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data):
        self.said += data


def seen(value):
    return " ".join(text.one_line(value, None).split())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_in_html_a_text_is_no_element_and_no_attribute_and_still_reads_the_same(hostile):
    safe = text.html(hostile)
    page = Page(f"<p title=\"{safe}\" lang='{safe}'>{safe}</p>")
    assert page.tags == [("p", ["title", "lang"])]
    assert seen(page.said) == seen(hostile)
    assert "\r" not in safe


@pytest.mark.parametrize("hostile", HOSTILE)
def test_in_markdown_a_text_is_one_cell_or_a_plain_paragraph_without_formula_link_or_mention(hostile):
    safe = text.markdown(hostile)
    assert not re.search(r"\n|\$|\\\\|\\[a-z(]", safe), "another row, or MathJax would read on"
    assert not re.search(r"\w://|www\.\w|\w@\w|(^|\s)@\w", safe), "a link or mention that GitHub would find"
    table = Page(markdown2html(f"| a | b |\n|---|---|\n| {safe} | last |\n"))
    tags = [tag for tag, _ in table.tags if tag != "span"]
    assert tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert seen(table.said) == seen(f"a b {hostile} last")
    paragraph = markdown2html(safe + "\n")
    assert {tag for tag, _ in Page(paragraph).tags} <= {"p", "span"}
    assert not re.search(r"<span>(?!&#|[\\$]</span>)", paragraph)
    assert seen(Page(paragraph).said) == seen(hostile)


CELLS = ["=1+1", "+1", "-1", "@SUM(A1)", ";=1+1", "a;=1+1", "a; +1", "\t=1+1", "  =1", "a\r=1+1", "x\n=1",
         "＝1+1", "\x00=1", "a\tb;\t@x", "\u202e=1", "\ufeff=1+1", "\r\n-2", "a\t-1"]  # fmt: skip


@pytest.mark.parametrize("value", CELLS + HOSTILE)
def test_a_csv_cell_is_no_formula_and_stays_one_cell_whatever_separates_the_columns(value):
    frame = pd.DataFrame({text.csv_cell(f"{value}h"): [text.csv_cell(value)], "n": [1.5]})
    written = frame.to_csv(index=False)
    assert len(written.splitlines()) == 2
    assert pd.read_csv(io.StringIO(written))["n"].tolist() == [1.5]
    for separator in ",;\t":
        (cells,) = csv.reader([written.splitlines()[1]], delimiter=separator)
        assert not [cell for cell in cells if re.match(r"[\s\"]*[=+\-@＝]", cell)]


def test_numbers_stay_numbers_in_csv():
    assert text.csv_cell(";x") == "';x"
    assert [text.csv_cell(value) for value in (-1.5, 3, None, True)] == [-1.5, 3, None, True]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_figure_in_the_projects_style_draws_any_text(hostile):
    with mpl.rc_context(fname=Path(text.__file__).parent / "show/templates/figures.mplstyle"):
        figure = Figure()
        figure.suptitle(f"{text.one_line(hostile)} against {text.one_line(hostile)}")
        figure.savefig(written := io.BytesIO(), format="svg")
    assert b"</svg>" in written.getvalue()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_one_line_has_no_control_character_and_can_be_stored(hostile):
    line = text.one_line(hostile)
    assert len(line) <= 300
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    assert orjson.loads(orjson.dumps(line)) == " ".join(line.split())


def test_escape_sequences_go_whole_and_half_a_character_pair_is_joined_or_replaced():
    assert text.one_line("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07") == "red link"
    assert text.one_line("\ud83d\udda5 \ud83d") == "🖥 \ufffd"
    assert text.one_line("x" * 400) == "x" * 299 + "…"
    assert text.one_line("é" * 400, 5) == "éééé…"
    assert text.one_line(None) == "None"


def test_every_secret_is_masked_and_one_inside_another_too():
    assert text.mask("a key-1 b key-1-long c", ["key-1", "", "key-1-long"]) == "a [secret] b [secret] c"


CREDENTIALS = [
    ("http://me:pw@h:1/v1", "http://h:1/v1", "me:pw"),
    ("https://me:p%40w%3A@h/v1", "https://h/v1", "me:p@w:"),
    ("http://me:p@w@h:1/v1", "http://h:1/v1", "me:p@w"),
    ("HTTP://token@[::1]:1", "HTTP://[::1]:1", "token"),
    ("me:pw@h:1/v1", "h:1/v1", "me:pw"),
    ("http://h:1/v1?mail=a@b", "http://h:1/v1?mail=a@b", None),
    ("http://h/@x", "http://h/@x", None),
    ("demo", "demo", None),
]


@pytest.mark.parametrize(("url", "clean", "pair"), CREDENTIALS)
def test_user_and_password_leave_the_url_and_travel_as_a_header(url, clean, pair):
    found, header = text.split_credentials(url)
    headers = {"authorization": header or "Bearer sk-1"}
    assert found == clean
    assert text.authorize(url, "sk-1") == (clean, headers)
    secrets = ["sk-1"]
    if pair:
        token = header.removeprefix("Basic ")
        assert base64.b64decode(token).decode() == pair
        secrets = [secret for secret in (token, pair, pair.partition(":")[2]) if secret]
    assert text.secrets_of(headers) == secrets
    assert text.secrets_of(text.authorize(clean, None)[1]) == []


def test_a_name_for_a_file_is_short_plain_and_different_for_different_labels():
    labels = ["vllm-mlx", "a/b", "a-b", "../../etc", "/abs", "..", "", "é", "\ud800", "a\0b"]
    labels += ["x" * 170, "x" * 171]
    names = [text.safe_name(label) for label in labels]
    assert names[0] == "vllm-mlx"
    assert len(set(names)) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,50}", name) for name in names)
