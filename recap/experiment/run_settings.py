"""What a run keeps and where it is logged: the settings of `recap/runs/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import gin
from annotated_types import Ge

from recap.data.names import check_name

MAX_TAG_LENGTH = 8000  # MLflow's limit
DEFAULT_URI = "sqlite:///runs/mlflow.db"


@gin.configurable("checkpoints", module="recap")
@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """When checkpoints are written, and which are kept.

    Besides those on schedule there is one of every evaluation whose mean score over all capabilities is the best so far,
    and one of a run that is interrupted or stopped.

    Args:
        every: steps between checkpoints; None: no schedule.
        keep: the newest ones that stay; the best one (`checkpoint-best`) stays besides.
        save_model: whether the trained model is written at the end, as a directory that `from_pretrained` loads.
    """

    every: int | None = 100
    keep: int = 2
    save_model: bool = True

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"checkpoints.every must be at least 1, or None; it is {self.every}")
        if self.keep < 1:
            raise ValueError(f"checkpoints.keep must be at least 1; it is {self.keep}")


@gin.configurable("tracking", module="recap")
@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where runs are logged.

    Args:
        uri: MLflow tracking server or database; None: the environment's MLFLOW_TRACKING_URI, else a local SQLite file.
        experiment: MLflow experiment; made where it does not exist.
        run_name: shown in MLflow; None: the name of the gin file and the policy.
        tags: more tags for the run.
        rollouts_every: steps between tables of sampled rollouts.
        rollouts_per_table: completions in each of them, spread over the domains; and forgotten examples of each capability in
            the tables of those, one at every evaluation.

    Raises:
        ValueError: what MLflow would refuse when the run starts.
    """

    uri: str | None = None
    experiment: str = "recap"
    run_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    rollouts_every: Annotated[int, Ge(1)] = 20
    rollouts_per_table: Annotated[int, Ge(1)] = 16

    def __post_init__(self) -> None:
        for name in ("rollouts_every", "rollouts_per_table"):
            if getattr(self, name) < 1:
                raise ValueError(f"tracking.{name} must be at least 1; it is {getattr(self, name)}")
        if not isinstance(self.experiment, str) or not 0 < len(self.experiment) <= 500:
            raise ValueError(f"tracking.experiment must be a text of 1 to 500 characters; it is {self.experiment!r}")
        for name, value in self.tags.items():
            check_name(name, f"tracking.tags[{name!r}]")
            if not isinstance(value, str) or len(value) > MAX_TAG_LENGTH:
                raise ValueError(
                    f"tracking.tags[{name!r}] must be a text of at most {MAX_TAG_LENGTH} characters; it is {value!r}"
                )

    @property
    def resolved_uri(self) -> str:
        return self.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
