import pytest

from recap.data.domains import Domain
from registry.replay.instructions import KINDS, Instructions
from registry.testing import check_replay_source
from registry.verifiers.ifeval import IFEval

JUDGE = IFEval()


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Instructions(seed=3, split=split))


def asked(split, count):
    source = Instructions(split=split)
    domain = Domain(source=source, objectives={"following": JUDGE}, answer="whole", name="instructions")
    return [domain.fill(example) for example in source.take(count)]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_reference_follows_its_instruction(split):
    for example in asked(split, 400):
        assert JUDGE(example.answer, example) == 1, example


def test_every_instruction_can_be_missed():
    """By a text that follows none: ten words and more, a comma, no mark of any kind."""
    kinds = set()
    for example in asked("train", 400):
        (name,) = example.metadata["instruction_id_list"]
        (arguments,) = example.metadata["kwargs"]
        forbidden = " ".join(arguments.get("forbidden_words", ()))
        assert JUDGE(f"Once, there were people who spoke and nobody heard them {forbidden} again", example) == 0, (
            example
        )
        kinds.add(name)
    assert len(kinds) == len(KINDS), "each kind is another instruction, and 400 draws meet all of seven"


def test_splits_share_no_request():
    held_out = {example.question for example in asked("held_out", 500)}
    assert not held_out & {example.question for example in Instructions(seed=1).take(2000)}


def test_what_is_measured_is_seldom_asked_twice():
    assert len({example.question for example in asked("held_out", 128)}) > 100
