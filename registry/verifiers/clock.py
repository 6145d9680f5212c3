"""Times of day as they are written: "3:30 PM", "3:30 p.m.", "15:30", "7 AM"."""

from __future__ import annotations

import re

_TIME = re.compile(r"(\d{1,2})(?: ?: ?(\d\d))? ?(?:([ap])\.? ?m\.?)?", re.IGNORECASE)
_HOURS_AND_MINUTES = re.compile(r"0?(\d{1,2}) ?: ?(\d\d)")
NOON = 12


def read_time(text: str) -> int | None:
    """Minutes since midnight of a text that is a time of day and nothing else; None where it is none, or may be two.

    Without a.m. or p.m. only hours past noon, and midnight's 0, are sure.

    >>> [read_time(text) for text in ("3:30 PM", "3:30 p.m.", "15:30", "12 am", "3:30", "15", "13 pm")]
    [930, 930, 930, 0, None, None, None]
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or not (match[2] or match[3]):
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if minute > 59 or hour > 23 or (half and not 1 <= hour <= NOON) or (not half and 0 < hour <= NOON):
        return None
    return 60 * (hour % NOON + NOON * (half == "p") if half else hour) + minute


def hours_and_minutes(text: str) -> tuple[int, int] | None:
    """What "7:05" and "07:05" have in common, whichever half of the day they mean; None for anything else.

    >>> hours_and_minutes("07:05"), hours_and_minutes("7:5")
    ((7, 5), None)
    """
    match = _HOURS_AND_MINUTES.fullmatch(text.strip())
    return (int(match[1]), int(match[2])) if match and int(match[1]) < 24 and int(match[2]) < 60 else None
