import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recap.data.domains import Domain
from recap.experiment.reference_check import reference_notes, unwritable
from registry import replay_sources
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example
from registry.verifiers.accuracy import Accuracy
from registry.verifiers.exact_match import ExactMatch
from registry.verifiers.thinking_format import ThinkingFormat


def notes(tmp_path: Path, answers: list[str], judge: Any, model: Any = None, **settings: Any) -> list[str]:
    rows = [{"question": "how many?", "answer": answer} for answer in answers]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = replay_sources.build("jsonl", str(tmp_path / "rows.jsonl"))
    domain = Domain(name="sums", source=source, objectives={"right": judge}, **settings)
    model = model or SimpleNamespace(tokenizer=lambda: None)
    return reference_notes(SimpleNamespace(domains=[domain], capabilities=[], model=model))  # type: ignore[arg-type]


def test_references_that_are_paid_need_no_note(tmp_path: Path) -> None:
    assert notes(tmp_path, ["42", r"\frac{1}{2}"], Accuracy()) == []
    assert notes(tmp_path, ["42"], ThinkingFormat()) == []
    assert notes(tmp_path, ["6 * 7 = 42\n#### 42"], Accuracy(), answer="after:####") == []


@pytest.mark.parametrize("answer", ["tags", "boxed"])
def test_working_that_must_be_met_word_for_word_is_named(tmp_path: Path, answer: str) -> None:
    (note,) = notes(tmp_path, ["6 * 7 = 42\n#### 42"], ExactMatch(), answer=answer)
    assert note.startswith("sums/Domain.objectives['right']: exact_match pays for the references")
    assert "#### 42" in note
    assert "rows" in note


def test_a_verifier_that_pays_for_no_reference_is_named(tmp_path: Path) -> None:
    def strict(completion: str, example: Example) -> float:
        return 0.0

    (note,) = notes(tmp_path, ["42", "43"], strict)
    assert "strict pays nothing for the reference itself on any of the first 2 rows" in note
    assert "'<answer>4" in note


def test_what_the_tiny_model_cannot_write_is_named(tmp_path: Path) -> None:
    found = notes(tmp_path, ['{"a": "B"}'], Accuracy(), TinyQwen2_5_VL())
    assert any("cannot represent" in note and "{" in note and "of the answers" in note for note in found)
    assert unwritable(TinyQwen2_5_VL().tokenizer(), "<answer>cat 4</answer>") == []
    assert unwritable(TinyQwen2_5_VL().tokenizer(), "half a \ud83d character") == []  # its row is skipped and counted


def test_a_source_whose_data_is_not_on_this_machine_is_passed_over() -> None:
    source = replay_sources.build("jsonl", "no/such/folder/rows.jsonl")
    domain = Domain(name="sums", source=source, objectives={"right": Accuracy()})
    model = SimpleNamespace(tokenizer=lambda: None)
    assert reference_notes(SimpleNamespace(domains=[domain], capabilities=[], model=model)) == []  # type: ignore[arg-type]
