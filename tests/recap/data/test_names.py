"""Names of domains, capabilities and objectives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from recap.data.names import check_name
from recap.experiment.config import ConfigError, load_config

QUICKSTART = Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin"


def test_what_passes_is_a_metric_to_mlflow() -> None:
    draw = random.Random(0)
    passed = 0
    for _ in range(5000):
        name = "".join(draw.choices("aB3_-. /:@é\n", k=draw.randint(0, 6)))
        try:
            check_name(name, "here")
        except ValueError:
            continue
        passed += 1
        _validate_metric_name(f"reward/{name}")
        _validate_metric_name(name)
    assert passed > 500


@pytest.mark.parametrize("name", ["accuracy@1", "a//b", "../x", "/a", "a/", ".", "50%", "a\n"])
def test_what_mlflow_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="here is the name"):
        check_name(name, "here")
    if name != "a\n":
        with pytest.raises(MlflowException):
            _validate_metric_name(name)


@pytest.mark.parametrize(
    ("binding", "named"),
    [
        (
            "counting/Domain.objectives = {'accuracy@1': @verifiers.iou()}",
            r"counting/Domain\.objectives\['accuracy@1'\]",
        ),
        ("counting/Domain.objectives = {1: @verifiers.iou()}", r"counting/Domain\.objectives\[1\] must be a string"),
        ("counting/Domain.name = 'count:ing%'", r"Domain\.name is the name 'count:ing%'"),
        ("counting/Capability.name = ''", r"Capability\.name is the name ''"),
        ("tracking.rollouts_every = 0", r"tracking\.rollouts_every must be at least 1; it is 0"),
        ("tracking.rollouts_per_table = 0", r"tracking\.rollouts_per_table must be at least 1; it is 0"),
        ("tracking.experiment = ''", r"tracking\.experiment must be a text"),
        ("tracking.tags = {'mine@home': 'x'}", r"tracking\.tags\['mine@home'\]"),
        ("tracking.tags = {'seed': 3}", r"tracking\.tags\['seed'\] must be a string"),
    ],
)
def test_a_name_is_refused_with_its_binding(binding: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(QUICKSTART, [binding])
