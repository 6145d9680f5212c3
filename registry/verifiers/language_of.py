"""Which language a text is in, by py3langid."""

from __future__ import annotations

MAX_CHARS = 4000
"""Of a text: the language of its start is that of the whole."""

_WRITTEN_AS = {"yue": "zh", "wuu": "zh", "nn": "no"}
"""Kinds of Chinese and Norwegian that short texts are taken for."""


def language_of(text: str) -> str | None:
    """The ISO 639 code of the likeliest language, of two letters where there is one; None where the text has no letters.

    Raises: ValueError: the package py3langid is missing.
    """
    try:
        import py3langid  # here, because its model takes a while to load
    except ImportError as error:
        raise ValueError(
            'the package py3langid is missing, which tells languages: pip install "recap-rlvr[verifiers]"'
        ) from error
    start = text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no bytes
    if not any(map(str.isalpha, start)):
        return None
    code = str(py3langid.classify(start)[0])
    return _WRITTEN_AS.get(code, code)
