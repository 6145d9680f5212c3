"""Units beside a number: which words are one unit, which only name what was counted, and which change the number."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

_SPELLINGS = """
m meter meters metre metres | cm centimeter centimeters centimetre centimetres | mm millimeter millimeters millimetre
millimetres | km kilometer kilometers kilometre kilometres kms | nm nanometer nanometers | in inch inches | ft foot feet
| yd yard yards | mi mile miles | g gram grams gm | kg kilogram kilograms kgs | mg milligram milligrams | lb lbs | oz
ounce ounces | ton tons tonne tonnes | s sec secs second seconds | ms millisecond milliseconds | min mins minute minutes
| h hr hrs hour hours | day days | week weeks | month months | year years yr yrs | L l liter liters litre litres | mL ml
milliliter milliliters millilitre millilitres | N newton newtons | J joule joules | kJ kilojoule kilojoules | cal
calorie calories | W watt watts | kW kilowatt kilowatts | V volt volts | mA milliamp milliamps | ampere amperes amp amps
| ohm ohms Ω | Hz hertz | kHz | MHz | GHz | Pa pascal pascals | kPa | atm | K kelvin | mol moles mole | eV | T tesla
| ° degree degrees deg | °C °c celsius | °F °f fahrenheit | rad radian radians | dollar dollars USD usd $ | euro euros € EUR
| pound pounds £ | cent cents ¢ | yuan ¥ RMB | rupee rupees ₹ | yen | unit units | acre acres | gallon gallons gal
| mi/h mph | km/h kph kmph | µm micrometer micrometers | µs microsecond microseconds | m 米 | cm 厘米 | mm 毫米 | km 千米 公里
| g 克 | kg 千克 公斤 | ° 度 | yuan 元 | s 秒 | min 分钟 | h 小时 | day 天 | year 年 | bit bits | byte bytes | MB | GB | KB
"""
UNITS = {word: group.split()[0] for group in _SPELLINGS.split("|") for word in group.split()}
UNITS |= {word.capitalize(): unit for word, unit in UNITS.items() if len(word) > 3}

SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}

# Beside a number, or before "is": the number is then another one, or none.
_CHANGING = """
not no never isn't cannot wrong incorrect except without or and nor times plus minus negative opposite less more fewer
greater larger smaller bigger than at least most half halves third thirds quarter quarters fourth fourths fifth fifths
sixth sixths eighth eighths tenth tenths hundredth hundredths thousandth thousandths hundreds thousands millions
billions dozens twice thrice double doubled triple tripled squared cubed factorial mod modulo base pair pairs couple
score scores gross power powers root roots below above over under about approximately around roughly nearly almost
between to through from up down maybe perhaps either neither both pi sqrt sin cos tan cot sec csc log ln exp arcsin
arccos arctan infinity inf nan too off short remainder divided multiplied added subtracted increased decreased reduced of by if
unless but inverse reciprocal modulus hundred thousand million billion trillion dozen
"""
CHANGING = frozenset(_CHANGING.split())

_CHINESE = re.compile(r"[\u4e00-\u9fff]{1,4}")
_CHINESE_CHANGING = re.compile("[万亿千百十半倍分之多少或和不]")
_WORD = r"[A-Za-zµΩ°][A-Za-z'-]{0,30}|[$€£¢¥₹]|[\u4e00-\u9fff]{1,4}"
_TOKEN = re.compile(rf"({_WORD})((?: ?\^ ?(?:\{{ ?-?[1-4] ?\}}|-?[1-4])|[23](?!\w))?)")
_SHORTENED = re.compile(r"(?<![A-Za-z])(sq|cu|in|ft|yd|min|sec|hr|lb|oz)\.(?=\s|[A-Za-z]|$)", re.IGNORECASE)
_JOINT = re.compile(r" ?(?:/|·|\*|\\cdot|-) ?| per | ")
_DEGREES = re.compile(r"(?:degrees?|°) ?([CF])(?:elsius|ahrenheit)?(?![A-Za-z])", re.IGNORECASE)
_MOST_TOKENS = 6
_POWERS_BEFORE = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_POWERS_BEHIND = {"squared": "^2", "cubed": "^3"}
_UNIT_WORD = re.compile(r"[A-Za-zµΩ°]+")
_EXPRESSION_UNIT = re.compile(r"(?<![\\A-Za-zµΩ°])(?:[A-Za-zµΩ°]{1,20}(?:\^\{?-?[1-4]\}?|[23])?[ /·*]{0,3}){1,6}$")


def read_unit(text: str) -> str | None:
    """The unit that stands behind a number, in one spelling; '' where there is none, None where the words change it.

    Args:
        text: what stands behind the number, its leading space included: "5 m" is a length, "5m" may be 5 times m.

    >>> [read_unit(text) for text in (" metres", " cm^2", "cm²".replace("²", "^2"), " square centimeters", " m/s", " apples")]
    ['m', 'cm^2', 'cm^2', 'cm^2', 'm/s', 'apple']
    >>> [read_unit(text) for text in ("", "x", " x", "m", " or 6", " dozen")]
    ['', None, None, None, None, None]
    """
    glued = bool(text) and not text[0].isspace()
    text = _DEGREES.sub(r"°\1", " ".join(_SHORTENED.sub(r"\1 ", text).split()).rstrip("."))
    if not text:
        return ""
    parts: list[str] = []
    place, power, joint = 0, "", ""
    for _ in range(_MOST_TOKENS):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        word, exponent = match[1], "".join(char for char in match[2] if char in "^-1234")
        if exponent.isdigit():  # cm2
            if word not in UNITS:
                return None
            exponent = f"^{exponent}"
        place = match.end()
        if word == "in" and parts:  # "72 clips in April" has no inches
            return None
        if word.lower() in _POWERS_BEFORE:
            power = _POWERS_BEFORE[word.lower()]
        elif word.lower() in _POWERS_BEHIND and parts:
            parts[-1] += _POWERS_BEHIND[word.lower()]
        else:
            unit = _one_unit(word, glued and not parts, bool(exponent) or "/" in text)
            if unit is None:
                return None
            parts.append(joint + unit + (exponent or power))
            power = ""
        if place == len(text):
            return "".join(parts) or None
        between = _JOINT.match(text, place)
        if between is None:
            return None
        place = between.end()
        if parts:
            joint = "/" if between[0].strip() in ("/", "per") else "·"
    return None


def split_unit(expression: str) -> tuple[str, str]:
    r"""An expression and the known unit behind it, '' where there is none.

    >>> split_unit(r"2\sqrt{3} cm"), split_unit("x + m")
    (('2\\sqrt{3}', 'cm'), ('x + m', ''))
    """
    text = " ".join(_SHORTENED.sub(r"\1 ", expression).split())
    behind = _EXPRESSION_UNIT.search(text)
    if behind is None:
        return expression, ""
    for word in _UNIT_WORD.finditer(text, behind.start()):
        start = word.start()
        head, tail = text[:start].rstrip(), text[start:]
        glued = start > 0 and not text[start - 1].isspace()
        if not head or head[-1] not in ("})]π" if glued else _BEFORE_UNIT) or (glued and len(word[0]) < 2):
            continue
        if all(map(_is_known, _UNIT_WORD.findall(tail))) and (unit := read_unit(f" {tail}")):
            return head, unit
    return expression, ""


def unit_of_words(words: Sequence[str]) -> str:
    """The known unit with which the words behind a number begin; '' where they begin with none.

    >>> unit_of_words(["square", "meters", "of", "tile"]), unit_of_words(["apples"])
    ('m^2', '')
    """
    for count in range(min(len(words), _MOST_TOKENS), 0, -1):
        if all(_is_known(word) for word in words[:count]) and words[0] != "per":
            return read_unit(f" {' '.join(words[:count])}") or ""
    return ""


_BEFORE_UNIT = frozenset(string.digits + string.ascii_letters + ")}]%π")


def _is_known(word: str) -> bool:
    return word in UNITS or word.lower() in ("per", *_POWERS_BEFORE, *_POWERS_BEHIND)


def _one_unit(word: str, glued: bool, compound: bool) -> str | None:
    if word in UNITS and (not glued or compound or len(word) > 1 or not word.isascii() or not word.isalpha()):
        return UNITS[word]
    if _CHINESE.fullmatch(word):
        return None if _CHINESE_CHANGING.search(word) else word
    if len(word) < 3 or glued or word.lower() in CHANGING:
        return None
    return word.lower().removesuffix("s")
