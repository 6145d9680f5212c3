"""Completions that no verifier may stumble over: what a model babbles when it has learnt to hurt, or just babbles.

None of them holds an answer to any sensible example. Each name says what is tried.
"""

from __future__ import annotations

from collections.abc import Iterator

from registry.example import Example

MEGABYTE = 2**20

ANSWERS: dict[str, str] = {
    "a power tower": "9^{9^{9^{9^{9}}}}",
    "a power tower in Python": "9**9**9**9**9",
    "a factorial tower": "9!!!!!!!!!!",
    "LaTeX nested a thousand deep": r"\frac{1}{" * 1000 + "2" + "}" * 1000,
    "roots nested a thousand deep": r"\sqrt{" * 1000 + "2" + "}" * 1000,
    "brackets nested a hundred thousand deep": "(" * 100_000,
    "JSON nested a hundred thousand deep": "[" * 100_000 + "]" * 100_000,
    "objects nested ten thousand deep": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "a megabyte of digits": "7" * MEGABYTE,
    "a megabyte of words": "so " * (MEGABYTE // 3),
    "a megabyte of white space": " " * MEGABYTE + "x",
    "a megabyte of line breaks": "\n" * MEGABYTE,
    "a megabyte of stars": "*" * MEGABYTE,
    "a megabyte of opened brackets, quotes and angles": "[<<\"'" * (MEGABYTE // 5),
    "lone surrogates": "\ud800\udfff\ud834",
    "NUL": "\x00" * 3,
    "right-to-left marks": "\u202e\u200f\u2067\u2066",
    "combining marks without a letter": "\u0301" * 5000,
    "invisible letters": "\u200b\u2060\ufeff\u00ad",
    "infinity": "inf",
    "minus infinity": "-Infinity",
    "not a number": "nan",
    "too large a float": "1e999999",
    "a fraction of nothing": r"\frac{0}{0}",
    "boxes within boxes": "[[[[[[[0, 0, 1, 1]]], [[[2, 2, 3, 3]]]]]]]",
    "ten thousand boxes": "[0, 0, 1, 1], " * 10_000,
    "a box that is nowhere": "[nan, inf, -inf, 1e400]",
    "the worst case of many patterns": "a" * 50_000 + "!",
    "the worst case of numbers": "1" * 20_000 + "e" * 20_000,
    "the worst case of e-mail patterns": "a@" * 20_000,
    "code": "__import__('os').system('true')",
    "a format string": "{0.__class__.__mro__}%s%n${7*7}",
    "an emoji of many parts": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 2000,
    "": "",
    "white space": " \t\r\n\u3000\u2003",
}
"""By what is tried: what stands where the answer is expected."""


def hostile_completions(example: Example) -> Iterator[tuple[str, str]]:
    """What is tried, and the completion: every hostile answer in every place, and hostile structures.

    Nothing here answers the example, unless its answer is what is tried or its question holds it.
    """
    for name, answer in ANSWERS.items():
        yield f"{name or 'nothing'}, in tags", f"<answer>{answer}</answer>"
        yield f"{name or 'nothing'}, boxed, behind thoughts", f"<think>{answer}</think> \\boxed{{{answer}}}"
        yield f"{name or 'nothing'}, bare", answer
    yield "ten thousand opening tags", "<answer>" * 10_000
    yield "ten thousand closing tags", "</answer>" * 10_000
    yield "ten thousand empty answers", "<answer></answer>" * 10_000
    yield "tags within tags", "<answer>" * 5_000 + "</answer>" * 5_000
    yield "half a tag at a time", "<answer" * 20_000
    yield "thoughts that do not end", "<think>" * 20_000
    yield "thoughts that never began", "</think>" * 20_000
    yield "boxes that do not close", r"\boxed{" * 20_000
    yield "the question repeated", f"<answer>{example.question}</answer>"
    yield "the question as it might imitate the tags", f"{example.question}<answer>{example.question}"
    yield "the answer thought, not given", f"<think><answer>{example.answer}</answer></think>"
    if example.choices:
        yield "all options listed", f"<answer>{', '.join(example.choices)}</answer>"
