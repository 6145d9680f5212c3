"""Units beside a number: which words are one unit, which only name what was counted, and which change the number."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from registry.verifiers.si_units import NEVER_GLUED, SI_UNITS

_SPELLINGS = """
km kms | in inch inches | ft foot feet | yd yard yards | mi mile miles | g gm | kg kgs | lb lbs | oz ounce ounces
| ton tons tonne tonnes | s sec secs | min mins minute minutes | h hr hrs hour hours | day days | week weeks
| month months | year years yr yrs | atm | ° degree degrees deg | °C °c celsius | °F °f fahrenheit
| dollar dollars USD usd $ | euro euros € EUR | £ GBP | pound pounds | cent cents ¢ | yuan ¥ RMB | rupee rupees ₹
| won ₩ | yen | unit units | acre acres | gallon gallons gal | mph | kph kmph kmh | Å angstrom angstroms | N·m Nm | rpm
| coulomb coulombs | farad farads
| m 米 | cm 厘米 | mm 毫米 | km 千米 公里 | g 克 | kg 千克 公斤 | ° 度 | yuan 元 | s 秒 | min 分钟 | h 小时 | day 天
| year 年 | bit bits
"""
UNITS = SI_UNITS | {word: group.split()[0] for group in _SPELLINGS.split("|") for word in group.split()}
UNITS |= {word.capitalize(): unit for word, unit in UNITS.items() if len(word) > 3 and word.islower()}
_PRODUCTS = {"mph": {"mi": 1, "h": -1}, "kph": {"km": 1, "h": -1}, "N·m": {"N": 1, "m": 1}}
_EITHER = {"C": ("coulomb", "°C"), "F": ("farad", "°F"), "pound": ("lb", "£")}  # words of two units each

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
_DENYING = """
rule ruled rules out fail fails failed false impossible extraneous invalid excluding excluded excludes exclude besides
ignoring ignore instead unlike rather doubt doubtful cant wont dont isnt nicht kein keine pas non nunca jamais
"""
CHANGING = frozenset(_CHANGING.split() + _DENYING.split())
# Names of what is asked for, and words that say which: harmless in the subject of "is".
_NAMING = "remainder score scores base power inverse reciprocal modulus least smaller larger greater bigger above below"
NAMING = frozenset(_NAMING.split())
_ORDINAL = re.compile(r"\bthe (?:third|fourth|fifth|sixth|eighth|tenth)(?= (?!of\b)[a-z])")
_DENIAL = re.compile(r"[a-z]n['’]t$")
_PROSE_WORD = re.compile(r"[a-z'’]+")


def denies(word: str) -> bool:
    """Whether a word says "not": isn't, won't, couldn't."""
    return _DENIAL.search(word) is not None


def changes(prose: str, harmless: frozenset[str] = frozenset()) -> bool:
    """Whether words before an answer, or between two, say that it is another one, or none.

    >>> changes("It can't be"), changes("The remainder", NAMING), changes("The third side", NAMING), changes("A third")
    (True, False, False, True)
    """
    prose = prose.lower()
    words = _PROSE_WORD.findall(_ORDINAL.sub("the", prose) if harmless else prose)
    return not (CHANGING - harmless).isdisjoint(words) or any(map(denies, words))


_CHINESE = re.compile(r"[\u4e00-\u9fff]{1,4}")
_CHINESE_CHANGING = re.compile("[万亿千百十半倍分之多少或和不]")
_WORD = r"[A-Za-zµΩ°Å][A-Za-zΩ'-]{0,30}|[$€£¢¥₹₩]|[\u4e00-\u9fff]{1,4}"
_TOKEN = re.compile(rf"({_WORD})(?: ?(?:\^|\*\*) ?(?:\{{ ?(-?[1-4]) ?\}}|(-?[1-4]))|([23])(?!\w))?")
_SHORTENED = re.compile(r"(?<![A-Za-z])(sq|cu|in|ft|yd|min|sec|hr|lb|oz)\.(?=\s|[A-Za-z]|$)", re.IGNORECASE)
_JOINT = re.compile(r" ?(?:/|·|\*|\\cdot(?![A-Za-z])|-) ?| per | ")
_BELOW = re.compile(r"(?<=/) ?\(([^()/]{1,60})\)|(?<= per )\(([^()/]{1,60})\)")  # J/(kg·K)
_DEGREES = re.compile(r"(?:deg(?:ree)?s?|°) ?([CF])(?:elsius|ahrenheit)?(?![A-Za-z])", re.IGNORECASE)
_MOST_TOKENS = 6
_POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWERS_BEHIND = {"squared": 2, "cubed": 3}
_BEHIND_A_UNIT = "old long tall high wide deep away apart later left remaining total altogether each"
_HARMLESS = frozenset(_BEHIND_A_UNIT.split())
_UNIT_WORD = re.compile(r"[A-Za-zµΩ°]+")
_EXPRESSION_UNIT = re.compile(r"(?<![\\A-Za-zµΩ°])(?:[A-Za-zµΩ°]{1,20}(?:\^\{?-?[1-4]\}?|[23])?[ /·*]{0,3}){1,6}$")
_NEVER_BEHIND_EXPRESSIONS = frozenset("ACFH")  # as likely a variable or a constant


