import csv
import json

import datasets
import pytest
from PIL import Image

from registry.replay.base import MissingData
from registry.replay.image_folder import ImageFolder
from registry.testing import check_replay_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(folder, kind, count=6, column="file_name"):
    """`count` pictures, each of its own shade, in a subfolder, and a table of that kind."""
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for i in range(count):
        Image.new("L", (16, 12), i).save(folder / "pictures" / f"{i}.png")
        name = f"pictures/{i}.png"
        rows.append({column: [name] if column == "file_names" else name, "question": f"q{i}", "answer": f"{i}"})
    if kind == "jsonl":
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        with (folder / "metadata.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        datasets.Dataset.from_list(rows).to_parquet(folder / "metadata.parquet")
    return str(folder)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_kind_of_table(kind, tmp_path):
    path = write(tmp_path / "cats", kind)
    check_replay_source(lambda: ImageFolder(path, seed=1))
    columns = {"question": "question", "answer": "answer", "image": "image"}
    for settings in ({}, {"columns": columns}):
        source = ImageFolder(path, shuffle=False, **settings)
        source.check()
        examples = source.take(6)
        assert [(e.id, e.question, e.answer) for e in examples] == [(f"cats/{i}", f"q{i}", f"{i}") for i in range(6)]
        assert [e.images[0].getpixel((0, 0)) for e in examples] == [(i, i, i) for i in range(6)]


def test_as_datasets_reads_it(tmp_path):
    path = write(tmp_path / "cats", "jsonl")
    theirs = datasets.load_dataset("imagefolder", data_dir=path, split="train")
    assert {(row["question"], row["image"].getpixel((0, 0))) for row in theirs} == {
        (e.question, e.images[0].getpixel((0, 0))[0]) for e in ImageFolder(path).take(6)
    }


def test_several_pictures_and_folders(tmp_path):
    write(tmp_path / "all" / "train", "jsonl", 2, "file_names")
    write(tmp_path / "all" / "test", "jsonl", 1, "file_names")
    assert [e.id for e in ImageFolder(str(tmp_path / "all"), shuffle=False).take(3)] == ["test/0", "train/0", "train/1"]
    (example,) = ImageFolder(str(tmp_path / "all" / "test")).take(1)
    assert len(example.images) == 1
    both = ImageFolder([str(tmp_path / "all" / name) for name in ("train", "test")], shuffle=False)
    assert [e.id for e in both.take(3)] == ["train/0", "train/1", "test/0"]


def test_what_is_wrong_is_said(tmp_path):
    write(tmp_path / "cats", "jsonl")
    with pytest.raises(MissingData, match=r"(?s)no folder '.*catz'.*did you mean: cats"):
        ImageFolder(str(tmp_path / "catz")).check()
    with pytest.raises(ValueError, match=r"neither .*pictures nor a folder in it has a table: metadata.jsonl"):
        ImageFolder(str(tmp_path / "cats" / "pictures")).check()
    (tmp_path / "cats" / "metadata.csv").write_text("file_name,question,answer\n")
    with pytest.raises(ValueError, match=r"has metadata.jsonl and metadata.csv: keep one"):
        ImageFolder(str(tmp_path / "cats")).check()


def test_a_picture_that_is_not_there_costs_its_row(tmp_path):
    path = write(tmp_path / "cats", "csv", 3)
    (tmp_path / "cats" / "pictures" / "1.png").unlink()
    source = ImageFolder(path)
    assert sorted(e.answer for e in source.take(3)) == ["0", "2"]
    assert source.malformed.total() == 1


def test_a_damaged_table_is_named(tmp_path):
    path = write(tmp_path / "cats", "parquet")
    (tmp_path / "cats" / "metadata.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"replay.image_folder: .*cats/metadata.parquet cannot be read: .*[Pp]arquet"):
        ImageFolder(path).check()


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    assert ImageFolder(write(tmp_path / "b[1]", "parquet"), shuffle=False).take(1)[0].id == "b[1]/0"


def test_a_column_that_the_first_rows_lack(tmp_path):
    path = write(tmp_path / "cats", "jsonl", 40)
    table = tmp_path / "cats" / "metadata.jsonl"
    row = {"file_name": "pictures/1.png", "question": "q", "answer": "B", "options": ["x", "y"]}
    table.write_text(f"{table.read_text()}\n{json.dumps(row)}")
    columns = {"question": "question", "answer": "answer", "image": "image", "choices": "options"}
    source = ImageFolder(path, columns=columns, shuffle=False)
    source.check()
    assert source.example(40).choices == ("x", "y")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_one_picture_and_rows_of_several(kind, tmp_path):
    path = write(tmp_path / "cats", "jsonl", 2)
    rows = [
        {"file_name": "pictures/0.png", "file_names": None, "question": "q0", "answer": "0"},
        {"file_name": None, "file_names": ["pictures/0.png", "pictures/1.png"], "question": "q1", "answer": "1"},
        {"file_name": "pictures/1.png", "file_names": [], "question": "q2", "answer": "2"},
        {"file_name": None, "file_names": None, "question": "q3", "answer": "3"},
    ]
    (tmp_path / "cats" / "metadata.jsonl").unlink()
    if kind == "jsonl":
        (tmp_path / "cats" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "cats" / "metadata.parquet")
    assert [len(example.images) for example in ImageFolder(path, shuffle=False).take(4)] == [1, 2, 1, 0]


def test_a_table_that_names_its_pictures_otherwise(tmp_path):
    path = write(tmp_path / "cats", "jsonl", column="image_file_name")
    with pytest.raises(
        ValueError, match=r"(?s)has no column file_name, file_names or image\n  did you mean: image_file_name"
    ):
        ImageFolder(path).check()
    columns = {"question": "question", "answer": "answer"}
    named = ImageFolder(path, columns=columns | {"image": "image_file_name"})
    assert [len(example.images) for example in named.take(6)] == [1] * 6
    assert [len(example.images) for example in ImageFolder(path, columns=columns).take(6)] == [0] * 6  # as was said


def test_pictures_behind_many_rows_of_text(tmp_path):
    path = write(tmp_path / "cats", "jsonl", 1)
    table = tmp_path / "cats" / "metadata.jsonl"
    picture = table.read_text()
    table.write_text("\n".join([json.dumps({"question": "q", "answer": "a"})] * 40 + [picture]))
    assert [len(example.images) for example in ImageFolder(path, shuffle=False).take(41)] == [0] * 40 + [1]
