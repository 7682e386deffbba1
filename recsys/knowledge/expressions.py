"""Expressions of rules and filters in CEL, checked before they are used.

Google's cel-cpp parses, checks and evaluates. What it lacks of our needs is set here: a number may be
compared with a whole one (95 and 95.0 alike), and there are no macros, so no loops: the cost of an
evaluation is bounded by the length of the text.

    https://github.com/google/cel-spec, https://github.com/cel-expr/cel-python
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

Kind = Literal["text", "number", "whole", "flag", "time", "span", "texts"]
"""What a name stands for; a whole number compares with any number."""

Related = Callable[[str, str, str], bool]
"""Whether two items, by id, are related by the named relation; RequestError for one that there is not."""

_ORDER = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_EQUALITY = {"_==_": "equals", "_!=_": "not_equals"}
_CEL_NAMES: Mapping[Kind, str] = {
    "number": "double",
    "whole": "int64",
    "text": "string",
    "flag": "bool",
    "time": "timestamp",
    "span": "duration",
}
_SHOWN_TYPES = {
    "list(string)": "list of texts",
    "string": "text",
    "double": "number",
    "int": "number",
    "bool": "true or false",
    "timestamp": "time",
    "google.protobuf.Timestamp": "time",
    "duration": "time span",
    "google.protobuf.Duration": "time span",
}
_POSITION = re.compile(r"<input>:(\d+):(\d+): ([^\n]*)")
_NO_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_CALL = re.compile(r"""\brelated\s*\((?:[^()]*,\s*["'](?P<name>[^"']*)["']\s*\))?""")
_TO_HISTORY = re.compile(r"""\brelated\s*\(\s*item\s*,\s*history\s*,\s*["'](?P<name>[^"']*)["']\s*\)""")
_MACRO = re.compile(r"\bhas\s*\(|\.\s*(?:all|exists|exists_one|map|filter)\s*\(")


class WrongExpression(ValueError):
    """A text is not an expression, or does not fit the types.

    `line` and `column` count from 1, in the text.
    """

    def __init__(self, problem: str, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.line, self.column, self.hint = problem, line, column, hint


@dataclass(frozen=True, eq=False)
class Expression:
    """A checked expression. Safe to share between threads; cel-cpp holds the GIL."""

    text: str
    names: frozenset[str]  # what it reads
    _compiled: Any

    @property
    def asks_relations(self) -> bool:
        """Whether it calls `related`."""
        return _CALL.search(self.text) is not None

    @property
    def relations_to_history(self) -> tuple[str, ...]:
        """The relations that it asks of the item and its history, by name."""
        return tuple(match["name"] for match in _TO_HISTORY.finditer(self.text))

    def holds(self, activation: Any, related: Related | None = None) -> bool | None:
        """Return its value; None if a value that decides it is missing.

        `missing || true` is true: what decides is decided.
        """
        _asked.related = related
        try:
            value = self._compiled.eval(activation).value()
        except RuntimeError:  # no value: as for an argument of a function that is missing
            return None
        return value if value is True or value is False else None


class Vocabulary:
    """The names that expressions may read, each with its kind.

    Args:
        kinds: "item.price" -> "number".
        relations: Of which expressions may ask: `related(item, other, "sequel_of")`, and of any item of a
            list: `related(item, history, "sequel_of")`.
    """

    def __init__(self, kinds: Mapping[str, Kind], relations: Collection[str] = ()) -> None:
        self.kinds, self.relations = kinds, relations
        self._environment = _environment(kinds, bool(relations))

    def activation(self, values: Mapping[str, Any]) -> Any:
        """Return values to evaluate on; a name that is not in it is missing."""
        return self._environment.Activation(values)

    def expression(self, text: str) -> Expression:
        """Check a text. Raises WrongExpression."""
        try:
            compiled = self._environment.compile(text)
        except (UnicodeError, TypeError):  # half of a surrogate pair
            raise WrongExpression("it holds something that is no character") from None
        except RuntimeError as error:
            raise self._explained(text, str(error)) from None
        if (shown := compiled.return_type().name()) != "BOOL":
            found = _SHOWN_TYPES.get(shown.lower(), shown.lower())
            raise WrongExpression(f"it must be true or false, and is a {found}")
        self._check_relations(text)
        serialized = compiled.serialize()
        return Expression(text, frozenset(_names_in(serialized, self.kinds)), compiled)

    def _check_relations(self, text: str) -> None:
        for match in _CALL.finditer(text):
            if match["name"] is not None and match["name"] not in self.relations:
                place = _place(text, match.start("name"))
                known = f"there are: {', '.join(self.relations)}"
                raise WrongExpression(f"there is no relation '{match['name'][:60]}'", *place, known)

    def _explained(self, text: str, message: str) -> WrongExpression:
        """Say what is wrong in the words of a person who writes rules."""
        match = _POSITION.search(message)
        if match is None:
            nested = "recursion limit" in message
            return WrongExpression("it is nested too deeply" if nested else message.splitlines()[0][:200])
        line, column, problem = int(match[1]), int(match[2]), match[3]
        if macro := _MACRO.search(text):
            hint = "`missing` of the rule says what a missing value does; a list is asked with `in`"
            return WrongExpression("there are no loops, and no has()", *_place(text, macro.start()), hint)
        if overload := _NO_OVERLOAD.match(problem):
            return WrongExpression(_mismatch(*overload.groups()), line, column, _mismatch_hint(overload[2]))
        if "undeclared reference" in problem or "select operation" in problem:
            name, column = _name_at(text, line, column)
            return WrongExpression(f"there is no '{name[:80]}'", line, column, self._hint(name))
        syntax = problem.removeprefix("Syntax error: ").partition(" expecting ")[0]
        return WrongExpression(syntax.replace("'<EOF>'", "the end of the text")[:200], line, column)

    def _hint(self, name: str) -> str:
        close = get_close_matches(name, self.kinds, n=2, cutoff=0.6)
        if close:
            return f"did you mean {' or '.join(close)}?"
        root = name.partition(".")[0]
        of_root = sorted(other for other in self.kinds if other.startswith(f"{root}."))
        return f"there are: {', '.join(of_root or sorted(self.kinds))}"


@cache
def _functions() -> tuple[Any, list[Any], dict[Kind, Any]]:
    """Return the configuration, the declared operators and the types, made once."""
    from cel_expr_python import cel

    types: dict[Kind, Any] = {
        "number": cel.Type.DOUBLE,
        "whole": cel.Type.INT,
        "text": cel.Type.STRING,
        "flag": cel.Type.BOOL,
        "time": cel.Type.TIMESTAMP,
        "span": cel.Type.DURATION,
        "texts": cel.Type.List(cel.Type.STRING),
    }
    pairs = [(a, b) for a in _CEL_NAMES for b in _CEL_NAMES if a == b or {a, b} == {"number", "whole"}]

    def overload(name: str, a: Kind, b: Kind, *, of_list: bool = False) -> Any:
        # ids of cel-cpp's own functions: it compares whole numbers with others, but its checker refuses
        ids = _CEL_NAMES[a] if a == b else f"{_CEL_NAMES[a]}_{_CEL_NAMES[b]}"
        second = cel.Type.List(types[b]) if of_list else types[b]
        return cel.Overload(f"{name}_{ids}", return_type=cel.Type.BOOL, parameters=[types[a], second])

    declared = [
        cel.FunctionDecl(sign, [overload(name, a, b) for a, b in pairs])
        for sign, name in {**_ORDER, **_EQUALITY}.items()
    ]
    declared.append(cel.FunctionDecl("@in", [overload("in", a, b, of_list=True) for a, b in pairs]))
    excluded = "".join(f'    - name: "{sign}"\n' for sign in (*_ORDER, *_EQUALITY, "@in"))
    config = f"stdlib:\n  disable_macros: true\n  exclude_functions:\n{excluded}"
    return cel.NewEnvConfigFromYaml(config), declared, types


_asked = threading.local()  # `related` of the evaluation that a thread is in


def _related(one: str, others: str | list[str], name: str) -> bool:
    """Return whether an item is related to another, or to any of several."""
    related: Related = _asked.related
    return any(related(one, other, name) for other in ([others] if isinstance(others, str) else others))


def _related_to_any(one: str, others: Iterable[str], name: str) -> bool:
    return any(_related(one, other, name) for other in others)


def _environment(kinds: Mapping[str, Kind], with_relations: bool) -> Any:
    from cel_expr_python import cel

    config, declared, types = _functions()
    if with_relations:
        text = cel.Type.STRING
        overloads = [
            cel.Overload(name, return_type=cel.Type.BOOL, parameters=[text, second, text], impl=asked)
            for name, second, asked in (
                ("related", text, _related),
                ("related_to_any", cel.Type.List(text), _related_to_any),
            )
        ]
        declared = [*declared, cel.FunctionDecl("related", overloads)]
    variables = {name: types[kind] for name, kind in kinds.items()}
    return cel.NewEnv(config=config, variables=variables, functions=declared)


def _names_in(serialized: bytes, names: Iterable[str]) -> list[str]:
    """Return which names a checked expression refers to.

    A reference is field 1 of a protobuf message: tag, length, name. A string literal has another tag.
    """
    return [name for name in names if b"\n" + bytes([len(name.encode())]) + name.encode() in serialized]


def _mismatch(sign: str, types: str) -> str:
    shown = [_SHOWN_TYPES.get(part, part) for part in types.split(", ")]
    word = "in" if sign == "@in" else sign.strip("_")
    return f"'{word}' does not go with {' and '.join(shown)}"


def _mismatch_hint(types: str) -> str:
    if types == "list(string), string":
        return 'of a list, ask whether it has a value: "Drama" in item.genre'
    if set(types.split(", ")) == {"double", "int"}:
        return "to calculate, write 2.0 in place of 2"
    if "string" in types.split(", ") and {"int", "double"}.intersection(types.split(", ")):
        return "give the attribute a type, such as number, in domain.toml, or write the value in quotes"
    return ""


def _place(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of an offset."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _name_at(text: str, line: int, column: int) -> tuple[str, int]:
    """Return the name at a position, and the column at which it begins."""
    row = (text.splitlines() or [""])[line - 1]
    for match in _NAME.finditer(row):
        if match.start() <= column - 1 <= match.end():
            return match[0], match.start() + 1
    return row[column - 1 :][:40], column
