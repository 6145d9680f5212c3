"""What `datasets` stores otherwise than it was written, through every source that reads by it."""

import json

import datasets
import pytest

from registry.replay.files import Jsonl, Parquet
from registry.replay.hub_dataset import HubDataset
from registry.replay.hub_stream import HubStream

NAMES = datasets.ClassLabel(names=["cat", "dog"])
RATINGS = datasets.ClassLabel(names=["1", "2", "3", "4"])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def sources(folder, **settings):
    """Of one Parquet file in a folder."""
    yield HubDataset(str(folder), shuffle=False, **settings)
    yield HubStream(str(folder), shuffle=False, **settings)
    yield Parquet(str(folder / "train.parquet"), shuffle=False, **settings)


def written(tmp_path, answers, feature, **columns):
    rows = {"question": ["q"] * len(answers), "answer": answers, **columns}
    features = datasets.Features(
        {name: feature if name == "answer" else datasets.List(datasets.Value("string")) for name in rows}
        | {"question": datasets.Value("string")}
    )
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / "train.parquet")
    return tmp_path / "data"


MIXED = {
    "answers": [{"answer": "two"}, {"answer": ["x", "y"]}, {"answer": 7}, {"answer": "é"}],
    "choices": [{"choices": ["x", 2], "answer": "A"}, {"choices": "['x', 'y']", "answer": "A"}],
    "turns": [
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": reply}], "question": "q"}
        for reply in ("x", 3)
    ],
}


@pytest.mark.parametrize("kind", MIXED)
def test_columns_of_several_types_are_read_as_they_stand_in_the_file(kind, tmp_path):
    settings = {"convert": "conversations"} if kind == "turns" else {}
    (tmp_path / "data").mkdir()
    lines = tmp_path / "data" / "train.jsonl"
    lines.write_text("".join(json.dumps({"question": "q", **row}) + "\n" for row in MIXED[kind]))

    def read(source):
        return [(e.question, e.answer, e.choices, e.metadata) for e in source.take(len(MIXED[kind]))]

    expected = read(Jsonl(str(lines), shuffle=False, **settings))
    assert len(expected) == len(MIXED[kind])
    assert read(HubDataset(str(tmp_path / "data"), shuffle=False, **settings)) == expected
    assert read(HubStream(str(tmp_path / "data"), shuffle=False, **settings)) == expected
    (tmp_path / "copy").mkdir()
    loaded = datasets.load_dataset(str(tmp_path / "data"), split="train")
    loaded.to_parquet(tmp_path / "copy" / "train.parquet")
    for source in sources(tmp_path / "copy", **settings):
        assert read(source) == expected


@pytest.mark.parametrize(
    ("feature", "stored", "expected"),
    [
        (datasets.Value("float32"), [0.1, 2.7], ["0.1", "2.7"]),
        (datasets.Value("float16"), [0.1, 2.7], ["0.1", "2.7"]),
        (NAMES, [1, 0], ["dog", "cat"]),
        (NAMES, [1, -1], ["dog"]),  # -1: a row without a label
        (datasets.List(NAMES), [[1], [0, 1]], ["dog", "cat"]),
        (datasets.List({"answer": NAMES}), [[{"answer": 1}], [{"answer": 0}]], ["dog", "cat"]),
        (RATINGS, [0, 3], ["1", "4"]),  # the names are digits, but not the numbers
        (datasets.ClassLabel(names=["0", "1"]), [1, 0], ["1", "0"]),
    ],
)
def test_numbers_of_few_bits_and_names_of_classes(feature, stored, expected, tmp_path):
    for source in sources(written(tmp_path, stored, feature)):
        assert [example.answer for example in source.take(len(stored))] == expected


@pytest.mark.parametrize("convert", ["plain", "choice_index"])
def test_a_class_among_choices_is_the_number_of_one(convert, tmp_path):
    folder = written(tmp_path, [0, 3], RATINGS, choices=[["w", "x", "y", "z"]] * 2)
    for source in sources(folder, convert=convert):
        assert [example.answer for example in source.take(2)] == ["A", "D"]
