from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from recap.data.domains import Domain
from recap.evaluation.capabilities import Capability
from recap.evaluation.held_out import overlap, probe, shared_tables
from recap.evaluation.identity import cluster_of, digest_of
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.coreset import Coreset
from registry.replay.files import Jsonl
from registry.replay.grounding import Grounding
from registry.replay.hub_dataset import HubDataset


def judge(completion: str, example: Example) -> float:
    return 1.0


def domain(source: object) -> Domain:
    return Domain(name="train", source=source, objectives={"accuracy": judge})  # type: ignore[arg-type]


def capability(source: object) -> Capability:
    return Capability(name="test", source=source, verifier=judge)  # type: ignore[arg-type]


def table(file: Path, questions: Sequence[str]) -> Jsonl:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"question": text, "answer": "1"}) + "\n" for text in questions))
    source = Jsonl(str(file))
    source.check()
    return source


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (8, 4), colour)


def test_an_example_is_its_question_and_its_pixels() -> None:
    example = Example(id="a", question="what?", answer="1", images=(picture("red"),))
    same = Example(id="b", question="what?", answer="2", images=(picture("red"),))
    assert digest_of(example) == digest_of(same)
    others = [
        Example(id="a", question="who?", answer="1", images=(picture("red"),)),
        Example(id="a", question="what?", answer="1", images=(picture("blue"),)),
        Example(id="a", question="what?", answer="1", images=(picture("red").transpose(Image.Transpose.ROTATE_90),)),
        Example(id="a", question="what?", answer="1"),
    ]
    assert len({digest_of(other) for other in [example, *others]}) == 5


def test_a_cluster_is_what_the_source_says_or_the_pictures_or_the_question() -> None:
    one, two = (Example(id="a", question=text, answer="1", images=(picture("red"),)) for text in "ab")
    assert cluster_of(one) == cluster_of(two)
    one, two = (Example(id=text, question="a", answer=text) for text in "ab")
    assert cluster_of(one) == cluster_of(two)
    one, two = (Example(id="a", question=text, answer="1") for text in "ab")
    assert cluster_of(one) != cluster_of(two)
    one, two = (Example(id=text, question=text, answer="1", metadata={"cluster": 7}) for text in "ab")
    assert cluster_of(one) == cluster_of(two) == "7"


def test_splits_of_one_source_share_nothing() -> None:
    for source in (Arithmetic, Grounding):
        assert overlap([domain(source())], probe([capability(source(split="held_out"))])) == []


def test_the_same_questions_under_other_names_are_found() -> None:
    domains = [domain(Grounding(split="held_out"))]
    found = overlap(domains, probe([capability(Coreset(Grounding(split="held_out"), size=5))]), seconds=60)
    assert found == [
        "train trains on examples that test is measured on: of its first 64, 5 have the same question and pictures as a"
        " held-out example, e.g. grounding/held_out/0"
    ]
    assert domains[0].source.position == 0


def test_tables(tmp_path: Path) -> None:
    train = table(tmp_path / "a" / "rows.jsonl", ["one?", "two?", "three?", "four?"])
    same = Jsonl(str(tmp_path / "a" / ".." / "a" / "*.jsonl"), seed=3)
    same.check()
    other = table(tmp_path / "b" / "rows.jsonl", ["five?", "six?", "seven?", "two?"])
    assert shared_tables([domain(train)], [capability(other)]) == []
    found = overlap([domain(train)], probe([capability(other)]))  # ids are alike, and mean nothing
    assert len(found) == 1
    assert "of its first 4, 1 have the same question and pictures" in found[0]
    assert "rows.jsonl" in shared_tables([domain(train)], [capability(train)])[0]
    assert "of its first 4, 4 have the same question" in overlap([domain(train)], probe([capability(train)]))[0]


def test_an_id_of_one_table_counts_whatever_was_done_to_the_question(tmp_path: Path) -> None:
    train = table(tmp_path / "rows.jsonl", ["one?", "two?"])
    asked = Jsonl(
        str(tmp_path / "rows.jsonl"), convert=lambda fields: {**fields, "question": "Think! " + fields["question"]}
    )
    asked.check()
    assert "of its first 2, 2 have the same id as" in overlap([domain(train)], probe([capability(asked)]))[0]


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = HubDataset("owner/name", split="test")
    monkeypatch.setattr(HubDataset, "open_tables", lambda self: pytest.fail("downloaded"))
    assert probe([capability(hub)]) == []
    assert overlap([domain(hub)], probe([capability(Arithmetic())])) == []
    assert "owner/name test" in shared_tables([domain(hub)], [capability(Coreset(hub, size=3))])[0]


def test_files_that_are_not_there_are_said_elsewhere(tmp_path: Path) -> None:
    absent = Jsonl(str(tmp_path / "nowhere" / "rows.jsonl"))
    assert shared_tables([domain(absent)], [capability(absent)]) == []
