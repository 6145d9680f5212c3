import io
import json
import multiprocessing
import tarfile

import datasets
import pytest
from PIL import Image

from registry.replay.webdataset import WebDataset, is_picture
from registry.testing import check_replay_source


def picture(shade, kind="PNG"):
    stream = io.BytesIO()
    Image.new("L", (16, 12), shade).save(stream, format=kind)
    return stream.getvalue()


def write(file, members, mode="w"):
    with tarfile.open(file, mode) as shard:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                (entry.type, entry.linkname), data = data, b""
            entry.size = len(data)
            shard.addfile(entry, io.BytesIO(data))
    return str(file)


def plain(start, count):
    for i in range(start, start + count):
        yield f"{i:04}.png", picture(i)
        yield f"{i:04}.json", json.dumps({"question": f"q{i}", "answer": str(i)}).encode()


@pytest.fixture
def shards(tmp_path):
    for number, start in enumerate((0, 7)):
        write(tmp_path / f"train-{number}.tar", plain(start, 7))
    return str(tmp_path / "train-*.tar")


def test_keeps_the_contract(shards):
    check_replay_source(lambda: WebDataset(shards, seed=2))


def test_examples(shards):
    source = WebDataset(shards, shuffle=False)
    source.check()
    examples = source.take(14)
    assert [(e.question, e.answer) for e in examples] == [(f"q{i}", str(i)) for i in range(14)]
    assert [e.images[0].getpixel((0, 0))[0] for e in examples] == list(range(14))
    assert (examples[0].id, examples[-1].id) == ("train-0/0000", "train-1/0013")


