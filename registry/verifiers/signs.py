"""Unicode signs and LaTeX commands that have a plainer spelling: tables, in the order in which `spelling` applies them."""

from __future__ import annotations

import re

_VULGAR = "1/2 1/3 2/3 1/4 3/4 1/5 2/5 3/5 4/5 1/6 5/6 1/8 3/8 5/8 7/8"
SIGNS = str.maketrans(
    {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}  # full-width letters, digits and signs
    | dict(zip("‐‑‒–—−‘’“”。", "------''\"\".", strict=True))
    | {"、": ", ", "º": "°", "μ": "µ", "⁄": "/", "∕": "/", "∶": ":", "℃": "°C", "℉": "°F", "﹣": "-"}
    | {fraction: f" {spelled} " for fraction, spelled in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", _VULGAR.split(), strict=True)}
    | {"\u2009": " ", "\u202f": " ", "\u00a0": " ", "\u200b": "", "\u2062": "", "\u200e": "", "\u200f": ""}
)
UPRIGHT = re.compile(
    r"\\(?:text|textbf|textit|textnormal|textrm|mbox|mathrm|mathbf|mathit|boldsymbol|bm|mathsf|texttt|underline|bf|rm|operatorname|ce)\s*\{([^{}]*)\}"
)
MICRO = re.compile(r"\\mu ?(\\(?:text|mathrm|rm) ?\{)")
LATEX = (
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|limits)(?![A-Za-z])\.?"), ""),
    (re.compile(r"(?<=\d)(?:\\[,;! ]|,\\[!;, ]|\{,\}|\{ ?, ?\} ?|~) ?(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\therefore(?![A-Za-z])|∴"), ""),
    (re.compile(r"\{\.\}"), "."),
    (re.compile(r"\\!|\\{1,2}$|(?: ?<br ?/?>)+$"), ""),
    (re.compile(r"(?<!\\)\\[,;:> ]|\\q?quad(?![A-Za-z])|~"), " "),  # behind another backslash it ends a row
    (re.compile(r" ?(?:\^ ?\{ ?\\circ ?\}|\^ ?\\circ|\\degree(?![A-Za-z]))"), "°"),
    (re.compile(r"\^ ?(?:\{ ?\\prime ?\}|\\prime(?![A-Za-z]))"), "'"),
    (re.compile(r"\^ ?\{ ?\\prime ?\\prime ?\}"), "''"),
    (re.compile(r"\\([%$#&])"), r"\1"),
    (re.compile(r"\\(?:text)?color ?\{[A-Za-z]{1,20}\}"), ""),
    (re.compile(r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\{([^{}]{1,200})\\over(?![A-Za-z])([^{}]{1,200})\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\\[lr]?vert(?![A-Za-z])"), "|"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\}"),
    (re.compile(r"∠"), r"\\angle "),
    (re.compile(r"△"), r"\\triangle "),
    (re.compile(r"→|\\rightarrow(?![A-Za-z])"), r"\\to "),
    (re.compile(r"∧|\\wedge(?![A-Za-z])"), r"\\land "),
    (re.compile(r"∨|\\vee(?![A-Za-z])"), r"\\lor "),
    (re.compile(r"(?<=[)\]}]) U (?=[(\[{])"), r" \\cup "),
    (re.compile(r"\\(?:leq?|leqslant)(?![A-Za-z])|≤|⩽|<="), r"\\le "),
    (re.compile(r"\\(?:geq?|geqslant)(?![A-Za-z])|≥|⩾|>="), r"\\ge "),
    (re.compile(r"\\(?:neq?)(?![A-Za-z])|≠|!="), r"\\ne "),
    (re.compile(r"\\(?:lt)(?![A-Za-z])"), "<"),
    (re.compile(r"\\(?:gt)(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:approx|simeq)(?![A-Za-z])|≈"), r"\\approx "),
    (re.compile(r"\\[lrc]?dots(?![A-Za-z])|\\dots[bcm](?![A-Za-z])|…|\.\.\.+"), r"\\ldots "),
    (re.compile(r"(?<![\\A-Za-z])(?:negative|minus) (?=infinity(?![A-Za-z]))", re.IGNORECASE), "-"),
    (re.compile(r"(?<![\\A-Za-z])(?:positive )?infinity(?![A-Za-z])|∞", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\+ ?\\infty"), r"\\infty"),
    (re.compile(r"(?:the )?empty set|\\varnothing(?![A-Za-z])|∅", re.IGNORECASE), r"\\emptyset "),
    (re.compile(r"(?<=\w)_ ?\{ ?(\w) ?\}"), r"_\1"),
    (re.compile(r"\\mid(?![A-Za-z])"), "|"),
    (re.compile(r"\\Omega(?![A-Za-z])"), "Ω"),
    (re.compile(r"(?<=\\\\) ?\[-?[\d.]{1,5} ?(?:pt|em|ex|mm|cm)\]"), ""),  # room between rows
)
