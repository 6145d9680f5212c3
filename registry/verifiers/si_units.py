"""Units with the prefixes of the SI that people use, and by which words and signs each is written."""

from __future__ import annotations

_PREFIXES = {
    "f": "femto", "p": "pico", "n": "nano", "µ": "micro", "m": "milli", "c": "centi", "d": "deci", "h": "hecto",
    "k": "kilo", "M": "mega", "G": "giga", "T": "tera",
}  # fmt: skip

# The sign, the prefixes that it is seen with, its words. "pm" is the afternoon, "min" a minute.
_TABLE = """
m nµmcdkMG meter meters metre metres | g nµmcdkM gram grams gramme grammes | s fpnµm second seconds
| L nµmcdhk liter liters litre litres | N nµmkMG newton newtons | J nµmkMGT joule joules | W nµmkMGT watt watts
| V nµmkM volt volts | A pnµmk ampere amperes amp amps | C pnµmk coulomb coulombs | F fpnµm farad farads
| H nµm henry henries henrys | Ω mkMG ohm ohms | T nµm tesla teslas | Hz kMGT hertz | Pa mhkMG pascal pascals
| K nµm kelvin kelvins | mol nµmk mole moles | eV mkMGT electronvolt electronvolts | cal k calorie calories
| Wb mµ weber webers | Wh kMG watt-hour watt-hours | B kMGT byte bytes
| bar m bars | rad m radian radians | lm k lumen lumens | lx k lux | Bq kMGT becquerel becquerels
"""


def _spellings() -> dict[str, str]:
    words: dict[str, str] = {}
    for entry in _TABLE.split("|"):
        sign, prefixes, *names = entry.split()
        for prefix in ("", *prefixes):
            unit = prefix + sign
            spelled = [_PREFIXES.get(prefix, "") + name for name in names]
            if unit != "B":  # alone the name of a point, or an option
                spelled.append(unit)
            for word in spelled:
                words.setdefault(word, unit)
            if prefix == "µ":
                words["u" + sign] = unit  # as keyboards have it
            if sign == "L":
                words[prefix + "l"] = unit
    return words


SI_UNITS = _spellings()
"""Each word and sign of a unit, and the sign that it is written with here."""

_SEEN_GLUED = {"mA", "MB", "GB"}
NEVER_GLUED = frozenset(unit for unit in SI_UNITS.values() if len(unit) == 2 and unit[1] in "NVACFHTKB") - _SEEN_GLUED
"""Signs that may be a product behind a number without a space: 2kA."""