def test_as_datasets_reads_it(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    theirs = datasets.load_dataset("webdataset", data_files=shards, split="train")
    assert [(row["json"]["question"], row["png"].getpixel((0, 0))) for row in theirs] == [
        (e.question, e.images[0].getpixel((0, 0))[0]) for e in WebDataset(shards, shuffle=False).take(14)
    ]


def test_other_files_are_columns_under_their_endings(tmp_path):
    members = [
        ("README", b"none of the examples"),
        ("./val/1.txt", "größe?".encode()),
        ("./val/1.cls", b"1"),
        ("./val/1.left.jpg", picture(1, "JPEG")),
        ("./val/1.right.JPG", picture(2, "JPEG")),
        ("./val/1.boxes.json", b"[1, 2]"),
    ]
    columns = {
        "question": "txt",
        "answer": "cls",
        "choices": "boxes.json",
        "image": ["right.jpg", "left.jpg"],
    }
    path = write(tmp_path / "a.tar", members)
    (example,) = WebDataset(path, columns=columns).take(1)
    assert (example.id, example.question, example.answer) == ("a/val/1", "größe?\nA. 1\nB. 2", "B")
    assert [image.getpixel((0, 0))[0] for image in example.images] == [2, 1]
    columns["image"] = "image"
    (example,) = WebDataset(path, columns=columns).take(1)
    assert [image.getpixel((0, 0))[0] for image in example.images] == [1, 2], "all, in the order of the shard"


def test_long_names_and_many_members(tmp_path):
    names = [f"{'x' * 150}/{i}" for i in range(300)]
    members = [(f"{name}.json", json.dumps({"question": name, "answer": "a"}).encode()) for name in names]
    source = WebDataset(write(tmp_path / "a.tar", members), shuffle=False)
    assert [e.question for e in source.take(300)] == names


def test_damaged_examples_are_skipped_and_counted(tmp_path):
    members = [
        *plain(0, 3),
        ("0003.json", b"{"),
        ("0004.cls", b"many"),
        ("0005.png", b"no picture"),
        *list(plain(6, 1)),
    ]
    source = WebDataset(write(tmp_path / "a.tar", members), shuffle=False)
    assert [e.answer for e in source.take(7)] == ["0", "1", "2", "6"]
    assert source.malformed.total() == 3


def asked(source, count):
    """Of each example, its question and the shades of its pictures."""
    return [(e.question, [image.getpixel((0, 0))[0] for image in e.images]) for e in source.take(count)]


@pytest.mark.parametrize("key", [lambda name: name.rpartition(".")[2], lambda name: name[::-1]])
def test_files_of_one_example_need_not_stand_together(tmp_path, key):
    members = sorted(plain(0, 12), key=lambda member: key(member[0]))
    order = dict.fromkeys(int(name.partition(".")[0]) for name, _ in members)
    source = WebDataset(write(tmp_path / "a.tar", members), shuffle=False)
    assert source.length == 12
    assert asked(source, 12) == [(f"q{i}", [i]) for i in order], "in the order in which they appear"


def test_two_files_of_one_name_are_malformed(tmp_path):
    members = [*plain(0, 2), ("./0000.json", b"{}")]
    source = WebDataset(path := write(tmp_path / "a.tar", members), shuffle=False)
    assert asked(source, 2) == [("q1", [1])]
    assert source.malformed.listed == [f"{path}, 0000: several files .json"]


def test_links_within_the_tar(tmp_path):
    ask = [(f"{i}.json", json.dumps({"question": f"q{i}", "answer": "a"}).encode()) for i in range(6)]
    members = [
        ("pool/x", picture(7)),
        *ask,
        ("0.png", (tarfile.LNKTYPE, "pool/x")),
        ("1.png", (tarfile.SYMTYPE, "pool/../pool/x")),
        ("2.png", (tarfile.SYMTYPE, "./1.png")),
        ("3.png", (tarfile.SYMTYPE, "../gone.png")),
        ("4.png", (tarfile.SYMTYPE, "4.png")),
        ("5.png", (tarfile.SYMTYPE, "pool/later")),
        ("pool/later", picture(8)),
        ("sub/6.json", json.dumps({"question": "q6", "answer": "a"}).encode()),
        ("sub/6.png", (tarfile.SYMTYPE, "../pool/x")),
    ]
    source = WebDataset(path := write(tmp_path / "a.tar", members), shuffle=False)
    assert asked(source, 7) == [("q0", [7]), ("q1", [7]), ("q2", [7]), ("q5", [8]), ("q6", [7])]
    assert source.malformed.listed == [
        f"{path}, 3.png: a link to '../gone.png', no file of the tar",
        f"{path}, 4.png: a link to '4.png', no file of the tar",
    ]


def test_null_is_filled_by_the_picture_beside_it(tmp_path):
    ask = json.dumps({"question": "q", "answer": "a", "image": None}).encode()
    assert asked(WebDataset(write(tmp_path / "a.tar", [("1.png", picture(3)), ("1.json", ask)])), 1) == [("q", [3])]


def test_what_counts_as_a_picture():
    assert all(map(is_picture, ("jpg", "left.png", "webp", "tiff", "mpo", "jp2")))
    assert not any(map(is_picture, ("pdf", "eps", "ps", "h5", "mpg", "grib", "npy", "json", "png.txt", "")))


def test_what_is_wrong_is_said(tmp_path, shards):
    (tmp_path / "no.tar").write_text("no tar file")
    with pytest.raises(ValueError, match=r"no.tar is not an uncompressed tar file"):
        WebDataset(str(tmp_path / "no.tar")).check()
    with pytest.raises(ValueError, match=r"a.tar.gz is not an uncompressed tar file"):
        WebDataset(write(tmp_path / "a.tar.gz", plain(0, 2), "w:gz")).check()
    with pytest.raises(ValueError, match=r"(?s)train-0.tar has no column 'anwser', for answer.*columns: png, question"):
        WebDataset(shards, columns={"question": "question", "answer": "anwser"}).check()


def test_read_after_a_fork(shards):
    source = WebDataset(shards, shuffle=False)
    source.check()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        examples = pool.map(source.example, range(14), chunksize=1)
    assert [example.answer for example in examples] == [str(i) for i in range(14)]
