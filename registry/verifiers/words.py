"""Words of a text in any script."""

from __future__ import annotations

import re

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]{1,30}"
)


MAX_CHARS = 100_000
"""Of a text, in which words are looked for: no completion worth a reward is longer."""


def words_of(text: str) -> list[str]:
    """The words of the start of a text, in small letters.

    A character of Chinese, Japanese or Korean is one, and so are 30 letters in a row.

    >>> words_of("It's 42: 你好"), len(words_of("a" * 90))
    (['it', 's', '42', '你', '好'], 3)
    """
    return _WORD.findall(text[:MAX_CHARS].lower())
