"""What the notebooks show is escaped, and long or wide content stays in its own box."""

import pandas as pd

from poc_lib.benchmark import CellOutcome
from poc_lib.records import Cell
from poc_lib.views import describe_outcomes, simulated_banner, table

CELL = Cell("vllm-mlx", "candidate", concurrency=4, block=0)


def test_a_table_escapes_what_a_model_wrote():
    shown = table(pd.DataFrame([{"answer": "<script>alert(1)</script>"}])).data
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_missing_number_is_a_dash_and_never_zero():
    shown = table(pd.DataFrame({"ttft_s": [float("nan"), 0.25]})).data
    assert "–" in shown
    assert "0.25" in shown
    assert ">0<" not in shown


def test_an_empty_table_says_what_that_means():
    assert table(pd.DataFrame(columns=["a"]), empty="No request failed.").data == "No request failed."


def test_only_a_long_table_scrolls():
    assert "max-height" not in table(pd.DataFrame({"n": range(5)})).data
    assert "max-height" in table(pd.DataFrame({"n": range(100)})).data


def test_a_stopped_cell_is_named_with_its_reason():
    outcome = CellOutcome(CELL, n_sent=3, n_failed=3, n_not_sent=9, stopped_because="3 failures in a row")
    text = describe_outcomes([outcome]).data
    assert "vllm-mlx, 4 in flight, block 1 stopped, 9 frames not sent" in text
    assert "3 failures in a row" in text


def test_one_simulated_server_makes_the_whole_page_simulated():
    real = {"name": "ollama", "url": "http://localhost:11434", "simulated": False}
    assert "SIMULATED" not in simulated_banner([real]).data
    assert "SIMULATED" in simulated_banner([real, {**real, "simulated": True}]).data


def test_long_text_gets_room_and_short_text_stays_on_one_line():
    shown = table(pd.DataFrame({"a": ["short", "long " * 20]})).data
    assert shown.count("min-width") == 1
    assert "white-space:nowrap" in shown
