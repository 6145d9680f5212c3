"""What objectives are, and how domains share them."""

import pytest

from recap.data.domains import Domain
from recap.data.objectives import ConfidenceScaledPrediction, NextTokenPrediction, collect_objectives
from registry.replay.arithmetic import Arithmetic


@pytest.mark.parametrize(("settings", "message"), [({"level": "word"}, "level"), ({"temperature": 0.0}, "temperature")])
def test_confidence_settings_that_cannot_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"confidence_scaled_prediction.{message}"):
        ConfidenceScaledPrediction(**settings)  # type: ignore[arg-type]


def domain(name: str, *objectives: str) -> Domain:
    parts = {o: NextTokenPrediction() if o == "next_token" else (lambda c, e: 1.0) for o in objectives}
    return Domain(name=name, source=Arithmetic(), objectives=parts)  # type: ignore[arg-type]


def test_scopes() -> None:
    domains = [domain("a", "accuracy", "format"), domain("b", "accuracy"), domain("c", "next_token")]
    shared = collect_objectives(domains, "shared")
    assert [(o.name, o.supervised, o.domains) for o in shared] == [
        ("accuracy", False, ("a", "b")),
        ("format", False, ("a",)),
        ("next_token", True, ("c",)),
    ]
    assert [o.name for o in collect_objectives(domains, "per_domain")] == [
        "a/accuracy",
        "a/format",
        "b/accuracy",
        "c/next_token",
    ]


def test_one_name_for_two_kinds_is_an_error() -> None:
    mixed = Domain(name="b", source=Arithmetic(), objectives={"next_token": lambda c, e: 1.0})
    with pytest.raises(ValueError, match="'next_token' is a verifier in one domain"):
        collect_objectives([domain("a", "next_token"), mixed], "shared")
