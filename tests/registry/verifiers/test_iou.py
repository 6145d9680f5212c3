import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from registry import verifiers
from registry.box_formats import read_boxes
from registry.example import BoxFrame, Example
from registry.verifiers.box_frames import EDGE
from registry.verifiers.iou import IoU
from registry.verifiers.overlap import Box, intersection_over_union

FRAMES: tuple[BoxFrame, ...] = ("file", "processed", "fraction", "thousandths")
SIZES = {"file": (640, 480), "processed": (280, 140), "fraction": (1, 1), "thousandths": (1000, 1000)}
DATA = Path(__file__).parent / "data"
CASES = [
    json.loads(line) for name in ("boxes.jsonl", "boxes_more.jsonl") for line in (DATA / name).read_text().splitlines()
]
EXAMPLE = Example(
    id="grounding/1",
    question="where?",
    answer="[64, 48, 320, 240]",
    box_frame="file",
    file_size=SIZES["file"],
    processed_size=SIZES["processed"],
)

# Corners a thousandth apart at least, so that no box becomes empty when it is written down.
interval = st.tuples(st.integers(0, 999), st.integers(1, 1000)).map(
    lambda p: (p[0] / 1000, min(1000, p[0] + p[1]) / 1000)
)
boxes = st.tuples(interval, interval).map(lambda p: (p[0][0], p[1][0], p[0][1], p[1][1]))


def written(box: Box, frame: BoxFrame) -> str:
    """A box, given in fractions, as text in a frame."""
    width, height = SIZES[frame]
    return f"[{box[0] * width:.9f}, {box[1] * height:.9f}, {box[2] * width:.9f}, {box[3] * height:.9f}]"


@pytest.mark.parametrize("completion_frame", FRAMES)
@pytest.mark.parametrize("box_frame", FRAMES)
def test_one_box_gets_one_reward_in_every_frame(completion_frame: BoxFrame, box_frame: BoxFrame) -> None:
    reference, box = (0.1, 0.1, 0.5, 0.5), (0.1, 0.3, 0.5, 0.7)  # a third: 0.2 of height in common, of 0.6
    example = replace(EXAMPLE, answer=written(reference, box_frame), box_frame=box_frame)
    judge = IoU(completion_frame)
    assert judge(f"<answer>{written(box, completion_frame)}</answer>", example) == pytest.approx(1 / 3)
    assert judge(f"<answer>{written(reference, completion_frame)}</answer>", example) == pytest.approx(1)


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("[64, 48, 320, 240]", 1),
        ("[64.0, 48., 320.00, 240]", 1),
        ("the box is [64,48,320,240].", 1),
        ('```json\n[{"bbox_2d": [64, 48, 320, 240], "label": "cat"}]\n```', 1),
        ("[64, 48, 192, 240]", 0.5),
        ("[+64, 48, 320, 240]", 1),
        ("[-192, 48, 64, 240]", 0),  # touches
        ("[330, 250, 340, 260]", 0),  # apart
        ("[0, 0, 640, 480]", 0),  # the whole picture fits every question
        ("[0, 0, 630, 480]", 0.16 * 640 / 630),
        ("[320, 240, 64, 48]", 0),  # corners swapped
        ("[64, 48, 64, 240]", 0),  # no width
        ("[64, 48, 320]", 0),
        ("[64, 48, 320, 240, 1]", 0),
        ("[64, 48, 320, 240] or [0, 0, 640, 480]", 0),
        ("64, 48, 320, 240", 0),
        ("[a, b, c, d]", 0),
        ("[6.4e+01, 48, 320, 240]", 1),
        ("[nan, 48, 320, inf]", 0),
        ("[64, 48, 320, " + "9" * 400 + "]", 0),
        ("[64, 48, 320, 240" + " " * 100_000 + "]", 1),  # which means nothing
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_pinned(answer: str, reward: float) -> None:
    assert IoU("file")(f"<answer>{answer}</answer>", EXAMPLE) == pytest.approx(reward)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_cases(case: dict[str, Any]) -> None:
    example = Example(
        id="1",
        question="where?",
        answer=case["reference"],
        box_frame=case["box_frame"],
        file_size=tuple(case["file_size"]),
        processed_size=tuple(case["processed_size"]),
    )
    reward = IoU(case.get("completion_frame", "processed"))(f"<answer>{case['answer']}</answer>", example)
    if "reward" in case:
        assert reward == pytest.approx(case["reward"])
    else:
        assert reward is not None
        assert case["at_least"] <= reward <= 1


