"""The report of a run: one HTML file that a person can read offline."""

from pipeline.report.report import RunTables, read_run, render_report, write_report

__all__ = ["RunTables", "read_run", "render_report", "write_report"]
