"""Forgotten examples: the question, its pictures, and what the model said before and after."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap.evaluation.capabilities import Capability
from recap.evaluation.identity import digest_of
from recap.evaluation.outcomes import Outcome
from recap.experiment.config import load_config
from recap.report.changes import last
from recap.report.cohort import Cohort
from recap.report.gather import ReportedRun
from recap.runs.forgotten_table import forgotten_rows
from recap.runs.run_directory import go_where_it_was_started, started_with

EACH, MOST = 2, 12  # examples of each capability, and of each group
LONGEST = 1200  # characters of a completion
LARGEST = 360  # pixels of a picture's longer side


@dataclass(frozen=True)
class Forgotten:
    """One example that a group forgot.

    Attributes:
        row: as the run's own table of forgotten examples has it.
        pictures: as addresses that hold the data itself.
    """

    row: Mapping[str, Any]
    pictures: Sequence[str]


@dataclass(frozen=True)
class ForgottenByRun:
    """What one run forgot.

    Attributes:
        run: how the report calls it.
        examples: capabilities in turn, the greatest losses first.
        without: why some are shown without their pictures; each reason once.
    """

    run: str
    examples: Sequence[Forgotten]
    without: Sequence[str]


@dataclass
class Pictures:
    """The pictures of held-out examples, from the sources that the configuration of a run names.

    What is shown is the example that was measured: its question and pixels have the digest that the outcomes kept.
    """

    run: ReportedRun
    why_not: str = ""
    capabilities: Mapping[str, Capability] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.run.directory is None:
            self.why_not = "the run is in MLflow alone, without a directory"
            return
        try:
            with _where_it_was_started(self.run.directory):
                found = load_config(*started_with(self.run.directory, None, [], []), allow_unused=True)
                self.capabilities = {capability.name: capability for capability in found.experiment.capabilities}
        except Exception as error:  # a plugin or a file that is no longer there, a configuration of another version
            self.why_not = f"the run's configuration cannot be loaded here: {str(error).strip().splitlines()[0]}"

    def of(self, capability: str, outcome: Outcome) -> tuple[list[str], str]:
        """Addresses with the data of the pictures, and why there are none."""
        if capability not in self.capabilities:
            return [], self.why_not or "the run's configuration no longer has this capability"
        try:
            with _where_it_was_started(self.run.directory):
                example = self.capabilities[capability].source.example(outcome.position)
        except Exception as error:  # data that is not on this machine, or not as it was
            return [], f"its source cannot be read here: {(str(error).strip().splitlines() or ['?'])[0]}"
        if digest_of(example) != outcome.digest:
            return [], "its source gives another example at this place now"
        return [_address(image) for image in example.images], ""


def forgotten_examples(cohort: Cohort) -> dict[str, ForgottenByRun]:
    """Group -> what its first run forgot."""
    found = {}
    for label, runs in cohort.groups.items():
        run = next((run for run in runs if run.outcomes.get(0) and max(run.outcomes) > 0), None)
        if run is not None:
            rows = forgotten_rows(run.outcomes[0], last(run), EACH)[:MOST]
            found[label] = _with_pictures(run, rows)
    return found


def _with_pictures(run: ReportedRun, rows: Sequence[dict[str, Any]]) -> ForgottenByRun:
    pictures = Pictures(run) if rows else None
    examples, reasons = [], []
    for row in rows:
        outcomes = last(run)[row["capability"]]
        outcome = next(found for found in outcomes if found.example == row["example"] and found.sample == 0)
        addresses, why_not = pictures.of(row["capability"], outcome) if pictures else ([], "")
        reasons += [why_not] if why_not else []
        examples.append(Forgotten({**row, "before": _cut(row["before"]), "now": _cut(row["now"])}, addresses))
    return ForgottenByRun(run.name, examples, list(dict.fromkeys(reasons)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"


def _address(image: Any) -> str:
    """A picture as ``data:image/png;base64,...``, no larger than it is looked at."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    small.save(out, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


@contextmanager
def _where_it_was_started(directory: Path | None) -> Iterator[None]:
    """In the directory where the run was started, to which the paths in its files are relative."""
    here = Path.cwd()
    try:
        if directory is not None:
            go_where_it_was_started(directory)
        yield
    finally:
        os.chdir(here)
