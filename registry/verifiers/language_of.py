"""Which language a text is in, by py3langid."""

from __future__ import annotations

MAX_CHARS = 4000
"""Of a text: the language of its start is that of the whole."""


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the likeliest of 97 languages; None where the text has no letters.

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
    return str(py3langid.classify(start)[0])
