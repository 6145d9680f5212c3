import base64
import csv
import io
import json
import multiprocessing

import datasets
import pyarrow.parquet
import pytest
from PIL import Image

from registry.replay.files import Csv, Jsonl, Parquet
from registry.testing import check_replay_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def rows(count, prefix="q"):
    return [{"question": f"{prefix}{i}", "answer": f"a{i}"} for i in range(count)]


def write_jsonl(file, values):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(file)


def write_text(file, text):
    file.write_text(text, encoding="utf-8")
    return str(file)


def write_parquet(file, values):
    datasets.Dataset.from_list(values).to_parquet(file)
    return str(file)


def write_csv(file, values, delimiter=","):
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(values[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(values)
    return str(file)


def png(size=(64, 48)):
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, format="PNG")
    return stream.getvalue()


def in_order(source):
    source.check()
    return [source.example(position) for position in range(source.length)]


@pytest.mark.parametrize(("source", "write"), [(Jsonl, write_jsonl), (Parquet, write_parquet), (Csv, write_csv)])
class TestAll:
    def test_keeps_the_contract(self, source, write, tmp_path):
        path = write(tmp_path / "data.file", rows(30))
        check_replay_source(lambda: source(path, seed=3), count=14)

    def test_files_and_patterns(self, source, write, tmp_path):
        for name, count in {"b": 2, "a": 1, "z[1]": 1}.items():
            write(tmp_path / f"{name}.data", rows(count, name))
        both = [str(tmp_path / "z[1].data"), str(tmp_path / "*.data")]
        assert [e.id for e in in_order(source(both, shuffle=False))] == ["z[1]/0", "a/0", "b/0", "b/1"]

    def test_missing_file(self, source, write, tmp_path):
        write(tmp_path / "train.data", rows(1))
        with pytest.raises(ValueError, match=r"(?s)no file '.*trian.data'.*did you mean: train.data"):
            source(str(tmp_path / "trian.data")).check()
        with pytest.raises(ValueError, match=r"no file '.*': there is no folder '.*gone'"):
            source(str(tmp_path / "gone" / "train.data")).check()

    def test_missing_column(self, source, write, tmp_path):
        path = write(tmp_path / "train.data", rows(1))
        columns = {"question": "question", "answer": "anwser"}
        with pytest.raises(
            ValueError, match=r"(?s)train.data has no column 'anwser', for answer.*did you mean: answer"
        ):
            source(path, columns=columns).check()
        with pytest.raises(ValueError, match="'caption', for explode"):
            source(path, explode="caption").check()


def test_vlm_r1_refcoco(tmp_path):
    (tmp_path / "coco" / "train2014").mkdir(parents=True)
    (tmp_path / "coco" / "train2014" / "1.png").write_bytes(png())
    prompt = "<image>Please provide the bounding box of: the cat"
    turns = [
        [{"from": "human", "value": prompt}, {"from": "gpt", "value": box}]
        for box in ([1, 2.5, 30, 40], "[5, 6, 7, 8]")
    ]
    values = [{"id": 1, "image": "train2014/1.png", "conversations": turn} for turn in turns]
    gone = {"id": 2, "image": "train2014/gone.png", "conversations": turns[0]}
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", [*values, gone]) for name in ("refcoco_train", "refcocop_train")]
    source = Jsonl(
        paths,
        columns={"image": "image", "conversations": "conversations"},
        convert="conversations",
        box_frame="file",
        image_root=str(tmp_path / "coco"),
        max_image_side=32,
        shuffle=False,
    )
    source.check()
    first, second, *_ = examples = source.take(6)
    assert [e.id for e in examples] == [f"{name}/{i}" for name in ("refcoco_train", "refcocop_train") for i in (0, 1)]
    assert first.question == "Please provide the bounding box of: the cat"
    assert (first.answer, second.answer) == ("[1, 2.5, 30, 40]", "[5, 6, 7, 8]")
    assert (first.images[0].size, first.file_size, first.box_frame) == ((32, 24), (64, 48), "file")
    assert source.malformed.total() == 2
    assert source.malformed.listed[0].startswith(f"{paths[0]}, line 3: image 'train2014/gone.png' does not exist")


def test_lisa_test_is_one_json_list(tmp_path):
    (tmp_path / "1.png").write_bytes(png())
    file = tmp_path / "lisa_test.json"
    file.write_text(
        json.dumps([{"image": "1.png", "problem": "Where?", "solution": [1, 2, 30, 40]}, "no row"], indent=1)
    )
    columns = {"image": "image", "question": "problem", "answer": "solution"}
    source = Jsonl(str(file), columns=columns, box_frame="file", shuffle=False)
    (example,) = source.take(2)
    assert (example.id, example.answer) == ("lisa_test/0", "[1, 2, 30, 40]")
    assert source.malformed.total() == 1
    file.write_text('[{"image": ')
    with pytest.raises(ValueError, match="begins as a JSON list, but is none"):
        Jsonl(str(file)).check()


def test_lines_that_are_no_rows_are_skipped_and_counted(tmp_path):
    lines = [
        "\ufeff" + json.dumps(rows(1)[0]),
        "",
        '{"question": "cut of',
        "3",
        '{"question": "no answer"}',
        '{"question": null, "answer": "a"}',
        '{"question": ["q"], "answer": "a"}',
        "[" * 100_000,
        json.dumps({"question": "größer?", "answer": "ja"}, ensure_ascii=False),
    ]
    file = tmp_path / "data.jsonl"
    file.write_bytes("\n".join(lines).encode() + b'\n{"question": "\xff", "answer": "a"}')
    source = Jsonl(str(file), shuffle=False)
    source.check()
    assert [example.question for example in source.take(source.length)] == ["q0", "größer?"]
    assert sorted(reason.split(", ")[1].split(":")[0] for reason in source.malformed.listed) == [
        *("line 10", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8")
    ]
    assert f"{file}, line 5: answer is missing" in source.malformed.listed


@pytest.mark.parametrize("kind", [write_jsonl, lambda file, values: write_text(file, json.dumps(values))])
def test_a_column_that_the_first_rows_lack(kind, tmp_path):
    path = kind(tmp_path / "data.json", [*rows(99), {"question": "q", "answer": "B", "options": ["x", "y"]}])
    columns = {"question": "question", "answer": "answer", "choices": "options"}
    assert in_order(Jsonl(path, columns=columns, shuffle=False))[99].choices == ("x", "y")
    with pytest.raises(ValueError, match=r"(?s)no column 'option', for choices.*did you mean: options"):
        Jsonl(path, columns={**columns, "choices": "option"}).check()


def test_rows_may_lack_what_the_converter_reads(tmp_path):
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    path = write_jsonl(tmp_path / "data.jsonl", [{"conversations": turns}, {"other": 1}])
    source = Jsonl(path, convert="conversations")
    assert len(source.take(2)) == 1
    assert source.malformed.total() == 1
    picture = {"image": "1.png", "answer": "a"}
    (tmp_path / "1.png").write_bytes(png())
    source = Jsonl(write_jsonl(tmp_path / "data.jsonl", [*rows(1), picture]), shuffle=False)
    source.take(2)
    assert source.malformed.listed == [f"{path}, line 2: question is missing"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ("a,b\n1,2\n", "none of 2 rows tried can be used; the first: .*not JSON"),
    ],
)
def test_files_without_rows(text, complaint, tmp_path):
    (tmp_path / "data.jsonl").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        Jsonl(str(tmp_path / "data.jsonl")).check()


def test_same_names_in_two_folders_and_kinds(tmp_path):
    for name in ("a/train.jsonl", "b/train.jsonl", "b/train.json"):
        write_jsonl(tmp_path / name, rows(1))
    assert {e.id for e in in_order(Jsonl(str(tmp_path / "*" / "train.jsonl")))} == {"a/train/0", "b/train/0"}
    assert {e.id for e in in_order(Jsonl(str(tmp_path / "b" / "*")))} == {"train.json/0", "train.jsonl/0"}


def test_read_after_a_fork(tmp_path):
    source = Jsonl(write_jsonl(tmp_path / "data.jsonl", rows(200)), shuffle=False)
    source.check()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        examples = pool.map(source.example, range(200), chunksize=1)
    assert [example.question for example in examples] == [f"q{i}" for i in range(200)]


def test_image_root_must_be_a_folder(tmp_path):
    path = write_jsonl(tmp_path / "data.jsonl", rows(1))
    with pytest.raises(ValueError, match="image_root 'gone' is not a folder"):
        Jsonl(path, image_root="gone").check()


def test_not_parquet(tmp_path):
    path = write_jsonl(tmp_path / "data.parquet", rows(1))
    with pytest.raises(ValueError, match=r"data.parquet is not a Parquet file"):
        Parquet(path).check()


def test_parquet_without_rows_is_passed_over(tmp_path):
    write_parquet(tmp_path / "b.parquet", rows(2))
    pyarrow.parquet.write_table(pyarrow.table({"question": pyarrow.array([], "string")}), tmp_path / "a.parquet")
    assert [e.id for e in in_order(Parquet(str(tmp_path / "*.parquet"), shuffle=False))] == ["b/0", "b/1"]
    with pytest.raises(ValueError, match=r"replay.parquet has no rows: .*a.parquet is empty"):
        Parquet(str(tmp_path / "a.parquet")).take(1)


def test_damaged_parquet_says_what_is_wrong(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", rows(2_000))
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:400] = b"\xff" * 396
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.parquet cannot be read: An error occurred .*: (OSError|ArrowInvalid): \w"):
        Parquet(path).take(1)


def test_parquet_with_corrupt_picture(tmp_path):
    values = [{**row, "image": {"bytes": data, "path": None}} for row, data in zip(rows(2), [png(), b"x"], strict=True)]
    dataset = datasets.Dataset.from_list(values).cast_column("image", datasets.Image())
    dataset.to_parquet(tmp_path / "data.parquet")
    source = Parquet(str(tmp_path / "data.parquet"))
    assert [example.images[0].size for example in source.take(2)] == [(64, 48)]
    assert source.malformed.total() == 1


def test_csv_keeps_every_value_as_it_is_written(tmp_path):
    values = [
        {"question": 'Say "7,\n8".', "answer": "007"},
        {"question": "none", "answer": ""},
        {"question": "q", "answer": "1"},
    ]
    path = write_csv(tmp_path / "data.csv", values)
    source = Csv(path, shuffle=False)
    source.check()
    assert [(e.question, e.answer) for e in source.take(3)] == [('Say "7,\n8".', "007"), ("q", "1")]
    assert source.malformed.total() == 1
    with (tmp_path / "data.csv").open("a") as stream:
        stream.write("one,two,three\n")
    with pytest.raises(ValueError, match=r"data.csv, line 6: 3 values for 2 columns"):
        Csv(path, shuffle=False).example(3)


def test_tab_separated_with_pictures_in_base64(tmp_path):
    image = base64.b64encode(
        png((400, 300)) + b"\0" * 150_000
    ).decode()  # more than the 131,072 characters Python allows
    values = [{"index": "1", "image": image, "question": "What?", "A": "x", "B": "y", "C": "nan", "answer": "A"}]
    columns = {"image": "image", "question": "question", "answer": "answer", "choices": ["A", "B", "C"], "id": "index"}
    (example,) = Csv(write_csv(tmp_path / "mmbench.tsv", values, "\t"), columns=columns).take(1)
    assert (example.id, example.images[0].size, example.choices) == ("mmbench/1", (400, 300), ("x", "y"))


def test_what_is_no_csv(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer,answer\n1,2,3\n")
    with pytest.raises(ValueError, match="has several columns answer"):
        Csv(str(tmp_path / "a.csv")).check()
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a.csv, line 1: not text in UTF-8: .*0xff"):
        Csv(str(tmp_path / "a.csv")).check()
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match="has no rows"):
        Csv(str(tmp_path / "a.csv")).check()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('"7" inch,1', "a.csv, line 3: a stray quote .*: ',' expected after '\"'"),
        ('"never closed,1', "a.csv, line 3: a stray quote .*: unexpected end of data"),
        ("gr\udcf6n,1", "a.csv, line 3: not text in UTF-8: .*0xf6"),
    ],
)
def test_csv_that_cannot_be_read_names_the_line(line, complaint, tmp_path):
    lines = ["question,answer", "q,1", line, *["q,1"] * 2_000, ""]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=complaint):
        Csv(str(tmp_path / "a.csv")).check()


def test_csv_columns_without_a_name_are_left_out(tmp_path):
    path = write_text(tmp_path / "a.csv", ",question,answer,, \n0,q,1,,\n1,r,2,x,y\n2,s,3\n")
    source = Csv(path, shuffle=False)
    source.check()
    assert [(e.question, e.answer) for e in source.take(3)] == [("q", "1"), ("r", "2")]
    assert source.malformed.listed == [f"{path}, line 4: 3 values for 5 columns"]
