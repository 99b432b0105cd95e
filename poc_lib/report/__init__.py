"""The report of a run: one page for people, as HTML and as Markdown.

Notebooks become pages in poc_lib.report.export, which a notebook itself never needs: nbformat takes a second
to import.
"""

from poc_lib.report.blocks import ReportPage, Sample
from poc_lib.report.findings import key_findings
from poc_lib.report.html import render_html
from poc_lib.report.markdown import render_markdown
from poc_lib.report.next_steps import next_steps
from poc_lib.report.page import build_report
from poc_lib.report.writing import ReportPaths, make_thumbnail, read_samples, write_report

__all__ = [
    "ReportPage",
    "ReportPaths",
    "Sample",
    "build_report",
    "key_findings",
    "make_thumbnail",
    "next_steps",
    "read_samples",
    "render_html",
    "render_markdown",
    "write_report",
]
