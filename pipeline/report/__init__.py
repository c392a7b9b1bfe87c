"""The report of a run: one HTML file that a person can read offline."""

from pipeline.report.report import Reasons, RunTables, read_run, render_report, write_report

__all__ = ["Reasons", "RunTables", "read_run", "render_report", "write_report"]
