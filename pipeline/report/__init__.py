"""The report of a run: one HTML file that a person can read offline."""

from pipeline.report.report import Reasons, RunTables, Shown, read_run, render_report, shown, write_report

__all__ = ["Reasons", "RunTables", "Shown", "read_run", "render_report", "shown", "write_report"]