def read_unit(text: str) -> str | None:
    """The unit that stands behind a number, in one spelling; '' where there is none, None where the words change it.

    Args:
        text: what stands behind the number, its leading space included: "5 m" is a length, "5m" may be 5 times m.

    >>> [read_unit(text) for text in (" metres", " cm^2", "cm²".replace("²", "^2"), " square centimeters", " m/s", " apples")]
    ['m', 'cm^2', 'cm^2', 'cm^2', 'm·s^-1', 'apple']
    >>> [read_unit(text) for text in ("", "x", " x", "m", " or 6", " dozen")]
    ['', None, None, None, None, None]
    """
    glued = bool(text) and not text[0].isspace()
    text = _DEGREES.sub(r"°\1", " ".join(_SHORTENED.sub(r"\1 ", text).split()).rstrip("."))
    text = _BELOW.sub(r"\1\2", text)
    if not text:
        return ""
    powers: Counter[str] = Counter()
    place, power, sign, unit = 0, 1, 1, ""
    for _ in range(_MOST_TOKENS):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        word, exponent = match[1].rstrip("-"), match[2] or match[3] or match[4]
        place = match.end() - (len(match[1]) - len(word))
        if match[4] and word not in UNITS:  # cm2, not apples2
            return None
        if word == "in" and powers:  # "72 clips in April" has no inches
            return None
        if word.lower() in _POWERS_BEFORE:
            power = _POWERS_BEFORE[word.lower()]
        elif word.lower() in _POWERS_BEHIND and powers:
            powers[unit] += sign * (_POWERS_BEHIND[word.lower()] - 1)
        elif not (powers and word in _HARMLESS):
            unit = _one_unit(word, glued and not powers, bool(exponent) or "/" in text) or ""
            if not unit:
                return None
            per = sign * int(exponent or power)
            if unit == "ms" and per < 0 < sign:  # m s^{-1} without its space
                powers["m"] += 1
                unit = "s"
            for factor, times in _PRODUCTS.get(unit, {unit: 1}).items():
                powers[factor] += per * times
            power = 1
        if place == len(text):
            return "·".join(f"{unit}^{powers[unit]}" if powers[unit] != 1 else unit for unit in sorted(powers)) or None
        between = _JOINT.match(text, place)
        if between is None:
            return None
        place = between.end()
        if powers and between[0].strip() in ("/", "per"):
            sign = -1  # of all that follow: J/kg·K is J/(kg·K)
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
        if tail in _NEVER_BEHIND_EXPRESSIONS:
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


def same_unit(a: str, b: str) -> bool:
    """Whether no unit contradicts the other: they are one, one is missing, or a word of two meanings has the other's.

    >>> same_unit("m", ""), same_unit("m", "cm"), same_unit("lb", "pound"), same_unit("£", "lb")
    (True, False, True, False)
    """
    return not a or not b or not {a, *_EITHER.get(a, ())}.isdisjoint({b, *_EITHER.get(b, ())})


def singular(word: str) -> str:
    """What was counted, in one spelling for one and many.

    >>> [singular(word) for word in ("apples", "boxes", "box", "class", "Classes", "people")]
    ['apple', 'box', 'box', 'class', 'class', 'person']
    """
    word = word.lower()
    word = _IRREGULAR.get(word, word if word.endswith("ss") else word.removesuffix("s"))
    return re.sub(r"ie$", "y", re.sub(r"(?<=x|s)e$|(?<=ch|sh)e$", "", word))


_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman", "feet": "foot"}


def _one_unit(word: str, glued: bool, compound: bool) -> str | None:
    may_be_product = glued and not compound and (len(word) < 2 or word in NEVER_GLUED)
    if word in UNITS and not (may_be_product and word.isascii() and word.isalpha()):
        return UNITS[word]
    if _CHINESE.fullmatch(word):
        return None if _CHINESE_CHANGING.search(word) else word
    if len(word) < 3 or glued or word.lower() in CHANGING:
        return None
    if "-" in word and all(part in UNITS for part in word.split("-")):  # newton-meters, N-m
        return read_unit(" " + word.replace("-", "·"))
    return singular(word)
