from dataclasses import replace

import pytest

from registry.example import Example

pytest.importorskip("py3langid")

from registry.verifiers.language import Language
from registry.verifiers.language_of import language_of

EXAMPLE = Example(id="1", question="?", answer="4")
ENGLISH = "I count the dogs in the picture, and there are four of them. "
GERMAN = "Ich zähle die Hunde auf dem Bild, und es sind vier davon. "


def test_a_whole_and_a_half() -> None:
    assert Language("en")(ENGLISH * 3, EXAMPLE) == 1
    assert Language("de")(ENGLISH * 3, EXAMPLE) == 0
    mixed = Language("en")(ENGLISH + GERMAN, EXAMPLE)
    assert mixed is not None
    assert 0.4 < mixed < 0.6


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("首先，我们需要计算二加二等于四，所以答案是四。", "zh"),
        ("これは犬の写真です。答えは四です。", "ja"),
        ("La respuesta correcta es cuatro porque hay cuatro perros.", "es"),
        ("I AM SURE THAT THERE ARE FOUR DOGS IN THE PICTURE", "en"),
        ("42 = 6 * 7", None),
        ("", None),
    ],
)
def test_languages(text: str, code: str | None) -> None:
    assert language_of(text) in ((code,) if code else (None, "zxx"))


def test_the_answer_alone() -> None:
    completion = f"<think>{GERMAN}</think><answer>{ENGLISH}</answer>"
    assert Language("en", of="answer")(completion, EXAMPLE) == 1
    assert Language("en", of="answer")(GERMAN, EXAMPLE) == 0


def test_numbers_are_no_way_out() -> None:
    assert Language("en")("<think>2 + 2 = 4</think><answer>4</answer>", EXAMPLE) == 0
    assert Language("en")("你" * 5 + "4" * 500, EXAMPLE) == 0


def test_the_language_of_the_row() -> None:
    judge = Language()
    assert judge(GERMAN, EXAMPLE) is None
    assert judge(GERMAN, replace(EXAMPLE, metadata={"language": "de"})) == 1


@pytest.mark.parametrize("settings", [{"language": "German"}, {"of": "thought"}, {"shortest": 0}])
def test_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"verifiers.language.{next(iter(settings))} must be"):
        Language(**settings)  # type: ignore[arg-type]
