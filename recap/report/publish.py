"""A report's files: the page, and the same page and figures in the runs' records in MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from recap.report.gather import ReportedRun
from recap.report.page import Report

FOLDER = "report"  # of a run in MLflow


def default_path(names: Sequence[str]) -> Path:
    """In the one directory that was named; of several things in the working directory."""
    alone = len(names) == 1 and Path(names[0]).is_dir()
    return (Path(names[0]) if alone else Path()) / "report.html"


def send(report: Report, runs: Sequence[ReportedRun]) -> list[str]:
    """Gives every run in MLflow the page and its figures; returns what a person should know."""
    reached, failed = 0, []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "report.html").write_text(report.html, encoding="utf-8")
        for figure in report.figures:
            if figure.svg is not None:
                (Path(folder) / f"{figure.name}.svg").write_bytes(figure.svg)
        for run in runs:
            if run.store is None:
                continue
            try:
                run.store.client().log_artifacts(run.store.run_id, folder, FOLDER)
                reached += 1
            except Exception as error:  # whatever MLflow, a database or a network has to say
                failed.append(f"{run.name}: not in MLflow ({run.store.reason(error)})")
    said = [f"page and figures are in MLflow too, under {FOLDER}/ of {reached} run{'s' if reached > 1 else ''}"]
    return [*(said if reached else []), *failed]
