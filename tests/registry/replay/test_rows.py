import json

import pytest
from PIL import Image

from registry.example import MalformedExample
from registry.replay.files import Jsonl
from registry.replay.rows import Chained, Exploded, NamedTable, Row, Sampled


class Listed(NamedTable):
    def __init__(self, name, values):
        self.name = self.origin = name
        self.values = values
        self.columns = ["x"]

    def __len__(self):
        return len(self.values)

    def row(self, index):
        return Row(self.name, str(index), f"{self.name}, row {index}", {"x": self.values[index]})


def contents(table):
    return [(table.row(i).table, table.row(i).values["x"]) for i in range(len(table))]


def test_chained():
    table = Chained([Listed("a", [0, 1]), Listed("empty", []), Listed("b", [2])])
    assert contents(table) == [("a", 0), ("a", 1), ("b", 2)]
    assert len(Chained([])) == 0


def test_sampled_takes_distinct_rows_by_seed():
    table = Listed("a", list(range(100)))
    first, second = (contents(Sampled(table, 10, seed)) for seed in (0, 1))
    assert len(set(first)) == 10
    assert first == contents(Sampled(table, 10, 0)) != second
    assert contents(Sampled(table, 1000, 0)) == contents(table)


def test_a_larger_sample_begins_with_the_smaller():
    table = Listed("a", list(range(100)))
    assert contents(Sampled(table, 20, 7))[:10] == contents(Sampled(table, 10, 7))


def test_exploded():
    table = Exploded(Listed("a", [["p", "q"], [], None, ["r"]]), ["x"])
    assert len(table) == 4
    assert [(table.row(i).key + table.row(i).part, table.row(i).values["x"]) for i in (0, 1, 3)] == [
        ("0-0", "p"),
        ("0-1", "q"),
        ("3-0", "r"),
    ]
    with pytest.raises(MalformedExample, match="a, row 2: x is NoneType, not a list to explode"):
        table.row(2)


def test_columns_that_are_exploded_in_parallel(tmp_path):
    rows = [
        {"image": "a.png", "questions": ["p", "q", "r"], "answers": ["1", 2, ["3", "three"]]},
        {"image": "a.png", "questions": ["s", "t"], "answers": ["4"]},
        {"image": "a.png", "questions": ["u"], "answers": "5"},
        {"image": "a.png", "questions": ["v"], "answers": ["6"]},
    ]
    Image.new("L", (16, 12)).save(tmp_path / "a.png")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"question": "questions", "answer": "answers", "image": "image"}
    source = Jsonl(str(file), columns=columns, explode=["questions", "answers"], shuffle=False)
    assert [(e.id, e.question, e.answer, e.metadata) for e in source.take(source.length)] == [
        ("rows/0-0", "p", "1", {}),
        ("rows/0-1", "q", "2", {}),
        ("rows/0-2", "r", "3", {"answers": ("3", "three")}),
        ("rows/3-0", "v", "6", {}),
    ]
    assert source.malformed.counts == {"lists to explode of different lengths": 2, "not a list to explode": 1}
    with pytest.raises(ValueError, match="no column 'answer', for explode"):
        Jsonl(str(file), columns=columns, explode=["questions", "answer"]).check()
