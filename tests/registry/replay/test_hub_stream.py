"""Streams of local folders: the same code reads those of the Hub."""

import io
import json

import datasets
import fsspec
import pytest
from PIL import Image

from registry.example import MalformedExample
from registry.replay.hub_stream import HubStream
from registry.testing import check_replay_source

ROWS = 50


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def picture(shade):
    stream = io.BytesIO()
    Image.new("L", (16, 12), shade).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three shards of 20, 20 and 10 rows; every tenth picture is corrupt."""
    for shard, start in enumerate((0, 20, 40)):
        numbers = range(start, min(start + 20, ROWS))
        images = [{"bytes": b"no picture" if i % 10 == 9 else picture(i), "path": None} for i in numbers]
        rows = {"problem": [f"q{i}" for i in numbers], "solution": [str(i) for i in numbers], "picture": images}
        table = datasets.Dataset.from_dict(rows).cast_column("picture", datasets.Image())
        (tmp_path / "data").mkdir(exist_ok=True)
        table.to_parquet(tmp_path / "data" / f"train-0000{shard}.parquet")
    return str(tmp_path / "data")


COLUMNS = {"question": "problem", "answer": "solution", "image": "picture"}


def stream(folder, **settings):
    return HubStream(folder, columns=COLUMNS, **{"window": 8, "seed": 3, **settings})


def answers(source, count):
    return [int(example.answer) for example in source.take(count)]


@pytest.mark.parametrize("window", [1, 8, 10, 25, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_keeps_the_contract(folder, window, shuffle):
    check_replay_source(lambda: stream(folder, window=window, shuffle=shuffle), count=9)


@pytest.mark.parametrize("window", [7, 10, 1000])
def test_every_epoch_holds_each_row_once_shuffled_within_windows(folder, window):
    source = stream(folder, window=window)
    usable = {i for i in range(ROWS) if i % 10 != 9}
    epochs = []
    for _ in range(3):
        epochs.append(answers(source, ROWS))
        assert sorted(epochs[-1]) == sorted(usable)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert source.malformed.total() == 3 * 5
    if window == 10:
        assert {i // 10 for i in epochs[0][:9]} == {0}, "the first window alone is in memory"


def test_unshuffled_rows_come_as_they_are_stored(folder):
    source = stream(folder, shuffle=False)
    assert answers(source, ROWS) == [i for i in range(ROWS) if i % 10 != 9]
    assert answers(source, 3) == [0, 1, 2], "and again"
    first = stream(folder, shuffle=False).example(0)
    assert (first.id, first.question, first.images[0].getpixel((0, 0))) == ("data/train/0", "q0", (0, 0, 0))


@pytest.mark.parametrize("stop", [1, 8, 23, 49, 50, 51, 77, 120])
def test_resumed_equals_uninterrupted(folder, stop):
    whole, first, second = (stream(folder) for _ in range(3))
    expected = answers(whole, 160)
    taken = answers(first, stop)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))  # as a checkpoint keeps it
    assert taken + answers(second, 160 - stop) == expected


def test_resuming_reads_nothing_before_the_window(folder, monkeypatch):
    source = stream(folder)
    source.take(45)
    state = source.state_dict()
    resumed = stream(folder)
    resumed.load_state_dict(state)
    opened = resumed._open()
    monkeypatch.setattr(HubStream, "_open", lambda _: opened)
    read = []
    iterate = type(opened).__iter__
    monkeypatch.setattr(type(opened), "__iter__", lambda self: (read.append(1) or row for row in iterate(self)))
    resumed.take(1)
    assert len(read) <= 8, "one window, of the last shard"


def test_any_number_of_processes_see_the_same(folder):
    alone = answers(stream(folder), 100)
    for processes in (2, 3):
        ranks = [stream(folder) for _ in range(processes)]
        together = [answer for rank, source in enumerate(ranks) for answer in _share(source, rank, processes)]
        assert sorted(together) == sorted(alone)


def _share(source, rank, processes):
    return [int(e.answer) for size in (7, 8, 85) for e in source.take(size, rank, processes)]


def test_json_lines_that_do_not_say_their_columns(tmp_path):
    (tmp_path / "lines").mkdir()
    lines = [json.dumps({"question": f"q{i}", "answer": i}) for i in range(5)]
    (tmp_path / "lines" / "train.jsonl").write_text("\n".join(lines))
    source = HubStream(str(tmp_path / "lines"), shuffle=False)
    assert answers(source, 6) == [0, 1, 2, 3, 4, 0]


def test_pictures_that_lie_beside_the_table_are_fetched(tmp_path):
    with fsspec.open("memory://pictures/1.png", "wb") as file:
        file.write(picture(7))
    (tmp_path / "lines").mkdir()
    row = {"question": "q", "answer": "a", "image": {"bytes": None, "path": "memory://pictures/1.png"}}
    (tmp_path / "lines" / "train.jsonl").write_text(json.dumps(row))
    (example,) = HubStream(str(tmp_path / "lines")).take(1)
    assert example.images[0].getpixel((0, 0)) == (7, 7, 7)


def test_a_picture_that_is_not_beside_the_table_costs_its_row(tmp_path):
    with fsspec.open("memory://there/1.png", "wb") as file:
        file.write(picture(7))
    (tmp_path / "lines").mkdir()
    rows = [
        {"question": "q", "answer": name, "image": {"bytes": None, "path": f"memory://there/{name}.png"}}
        for name in "112"
    ]
    (tmp_path / "lines" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = HubStream(str(tmp_path / "lines"), shuffle=False)
    assert answers(source, 3) == [1, 1]
    assert source.malformed.listed == ["lines/train, row 2: image 'memory://there/2.png' does not exist"]


def test_a_lost_connection_ends_the_run(folder, monkeypatch):
    def lost(*_):
        raise ConnectionError("no network")

    source = stream(folder)
    source.take(1)
    monkeypatch.setattr("registry.replay.hub_stream._fetched", lost)
    with pytest.raises(ValueError, match=r"replay.hub_stream: data/train: no network") as raised:
        source.take(1)
    assert not isinstance(raised.value, MalformedExample)


def test_what_is_wrong_is_said(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"(?s)data/train has no column 'problm', for question.*did you mean: problem"):
        HubStream(folder, columns={**COLUMNS, "question": "problm"}).take(1)
    with pytest.raises(ValueError, match=r"replay.hub_stream: data/val: "):
        stream(folder, split="val").take(1)
    with pytest.raises(ValueError, match="none of 16 rows tried can be used; the first: data/train, row 0"):
        HubStream(folder, columns={**COLUMNS, "answer": "picture"}, shuffle=False).take(1)
    with pytest.raises(ValueError, match="neither a folder that exists nor an id"):
        HubStream("./data/gone")
    with pytest.raises(ValueError, match="window must be a whole number, at least 1"):
        HubStream(folder, window=0)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the Hub"))
    HubStream("owner/name").check()
