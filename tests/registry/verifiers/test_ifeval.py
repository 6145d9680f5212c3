"""Every instruction of IFEval, followed and not, by the published rule; and rows as published."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.ifeval import CONSTRAINTS, IFEval
from registry.verifiers.sentences import count_sentences

EXAMPLE = Example(id="ifeval/1", question="?", answer="", answer_in="whole")


def row(*instructions: tuple[str, dict[str, Any]]) -> Example:
    """As google/IFEval stores them: every argument of any instruction is a column, None where it is not of this one."""
    columns = {key: None for _, arguments in instructions for key in arguments} | {"num_words": None}
    ids = [name for name, _ in instructions]
    return replace(
        EXAMPLE, metadata={"instruction_id_list": ids, "kwargs": [{**columns, **given} for _, given in instructions]}
    )


KEYWORDS = {"keywords": ["sea", "Salt"]}
FREQUENCY = {"keyword": "sea", "frequency": 2, "relation": "at least"}
SECTIONS = {"section_spliter": "SECTION", "num_sections": 2}
NTH = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}
CASES: list[tuple[str, dict[str, Any], str, bool]] = [
    ("keywords:existence", KEYWORDS, "The SEA is salty", True),
    ("keywords:existence", KEYWORDS, "The sea is wet", False),
    ("keywords:existence", {"keywords": ["C++ (", "[x"]}, "I like c++ ([x", True),
    ("keywords:frequency", FREQUENCY, "sea, Sea", True),
    ("keywords:frequency", FREQUENCY, "sea", False),
    ("keywords:frequency", {**FREQUENCY, "relation": "less than"}, "sea", True),
    ("keywords:forbidden_words", {"forbidden_words": ["sea"]}, "The seaside", True),
    ("keywords:forbidden_words", {"forbidden_words": ["sea"]}, "The Sea.", False),
    ("keywords:letter_frequency", {"letter": "A", "let_frequency": 3, "let_relation": "at least"}, "Banana", True),
    ("keywords:letter_frequency", {"letter": "A", "let_frequency": 4, "let_relation": "at least"}, "Banana", False),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "less than"}, "Banana", True),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two.", True),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "One. Two.", False),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "it's", True),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "it's he", True),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "two words", False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\none\n***\ntwo\n***", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\n***\ntwo", False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}, "one\n***\ntwo", False),
    ("length_constraints:nth_paragraph_first_word", NTH, "First\n\n'then, so", True),
    ("length_constraints:nth_paragraph_first_word", NTH, "First\n\nThen.", True),
    ("length_constraints:nth_paragraph_first_word", NTH, "First\n\nThenceforth", False),
    ("length_constraints:nth_paragraph_first_word", NTH, "First\n\nThen\n\nLast", False),
    ("length_constraints:nth_paragraph_first_word", NTH, "Then", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] and [address]", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name and [address]", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[na\nme]", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. more", True),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye. P.P.S more", True),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye. P.S. more", False),
    ("detectable_content:postscript", {"postscript_marker": "NB:"}, "nb: more", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n  - two", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n** two", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two\n* three", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "A list:\n  *  \nIt ends.", True),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe.", True),
    ("detectable_format:constrained_response", {}, "Maybe.", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "** **", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*o\nne*", False),
    ("detectable_format:multiple_sections", SECTIONS, "SECTION 1\na\nSECTION 2\nb", True),
    ("detectable_format:multiple_sections", SECTIONS, "SECTION 1\na\nSection 2\nb", False),
    ("detectable_format:json_format", {}, '```JSON\n{"a": 1}\n```', True),
    ("detectable_format:json_format", {}, '{"a": 1}.', False),
    ("detectable_format:title", {}, "<<the sea>>\nWet.", True),
    ("detectable_format:title", {}, "<<>>", False),
    ("detectable_format:title", {}, "<< >>", False),
    ("detectable_format:title", {}, "<<the\nsea>>", False),
    ("combination:two_responses", {}, "one ****** two", True),
    ("combination:two_responses", {}, "one ****** one", False),
    ("combination:two_responses", {}, "one ****** ****** two", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say A."}, " say a. A", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say A."}, "Sure: say a. A", False),
    ("startend:end_checker", {"end_phrase": "Bye now. "}, 'So "bye NOW."', True),
    ("startend:end_checker", {"end_phrase": "Bye now."}, "Bye now. And so on", False),
    ("startend:quotation", {}, ' "quoted" ', True),
    ("startend:quotation", {}, '"', False),
    ("startend:quotation", {}, "'quoted'", False),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I SAY so", True),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "WELL-KNOWN a",
        True,
    ),
    ("punctuation:no_comma", {}, "no comma; none", True),
    ("punctuation:no_comma", {}, "one, comma", False),
]
ENGLISH = "this is a whole sentence in the english language"
LANGUAGES = [
    ("language:response_language", {"language": "de"}, "Das ist ein ganzer Satz in deutscher Sprache.", True),
    ("language:response_language", {"language": "de"}, ENGLISH, False),
    ("change_case:english_capital", {}, ENGLISH.upper(), True),
    ("change_case:english_capital", {}, ENGLISH, False),
    ("change_case:english_lowercase", {}, ENGLISH, True),
    ("change_case:english_lowercase", {}, "das ist ein ganzer satz in deutscher sprache", False),
]


@pytest.mark.parametrize(("name", "arguments", "text", "followed"), CASES)
def test_instructions(name: str, arguments: dict[str, Any], text: str, followed: bool) -> None:
    assert IFEval()(text, row((name, arguments))) == followed


@pytest.mark.skipif(importlib.util.find_spec("py3langid") is None, reason="needs py3langid")
@pytest.mark.parametrize(("name", "arguments", "text", "followed"), LANGUAGES)
def test_instructions_on_languages(name: str, arguments: dict[str, Any], text: str, followed: bool) -> None:
    assert IFEval()(text, row((name, arguments))) == followed


def test_every_instruction_is_tried_both_ways() -> None:
    tried = {name for name, *_, followed in [*CASES, *LANGUAGES] if followed}
    assert tried == set(CONSTRAINTS)
    assert {name for name, *_, followed in [*CASES, *LANGUAGES] if not followed} >= set(CONSTRAINTS) - {
        "change_case:capital_word_frequency"
    }


COMMA: tuple[str, dict[str, Any]] = ("punctuation:no_comma", {})


def test_all_or_a_share() -> None:
    example = row(COMMA, ("keywords:existence", {"keywords": ["sea"]}))
    for text, share in (("the sea", 1), ("the sea, wet", 0.5), ("the lake, wet", 0)):
        assert IFEval()(text, example) == (share == 1)
        assert IFEval(partial=True)(text, example) == share


def test_nothing_said_follows_nothing() -> None:
    assert IFEval()(" \n", row(COMMA)) == IFEval(partial=True)("", row(COMMA)) == 0


def test_loose_tries_other_readings_of_the_text() -> None:
    example = row(("startend:end_checker", {"end_phrase": "Bye."}))
    for text in ("So. **Bye.**", "So. Bye.\nHope this helps", "Sure:\nSo. *Bye.*\nHope this helps"):
        assert IFEval()(text, example) == 0
        assert IFEval(loose=True)(text, example) == 1
    assert IFEval(loose=True)("Bye. And so on", example) == 0


def test_the_answer_is_judged_where_it_stands() -> None:
    example = replace(row(COMMA), answer_in="tags")
    assert IFEval()("<think>well, well</think><answer>the sea</answer>", example) == 1
    assert IFEval()("the sea", example) == 0


def test_other_examples() -> None:
    assert IFEval()("the sea", EXAMPLE) is None


@pytest.mark.parametrize(
    ("ids", "kwargs", "message"),
    [
        (["punctuation:no_commas"], [{}], "'ifeval/1': there is no instruction 'punctuation:no_commas'; did you mean"),
        (["punctuation:no_comma"], [{}, {}], "1 instructions have 2 kwargs"),
        (["keywords:existence"], [{}], "the arguments of 'keywords:existence' do not fit"),
        (["length_constraints:number_words"], [{"num_words": 3, "relation": "more than"}], "'less than' or 'at least'"),
    ],
)
def test_rows_that_cannot_be_used(ids: list[str], kwargs: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IFEval()("the sea", replace(EXAMPLE, metadata={"instruction_id_list": ids, "kwargs": kwargs}))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith paid $3.50 to J. Doe, e.g. for tea. He left", 2),
        ("Wait... what? Yes.", 2),
        ('He said "No." Then he left.', 2),
        ("First line without end\nstill the same.", 1),
        ("今天天气很好。我们去公园吧！", 2),
        ("?!?!", 0),
        ("", 0),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


@given(
    st.lists(st.sampled_from(["It is so", "Who knows", "We went home"]), min_size=1, max_size=8), st.sampled_from(".!?")
)
def test_sentences_of_plain_prose(sentences: list[str], mark: str) -> None:
    assert count_sentences(" ".join(sentence + mark for sentence in sentences)) == len(sentences)
