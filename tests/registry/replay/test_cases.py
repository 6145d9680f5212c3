"""Rows as people publish them, each with what is right (cases/rows.jsonl); one line stands for a kind."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from registry.replay.files import Jsonl

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases" / "rows.jsonl").read_text().splitlines()]


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 50).save(stream, format=kind)
    return stream.getvalue()


LARGE = picture(size=(256, 256))  # 60 kB: longer than any name of a file may be
STAND_INS = {
    "BASE64": base64.b64encode(LARGE).decode(),
    "BASE64 IN LINES": base64.encodebytes(LARGE).decode(),
    "BASE64 FOR ADDRESSES": base64.urlsafe_b64encode(LARGE).decode().rstrip("="),
    "BASE64 OF A JPEG": base64.b64encode(picture("JPEG")).decode(),  # begins with a slash
    "BASE64 CUT OFF": base64.b64encode(LARGE).decode()[:30_000],
    "DATA URI": "data:image/png;base64," + base64.b64encode(LARGE).decode(),
    "LONG TEXT": "x" * 80_000,
}


def filled_in(value):
    if isinstance(value, dict):
        return {key: filled_in(item) for key, item in value.items()}
    return STAND_INS.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_row(case, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(picture(size=(32, 32)))
    usable = {"question": "usable", "answer": [0, 0, 1.5, 2], "image": "a.png"}
    if "box_frame" not in case.get("source", {}):
        usable = {"question": "usable", "q": "usable", "answer": 0, "a": 0, "choices": ["x"]}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (filled_in(case["row"]), usable)))
    source = Jsonl(str(file), shuffle=False, **case.get("source", {}))
    examples, right = source.take(2), case["right"]
    if "malformed" in right:
        with pytest.raises(ValueError, match=right["malformed"]):
            source.example(0)
        assert [example.question for example in examples] in (["usable"], ["usable\nA. x"])
        assert source.malformed.total() == 1
        return
    example = examples[0]
    found = {
        "question": example.question,
        "answer": example.answer,
        "images": len(example.images),
        "answers": list(example.metadata.get("answers", ())),
        "id": example.id,
        "target": example.target,
        "first_size": list(example.file_size or ()),
    }
    assert {name: found[name] for name in right} == right
    assert example.question.count("<image>") in (0, len(example.images))
