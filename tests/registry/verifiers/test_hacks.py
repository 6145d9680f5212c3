"""Known ways to a reward without an answer pay nothing, whichever verifier is asked."""

import pytest

from registry import verifiers
from registry.example import Example

TEXT = Example(id="text", question="What does the sign say?", answer="no parking")
NUMBER = Example(id="number", question="How many are 47 and 38?", answer="85")
BOX = Example(id="box", question="Where?", answer="[10, 20, 300, 400]", box_frame="thousandths")
VQA = Example(id="vqa", question="Is it red?", answer="yes", metadata={"answers": ("yes",) * 9 + ("no",)})
JSON = Example(id="json", question="As JSON?", answer='{"a": 1}')
JUDGES = {
    "exact_match": (TEXT, {}),
    "anls": (TEXT, {}),
    "vqa_accuracy": (VQA, {}),
    "relaxed_accuracy": (NUMBER, {}),
    "json_match": (JSON, {}),
    "iou": (BOX, {"completion_frame": "thousandths"}),
    "iou_at": (BOX, {"completion_frame": "thousandths"}),
    "giou": (BOX, {"completion_frame": "thousandths"}),
    "point_in_box": (BOX, {"completion_frame": "thousandths"}),
}
BOXES = ("iou", "iou_at", "giou", "point_in_box")


@pytest.mark.parametrize("name", JUDGES)
def test_the_answer_has_to_be_given_as_the_answer(name: str) -> None:
    example, settings = JUDGES[name]
    judge = verifiers.build(name, **settings)
    right = example.answer
    assert judge(f"<answer>{right}</answer>", example) == 1
    for hack in (
        f"<think>{right}</think>",
        f"<think><answer>{right}</answer></think>",
        f"<think>{right}</think><answer></answer>",
        f"<think>{right}</think><answer> \n</answer>",
        f"{right}<answer>",
        right,
        f"<answer>{example.question}</answer>",
        f"<answer>{right}</answer><answer></answer>",
    ):
        assert judge(hack, example) == 0, hack


@pytest.mark.parametrize("name", [name for name in JUDGES if name != "anls"])
def test_several_answers_are_none(name: str) -> None:
    """Not of anls: by its rule, a text half of which is right is worth a half."""
    example, settings = JUDGES[name]
    judge = verifiers.build(name, **settings)
    others = ["[1, 2, 30, 40]", "(1, 2), (30, 40)"] if name in BOXES else ["no", "84", '{"b": 2}', "maybe"]
    for other in others:
        assert judge(f"<answer>{example.answer} {other}</answer>", example) == 0
        assert judge(f"<answer>{other} or {example.answer}</answer>", example) == 0


@pytest.mark.parametrize("name", ["iou", "iou_at", "giou"])
@pytest.mark.parametrize("box", ["[0, 0, 1000, 1000]", "[-500, -500, 2000, 2000]", "(3,4),(998,996)"])
def test_the_whole_picture_is_no_box(name: str, box: str) -> None:
    example, settings = JUDGES[name]
    assert verifiers.build(name, **settings)(f"<answer>{box}</answer>", example) == 0


def test_the_middle_of_the_picture_is_a_point_like_another() -> None:
    example, settings = JUDGES["point_in_box"]
    assert verifiers.build("point_in_box", **settings)("<answer>[0, 0, 1000, 1000]</answer>", example) == 0


def test_a_restatement_is_not_the_number() -> None:
    for restated in ("47 + 38", "85/1", "170 / 2", "85 or so"):
        assert verifiers.build("relaxed_accuracy")(f"<answer>{restated}</answer>", NUMBER) == 0
