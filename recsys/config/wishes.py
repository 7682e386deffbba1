"""The words of a domain beside its values: `wishes.toml`, by `domain.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from recsys.errors import ConfigError
from recsys.types import StrictModel

WISHES_FILE = "wishes.toml"

ReaderName = Literal["none", "dictionary", "both", "model"]
"""What reads wishes: nothing, words and values, these and the model for the rest, the model alone."""

Texts = tuple[str, ...]


class WishConfig(StrictModel):
    """How wishes are read: `[wishes]` in `domain.toml`."""

    reader: ReaderName = Field(
        "dictionary",
        description="dictionary: the words and values of the domain; both: the model too, for what these "
        "leave unread; model: the model alone; none: a wish is only compared with texts",
    )

    words: str = Field(
        WISHES_FILE,
        description="file of the domain's own words, from its folder; '../shop/wishes.toml' takes those "
        "of another domain with the same values",
    )


class AttributeWords(StrictModel):
    """How people name an attribute."""

    person: bool = Field(False, description="values are people: a family name alone names them")
    before: Texts = Field((), description='said before a value: "directed by"')
    after: Texts = Field((), description='said after a value: "speaking"')
    say: Texts = Field((), description='names the attribute itself: "Oscar"; alone it means 1 or more')


class Meaning(StrictModel):
    """Words that stand for values of this domain."""

    say: Texts = Field(min_length=1, description='"scary", "creepy"')
    means: dict[str, str | Texts] = Field(
        min_length=1, description='attribute -> value, any of several, or a comparison: "<= 95"'
    )
    all: bool = Field(False, description="True: all of several values, not any of them")
    wanted: bool = Field(True, description="False: what is meant must not hold")
    soft: bool = Field(False, description="True: a preference, however it is said")


class WishWords(StrictModel):
    """A parsed `wishes.toml`."""

    attributes: dict[str, AttributeWords] = Field({}, description="of an item, by name")
    words: tuple[Meaning, ...] = ()
    names: dict[str, str] = Field({}, description="another name -> the value that is called so")
    titles: dict[str, str] = Field({}, description="another title -> the title of the item")
    ignore: Texts = Field((), description="words that say nothing here")

    @model_validator(mode="after")
    def _no_word_twice(self) -> WishWords:
        seen: set[str] = set()
        for meaning in self.words:
            for text in meaning.say:
                if text in seen:
                    raise ValueError(f"'{text}' stands in `say` twice")
                seen.add(text)
        return self


def load_wish_words(folder: Path, attributes: tuple[str, ...], file: str = WISHES_FILE) -> WishWords:
    """Read the words of a domain; none if it has no such file.

    Raises:
        ConfigError: The file is malformed, or names an attribute that there is not.
    """
    path = folder / file
    if not path.is_file() and file == WISHES_FILE:
        return WishWords()
    try:
        words = WishWords.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", hint="correct [wishes] words in domain.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", hint="correct the line it names") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ConfigError(
            f"{path}: {where}: {first['msg']}", hint="see domains/movies/wishes.toml"
        ) from error
    named = [*words.attributes, *(name for meaning in words.words for name in meaning.means)]
    if odd := next((name for name in named if name not in (*attributes, "year")), None):
        raise ConfigError(
            f"{path}: there is no attribute '{odd}'", hint=f"there are: {', '.join((*attributes, 'year'))}"
        )
    return words
