"""Every source is opened and read before the first step, and stays where it is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import pytest
from PIL import Image

from recap.experiment.prepare import ROWS, open_source
from registry.replay.counting import Counting
from registry.replay.files import Jsonl
from registry.replay.hub_dataset import HubDataset

BINDING = "replayed/Domain.source"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return tmp_path / "cache"


def rows(tmp_path: Path, answers: list[object]) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i}?", "answer": a}) + "\n" for i, a in enumerate(answers)))
    return str(file)


def test_rows_and_what_is_wrong_with_the_first_of_them(tmp_path: Path) -> None:
    source = Jsonl(rows(tmp_path, ["yes", None, "no"]))
    opened = open_source(BINDING, source)
    assert (opened.length, opened.read, opened.malformed) == (3, 3, 1)
    assert str(opened).startswith("replayed/Domain.source: 3 rows, the first 3 read (1 malformed), ")
    assert source.position == 0
    assert not source.malformed.total()


def test_a_source_without_end() -> None:
    assert str(open_source(BINDING, Counting())).startswith(f"{BINDING}: no known end, the first {ROWS} read, ")


def test_what_cannot_be_used_is_an_error_with_its_binding(tmp_path: Path) -> None:
    for source in (Jsonl(rows(tmp_path, [None, None])), Jsonl(str(tmp_path / "nowhere" / "x.jsonl"))):
        with pytest.raises(ValueError, match=rf"^{BINDING}: replay.jsonl: "):
            open_source(BINDING, source)


def test_a_data_set_is_built_and_its_pictures_are_decoded(tmp_path: Path, cache: Path) -> None:
    """As `load_dataset` builds what it has downloaded: from Parquet, with the published columns; a picture is broken."""
    stream = io.BytesIO()
    Image.new("RGB", (60, 40)).save(stream, format="PNG")
    pictures = [{"bytes": data, "path": None} for data in (stream.getvalue(), b"not a picture", stream.getvalue())]
    table = {"image": pictures, "problem": ["a?", "b?", "c?"], "answer": ["1", "2", "3"]}
    (tmp_path / "published").mkdir()
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "published" / "train-0.parquet")
    columns = {"image": "image", "question": "problem", "answer": "answer"}
    source = HubDataset(str(tmp_path / "published"), columns=columns)
    source.check()
    assert not list(cache.rglob("*.arrow")), "a check builds nothing"
    opened = open_source(BINDING, source)
    assert (opened.length, opened.read, opened.malformed) == (3, 3, 1)
    assert list(cache.rglob("*.arrow"))
