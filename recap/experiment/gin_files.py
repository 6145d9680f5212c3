"""Reads gin files and bindings one statement at a time, so that each binding is known by name, file and line."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gin
from gin import config_parser

from registry.shipped import shipped_root

MACRO = "gin.macro"


class ConfigError(ValueError):
    """An experiment file, binding or plugin that cannot be used; the message says where and what to do."""


class BadStatement(Exception):
    """A statement that gin refused; `place` is where it stands, the message what gin said of it."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Binding:
    """One line ``scope/selector.parameter = value`` that took part in the configuration.

    Attributes:
        name: what stands left of ``=``, as written.
        scope: of the binding; of a macro its name.
        selector: gin's full name of the part, ``gin.macro`` for a macro.
        parameter: of the part, ``value`` for a macro.
        value: as parsed: references are not built yet.
        file: that it stands in; None for a binding of ``-b``.
        line: in the file, from 1.
        text: the binding of ``-b`` as given.
    """

    name: str
    scope: str
    selector: str
    parameter: str
    value: Any
    file: Path | None
    line: int
    text: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.scope, self.selector, self.parameter

    @property
    def bound(self) -> str:
        """Where it stands, for messages: ``bound at mine.gin:3`` or ``bound by -b 'train.steps = 5'``."""
        return f"bound at {self.file}:{self.line}" if self.file else f"bound by -b {self.text!r}"


@dataclass
class Statements:
    """What was read, in the order in which it took effect.

    Attributes:
        bindings: all of them; a later one of the same key wins.
        files: every file, the experiment's own first.
    """

    bindings: list[Binding] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def effective(self) -> list[Binding]:
        """The last binding of every key."""
        return list({binding.key: binding for binding in self.bindings}.values())

    def is_own(self, binding: Binding) -> bool:
        """Whether it stands in ``-b`` or in the experiment's own file, not in one that is included."""
        return binding.file in (None, self.files[0])


def read_statements(file: Path, bindings: Sequence[str]) -> Statements:
    """Binds what a file says, then `bindings`, in gin.

    Includes are looked up from the working directory, then from the file's own folder and the folders above it, then from
    those of the file that includes, then among the experiments that travel with the project. (gin would go on to look
    inside Python packages, and fails where a folder on the import path is called
    like the first part of an include, ``experiments/``.)

    Raises:
        BadStatement: something that gin cannot parse or does not know.
        OSError: an include that does not exist.
    """
    read = Statements()
    _read_file(file, [Path()], read, ())
    for text in bindings:
        for statement in _statements(text, None, text):
            if isinstance(statement, config_parser.IncludeStatement):
                raise BadStatement("an include cannot be a binding: put it into a file", f"-b {text!r}")
            _apply(statement, read, None, text)
    return read


def _read_file(file: Path, folders: list[Path], read: Statements, above: tuple[Path, ...]) -> None:
    read.files.append(file)
    folders = list(dict.fromkeys([*folders, *file.resolve().parents]))
    with open(file, encoding="utf-8") as stream:
        for statement in _statements(stream, file, ""):
            if not isinstance(statement, config_parser.IncludeStatement):
                _apply(statement, read, file, "")
                continue
            place = f"{file}:{statement.location.line_num}"
            places = [folder / statement.filename for folder in (*folders, shipped_root())]
            found = [path for path in places if path.is_file()]
            if not found:
                raise BadStatement(
                    f"no file {statement.filename!r} to include\n  includes are looked up from the working directory,"
                    " from the folders above the file, and among what `recap experiments` lists",
                    place,
                )
            if found[0].resolve() in above:
                raise BadStatement(f"{statement.filename!r} includes itself", place)
            _read_file(found[0], folders, read, (*above, file.resolve()))


def _statements(source: Any, file: Path | None, text: str) -> Iterator[Any]:
    """gin's statements, each fault with its place."""
    place = str(file) if file else f"-b {text!r}"
    try:
        yield from config_parser.ConfigParser(source, gin.config.ParserDelegate())
    except SyntaxError as error:
        line = f":{error.lineno}" if file and error.lineno else ""
        said = re.sub(r"malformed node or string.*\n\s*", "", error.msg)  # of Python's parser, on a node without a name
        written = (error.text or text).strip()
        raise BadStatement(f"{said}\n    {written}{_how_to_write(said)}", place + line) from error
    except UnicodeDecodeError as error:
        raise BadStatement("not a gin file: it is no text in UTF-8", place) from error
    except tokenize.TokenError as error:
        line = f":{error.args[1][0]}" if file else ""
        raise BadStatement("a bracket or a string is not closed", place + line) from error
    except ValueError as error:  # a reference that gin does not know
        found = re.search(r"\n  In (?:file \"[^\"]*\",|bindings string) line (\d+)", str(error))
        raise BadStatement(_bare(error), f"{place}:{found[1]}" if file and found else place) from error


def _apply(statement: Any, read: Statements, file: Path | None, text: str) -> None:
    line = statement.location.line_num
    place = f"{file}:{line}" if file else f"-b {text!r}"
    try:
        if isinstance(statement, config_parser.BindingStatement):
            read.bindings.append(_bind(statement, file, line, text))
        elif isinstance(statement, config_parser.ImportStatement):
            gin.parse_config(statement.format())
        elif not gin.config._REGISTRY.matching_selectors(statement.selector):  # the head of a block of bindings
            raise ValueError(f"No configurable matching '{statement.selector}'.")
    except Exception as error:
        raise BadStatement(_bare(error), place) from error


def _bind(statement: Any, file: Path | None, line: int, text: str) -> Binding:
    scope, selector, parameter, value, _ = statement
    name = f"{scope}/{selector}" if scope else selector
    if parameter:
        key = gin.config.ParsedBindingKey.parse((scope, selector, parameter))
        name, scope, selector = f"{name}.{parameter}", key.scope, key.complete_selector
    else:
        scope, selector, parameter = name, MACRO, "value"
    gin.bind_parameter((scope, selector, parameter), value)
    return Binding(name, scope, selector, parameter, value, file, line, text)


def _bare(error: Exception) -> str:
    """The message without gin's own words on the place."""
    return re.sub(r"\n  In (file|bindings string).*", "", str(error), flags=re.DOTALL)


def _how_to_write(said: str) -> str:
    """What gin's complaint about the form of a line asks for."""
    if said.startswith("Couldn't parse statement"):
        return "\n  a line is NAME = VALUE, e.g. train.steps = 5, or include 'FILE'"
    if said.startswith(("Unable to parse value", "Failed to parse token")):
        return "\n  a value is a number, 'text' in quotes, True, None, a list, a dictionary, @part, @part() or %MACRO"
    return ""
