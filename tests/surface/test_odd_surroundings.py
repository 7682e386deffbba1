"""Whatever the terminal, the variables or the rights of a folder are: no traceback, nothing lost."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from rich.console import Console

from recsys import cli
from recsys.cli import output
from recsys.config import Settings, load_domain, load_settings
from recsys.data import database
from recsys.data.store import Store
from recsys.engine.adapters import load_folder
from recsys.errors import ConfigError, ModelError, StoreError
from recsys.service.options import ServiceOptions, load_options
from recsys.types import Item
from tests.adapter_files import write_lora
from tests.fakes import write_films

ENCODINGS = ["cp1252", "ascii", "cp437", "gbk", "latin-1", "utf-8"]


# --- what a terminal can show --------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, encoding: str = "utf-8") -> tuple[int, str, str]:
    """Run the command; return its exit status, its output and its errors."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
    status = 0
    try:
        cli.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return status, texts[0], texts[1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_terminal_that_cannot_show_a_sign_shows_another(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of films in cp1252 used to end in a UnicodeEncodeError, after the model had ranked."""
    titles = "Amélie 千と千尋の神隠し 🎬 \udcff"

    def show() -> None:
        Console().print(titles, output._score_bar(0.5, 1.0))

    monkeypatch.setattr(cli, "app", lambda _arguments: show())
    status, shown, errors = run(monkeypatch, encoding=encoding)
    assert (status, errors) == (0, "")
    assert "Am" in shown
    assert ("######......" in shown) == (encoding not in ("utf-8", "cp437"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_complete_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"title": "Amélie 千と千尋の神隠し 🎬"}
    monkeypatch.setattr(cli, "app", lambda _arguments: output.print_json(value))
    _, shown, _ = run(monkeypatch, encoding=encoding)
    assert json.loads(shown) == value


# --- variables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("http://localhost:3000", ("http://localhost:3000",)),
        ("https://a.example, https://b.example/", ("https://a.example", "https://b.example")),
        ('["https://a.example", "http://[::1]:8000"]', ("https://a.example", "http://[::1]:8000")),
        ("*", ("*",)),
        ("", ()),
        (" , ", ()),
        ("[]", ()),
    ],
)
def test_origins_are_separated_by_commas_or_json(
    text: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYREC_SERVE_CORS_ORIGINS", text)
    assert load_options().cors_origins == origins


@pytest.mark.parametrize(
    "text", ["localhost:3000", "http://a/path", '["http://a"', "[1]", '{"a": 1}', "http://a b", "a;b"]
)
def test_what_is_no_origin_is_a_wrong_option(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYREC_SERVE_CORS_ORIGINS", text)
    with pytest.raises(ConfigError, match="WHYREC_SERVE_CORS_ORIGINS"):
        load_options()


@pytest.mark.parametrize(
    ("name", "value"),
    [("CONCURRENCY", "many"), ("QUEUE", "-1"), ("BODY_KB", ""), ("WARM", "perhaps"), ("DRAIN_S", "1e99")],
)
def test_wrong_option_of_the_service_names_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WHYREC_SERVE_{name}", value)
    with pytest.raises(ConfigError, match=f"WHYREC_SERVE_{name}"):
        load_options()


# --- the home folder -----------------------------------------------------------------


def test_home_is_expanded_wherever_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_films(tmp_path / "films")
    settings = load_settings(data_dir="~/data", cache_dir=Path("~"), store_url="sqlite:///~/a.db")
    assert settings.data_dir == tmp_path / "data"
    assert settings.cache_dir == tmp_path
    assert settings.database_url == f"sqlite:///{tmp_path / 'a.db'}"
    assert load_domain("~/films").folder == tmp_path / "films"
    monkeypatch.setenv("WHYREC_SERVE_RUNS", "~/runs")
    assert load_options().runs == tmp_path / "runs"
    assert load_settings(data_dir="~nobody-of-that-name/x").data_dir == Path("~nobody-of-that-name/x")


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("--out=~/runs", "--out=/home/ann/runs"),
        ("~/films", "/home/ann/films"),
        ("~", "/home/ann"),
        ("a~/b", "a~/b"),
        ("--wish=~30 minutes", "--wish=~30 minutes"),
        ("~bob/films", "~bob/films"),
    ],
)
def test_home_is_expanded_in_arguments(argument: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert cli._with_home(argument) == expanded


# --- a folder that cannot be written -------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database with an item, in a folder that cannot be written."""
    url = f"sqlite:///{tmp_path / 'a folder #1' / 'whyrec.db'}"
    with Store(url) as store:
        store.put_items("films", [Item(id="f1", title="Heat")])
    monkeypatch.setattr(database, "_is_writable", lambda _path: False)  # to root everything is
    return url


def test_store_that_cannot_be_written_is_read(read_only: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with Store(read_only) as store:
        assert [item.title for item in store.items("films")] == ["Heat"]
        assert store.counts("films")["items"] == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_writing_into_it_says_where_and_what_to_do(read_only: str) -> None:
    with Store(read_only) as store:
        with pytest.raises(
            StoreError, match=r"a folder #1/whyrec.db: the database cannot be written"
        ) as caught:
            store.put_items("films", [Item(id="f2", title="Alien")])
        assert "rights" in caught.value.hint
        assert [item.id for item in store.items("films")] == ["f1"]


def test_store_with_a_log_of_another_process_is_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'whyrec.db'}"
    with Store(url) as writer:
        writer.put_items("films", [Item(id="f1", title="Heat")])
        assert (tmp_path / "whyrec.db-wal").exists()
        monkeypatch.setattr(database, "_is_writable", lambda _path: False)
        with Store(url) as reader:
            assert reader.counts("films")["items"] == 1


# --- adapters with whole modules -----------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["lm_head"],
        ["model.embed_tokens"],
        ["lm_head", "model.embed_tokens"],
        ["model.norm"],
        ["score"],
    ],
)
def test_adapter_that_holds_whole_modules_names_them(names: list[str], tmp_path: Path) -> None:
    """Merging one used to end in a KeyError."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = write_lora(tmp_path / "lora", modules_to_save=names)
    file = folder / "adapter_model.safetensors"
    whole = {f"base_model.model.{name}.weight": torch.zeros(2, 2) for name in names}
    save_file(load_file(file) | whole, file)
    with pytest.raises(ModelError, match="whole modules") as caught:
        load_folder(folder)
    for name in names:
        assert name.rpartition(".")[2] in caught.value.message
    assert "modules_to_save" in caught.value.hint


# --- any values at all ---------------------------------------------------------------

VARIABLES = [
    f"{options.model_config['env_prefix']}{name.upper()}"
    for options in (Settings, ServiceOptions)
    for name in options.model_fields
]
VALUES = strategies.one_of(
    strategies.sampled_from(
        ["", " ", "~", "~x", "-1", "0", "1e400", "nan", "[", "[]", "{}", "null", "true", "http://", "é" * 40]
    ),
    strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
COMMANDS = strategies.sampled_from(
    [
        ["domains"],
        ["recommend", "-d"],
        ["recommend", "-d", "nowhere", "--k"],
        ["recommend", "-d", "nowhere", "--years"],
        ["explain", "-d"],
        ["score", "-d", "nowhere"],
        ["import", "-d"],
        ["items", "list", "-d"],
        ["users", "delete", "-d"],
        ["adapters", "show"],
        ["adapters", "list"],
        ["prompt", "show"],
        ["keys", "create", "--expires"],
        ["serve", "-d"],
        ["serve", "-d", "nowhere", "--port"],
        ["evaluate", "-d"],
        ["evaluate", "online", "--out"],
        ["fit", "-d"],
        ["finetune", "-d", "nowhere", "--set"],
        ["--version"],
        [],
    ]
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    variables=strategies.dictionaries(strategies.sampled_from(VARIABLES), VALUES, max_size=3),
    command=COMMANDS,
    value=VALUES,
)
def test_no_setting_and_no_argument_shows_a_traceback(
    variables: dict[str, str], command: list[str], value: str, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path / "empty"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        patch.chdir(folder)
        patch.setenv("WHYREC_DATA_DIR", str(folder / "data"))
        patch.setenv("WHYREC_ENGINE", "http://127.0.0.1:9")
        for name, text in variables.items():
            patch.setenv(name, text)
        check_no_traceback(run(patch, *command, value))


def check_no_traceback(outcome: tuple[int, str, str]) -> None:
    status, shown, errors = outcome
    assert status in (0, 1, 2, 3)
    assert "Traceback" not in shown + errors
    assert status == 0 or errors or shown
