"""Every domain file runs through the real loading code on rows with the published columns; the reference earns everything."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import gin
import pytest
from PIL import Image

from recap.experiment.config import load_config
from registry.answer_places import write_answer

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = ROOT / "experiments" / "domains"


def picture() -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, format="PNG")
    return {"bytes": stream.getvalue(), "path": None}


PICTURE = picture()
SEVEN = {f"image_{number}": PICTURE if number < 3 else None for number in range(1, 8)}
CHOICES = {"A": "cat", "B": "dog", "C": "nan", "D": None}
YIQINGLIANG = {"image": PICTURE, "problem": "Which? A. cat B. dog", "solution": "<answer>B</answer>"}
CHAT = [{"role": "user", "content": "1 + 1?\n\nAnswer: $Answer"}]
GSM8K = {"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}

# scope of the source -> a row as published; capabilities end in _test
ROWS: dict[str, dict[str, Any]] = {
    "ai2d_test": {"question": "Which?", "options": ["cat", "dog"], "answer": "1", "image": PICTURE},
    "chartqa_test": {"type": "human_test", "question": "How much?", "answer": "12.5", "image": PICTURE},
    "infovqa_test": {"questionId": "7", "question": "Who?", "answers": ["Ann", "ann lee"], "image": PICTURE},
    "vizwiz_test": {
        "question_id": "VizWiz_7", "image": PICTURE, "question": "What?", "answers": ["cup"] * 10, "category": "other"
    },
    "mathvista_test": {
        "pid": "7", "question": "Which?", "image": "images/7.jpg", "decoded_image": PICTURE, "choices": ["cat", "dog"],
        "answer": "dog", "question_type": "multi_choice", "answer_type": "text",
    },
    "mathvision_test": {
        "id": "7", "question": "How many?\n<image1>", "options": ["1", "2"], "decoded_image": PICTURE, "answer": "B"
    },
    "mathverse_test": {
        "sample_index": "7", "problem_version": "Text Lite", "image": PICTURE, "answer": "B", "query_wo": "A:1 B:2",
        "question_type": "multi-choice",
    },
    "mmmu_test": {
        "id": "7", "question": "Is <image 1> like <image 2>?", "options": "['yes', 'no']", "answer": "B", "subfield": "s",
        **SEVEN,
    },
    "mmmu_pro_test": {
        "id": "7", "question": "Is <image 1> like <image 2>?", "options": "['yes', 'no']", "answer": "B", "subject": "s",
        **SEVEN,
    },
    "mmmu_pro_vision_test": {"id": "7", "image": PICTURE, "options": "['yes', 'no']", "answer": "B", "subject": "s"},
    "mmbench_test": {
        "index": 7, "question": "Which?", "hint": "nan", "answer": "B", "category": "c", "image": PICTURE, **CHOICES
    },
    "scienceqa_test": {
        "image": PICTURE, "question": "Which?", "choices": ["cat", "dog"], "answer": 0, "hint": "It mews."
    },
    "sat_test": YIQINGLIANG,
    "ocrbench_v2_test": {
        "id": 7, "question": "What?", "answers": ["stop"], "image": PICTURE, "type": "text recognition en", "eval": "x"
    },
    "gsm8k": GSM8K,
    "gsm8k_test": GSM8K,
    "math": {"problem": "1 + 1?", "solution": r"It is $\boxed{2}$."},
    "math500_test": {"problem": "1 + 1?", "answer": "2", "unique_id": "test/7.json"},
    "dapo_math": {"source_prompt": CHAT, "reward_model": {"ground_truth": "2", "style": "rule"}},
}  # fmt: skip

# scope of the source -> a row of a JSON list beside its pictures
BOXED = {"image": "train2014/1.png", "problem": "Where is the cat?", "solution": [8, 10.5, 40, 30]}
FILE_ROWS: dict[str, dict[str, Any]] = {"lisa_test": BOXED, "refcoco_test": BOXED}

FILES = {
    **{file.stem: file for file in (DOMAINS / "benchmarks").glob("*.gin")},
    **{file.stem: file for file in (DOMAINS / "text").glob("*.gin")},
}


@pytest.fixture(autouse=True)
def _local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    yield
    gin.clear_config()


def written(folder: Path, row: dict[str, Any]) -> str:
    (folder / "train2014").mkdir(parents=True)
    (folder / row["image"]).write_bytes(PICTURE["bytes"])
    (folder / "rows.json").write_text(json.dumps([row]))
    return str(folder)


def saved(folder: Path, row: dict[str, Any]) -> str:
    rows = datasets.Dataset.from_list([row])
    for column, value in row.items():
        if value is PICTURE:
            rows = rows.cast_column(column, datasets.Image())
    rows.save_to_disk(folder)
    return str(folder)


@pytest.mark.parametrize("name", FILES)
def test_rows_as_published_become_examples_and_the_reference_earns_all(name: str, tmp_path: Path) -> None:
    text = FILES[name].read_text()
    scopes = [scope for scope in ROWS if f"@{scope}/replay" in text]
    file_scopes = [scope for scope in FILE_ROWS if f"@{scope}/replay" in text]
    assert scopes or file_scopes
    capabilities = [line.split("/")[0] for line in text.splitlines() if "/Capability.source" in line]
    trained = [line.split("/")[0] for line in text.splitlines() if "/Domain.source" in line]
    domains = ", ".join(f"@{one}/Domain()" for one in trained) or "@arithmetic/Domain()"
    lines = [
        "train.model = @backends.tiny_qwen2_5_vl()",
        "train.steps = 1",
        "train.reweighting = @reweighting.uniform",
        "include 'experiments/domains/tiny/arithmetic.gin'",
        f"include '{FILES[name].relative_to(ROOT)}'",
        f"train.domains = [{domains}]",
        f"train.capabilities = [{', '.join(f'@{one}/Capability()' for one in capabilities)}]",
    ]
    for scope in scopes:
        path = saved(tmp_path / scope, ROWS[scope])
        lines += [f"{scope}/replay.hub_dataset.dataset = '{path}'", f"{scope}/replay.hub_dataset.configs = ()"]
        lines += [f"{scope}/replay.hub_dataset.split = 'train'"]
    for scope in file_scopes:
        path = written(tmp_path / scope, FILE_ROWS[scope])
        lines += [f"{scope}/replay.jsonl.path = '{path}/rows.json'", f"{scope}/replay.jsonl.image_root = '{path}'"]
    mine = tmp_path / "mine.gin"
    mine.write_text("\n".join(lines))
    experiment = load_config(mine, allow_unused=True).experiment
    assert experiment.check() == []
    parts = [(part, [part.verifier]) for part in experiment.capabilities]
    parts += [(part, list(part.verifiers.values())) for part in experiment.domains if trained]
    for part, verifiers in parts:
        (example,) = part.source.take(1)
        as_is = example.file_size  # nothing is resized
        example = replace(example, answer_in=part.answer, processed_size=as_is)
        assert part.source.malformed.total() == 0
        prompt = part.ask(example).text
        assert "{question}" not in prompt
        assert prompt.count("<image>") in (0, len(example.images))
        for verifier in verifiers:
            assert verifier(write_answer(example.answer, example.answer_in), example) == 1
            assert not verifier(write_answer("zebra", example.answer_in), example)


def test_every_row_belongs_to_a_file() -> None:
    together = "".join(file.read_text() for file in FILES.values())
    assert [scope for scope in {**ROWS, **FILE_ROWS} if f"@{scope}/replay" not in together] == []