def test_the_answer_is_looked_for_in_its_place() -> None:
    example = replace(EXAMPLE, answer_in="whole")
    assert IoU("file")("It is at [64, 48, 320, 240].", example) == 1
    assert IoU("file")("<think>[0, 0, 1, 1]?</think>[64, 48, 320, 240]", example) == 1


def test_only_the_last_answer_counts() -> None:
    judge = IoU("file")
    assert judge("[64, 48, 320, 240]", EXAMPLE) == 0
    assert judge("<think>[64, 48, 320, 240]</think><answer></answer>", EXAMPLE) == 0
    assert judge("<answer>[0, 0, 1, 1]</answer><answer>[64, 48, 320, 240]</answer>", EXAMPLE) == 1


@given(boxes, boxes)
def test_is_symmetric_and_in_the_unit_interval(a: Box, b: Box) -> None:
    value = intersection_over_union(a, b)
    assert 0 <= value <= 1
    assert value == intersection_over_union(b, a)
    assert intersection_over_union(a, a) == 1


@given(boxes, boxes, st.sampled_from(FRAMES), st.sampled_from(FRAMES))
def test_the_frame_does_not_matter(a: Box, b: Box, frame_a: BoxFrame, frame_b: BoxFrame) -> None:
    assume(min(a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]) > 1e-4)
    assume(max(b[0], b[1], 1 - b[2], 1 - b[3]) > EDGE + 1e-4)  # the whole picture earns less
    example = replace(EXAMPLE, answer=written(a, frame_a), box_frame=frame_a)
    reward = IoU(frame_b)(f"<answer>{written(b, frame_b)}</answer>", example)
    assert reward == pytest.approx(intersection_over_union(a, b), abs=1e-5)


@given(st.one_of(st.text(), st.text(alphabet="[]-+., 0123456789e"), st.lists(st.floats(), max_size=5).map(str)))
def test_never_raises_on_babble(text: str) -> None:
    for completion in (text, f"<answer>{text}</answer>"):
        reward = IoU("processed")(completion, EXAMPLE)
        assert reward is not None
        assert 0 <= reward <= 1


@given(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), min_size=4, max_size=4))
def test_reads_what_python_prints(numbers: list[float]) -> None:
    assume(all("e" not in str(number) for number in numbers))
    assert read_boxes(str(numbers)) == [tuple(numbers)]


def test_does_not_apply_where_the_answer_is_no_box() -> None:
    assert IoU()("<answer>[0, 0, 1, 1]</answer>", Example(id="1", question="?", answer="4")) is None


@pytest.mark.parametrize("completion", ["<answer>[64, 48, 320, 240]</answer>", "babble"])
@pytest.mark.parametrize(
    ("example", "message"),
    [
        (replace(EXAMPLE, processed_size=None), "'grounding/1'.*'processed' needs processed_size; it is None"),
        (replace(EXAMPLE, file_size=None), "'grounding/1'.*'file' needs file_size; it is None"),
        (replace(EXAMPLE, file_size=(0, 4)), r"needs file_size; it is \(0, 4\)"),
        (replace(EXAMPLE, answer="the cat"), "must be a box .* not 'the cat'"),
        (replace(EXAMPLE, answer="[5, 5, 5, 9]"), "must be a box"),
        (replace(EXAMPLE, answer="[[5, 5, 6, 9], [1, 1, 2, 2]]"), r"must be one box .*not 2.*@verifiers.boxes\(\)"),
    ],
)
def test_mistakes_in_the_data_are_errors_whatever_the_completion(
    completion: str, example: Example, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        IoU("processed")(completion, example)


def test_unknown_frame() -> None:
    with pytest.raises(
        ValueError, match=r"completion_frame must be one of file, processed, fraction, thousandths; it is 'pixels'"
    ):
        IoU("pixels")  # type: ignore[arg-type]


def test_is_found_by_name_and_survives_pickling() -> None:
    judge = pickle.loads(pickle.dumps(verifiers.build("iou", completion_frame="fraction")))
    assert isinstance(judge, IoU)
    assert judge.completion_frame == "fraction"
