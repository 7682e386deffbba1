"""Adapters on this machine: listed, checked before use, chosen for a domain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from recsys.config import Domain, Settings, shipped_domains
from recsys.engine.adapters.manifest import Adapter, check_files, load_adapter, load_folder, parse_ref
from recsys.engine.adapters.promotion import (
    BASE,
    Promotion,
    Promotions,
    gate,
    now,
    read_promotions,
    write_promotions,
)
from recsys.engine.checkpoints.lora import CONFIG, check_lora
from recsys.engine.checkpoints.weights import model_fingerprint, model_folder
from recsys.errors import ModelError, RequestError
from recsys.utils.locks import exclusive_lock

NONE = "none"
SHIPPED = "adapter"
"""Folder inside a domain's folder for the adapter that ships with it."""


def adapters_folder(settings: Settings, domain: str) -> Path:
    """Return the folder of the adapters of a domain."""
    return settings.data_dir.expanduser() / "adapters" / domain


def list_adapters(
    settings: Settings, domain: str | None = None, domain_folder: Path | None = None
) -> list[Adapter]:
    """List readable adapters of a domain or all, shipped ones too, oldest first."""
    return scan(settings, domain, domain_folder)[0]


def scan(
    settings: Settings, domain: str | None = None, domain_folder: Path | None = None
) -> tuple[list[Adapter], list[str]]:
    """List adapters as `list_adapters` does, and what is wrong with others."""
    adapters: dict[str, Adapter] = {}
    problems = []
    for folder in _folders(settings, domain, domain_folder):
        try:
            adapter = load_adapter(folder)
        except ModelError as error:
            problems.append(error.message)
        else:
            adapters.setdefault(adapter.ref, adapter)
    by_age = sorted(adapters.values(), key=lambda a: (a.manifest.created if a.manifest else "", a.ref))
    return by_age, problems


def find_adapter(ref: str, settings: Settings, domain_folder: Path | None = None) -> Adapter:
    """Find an adapter by name.

    Args:
        ref: `movies@abc1` (4 digits or more), `movies` (its default), or a folder.
        settings: Name the data folder.
        domain_folder: Where a shipped adapter is looked for, by default the shipped domain.

    Raises:
        ModelError: There is none, it is unreadable, or the name is ambiguous.
    """
    parsed = parse_ref(ref)
    if parsed is None or (Path(ref) / CONFIG).is_file():
        folder = Path(ref).expanduser()
        if folder.is_dir():
            return load_folder(folder)
        raise ModelError(f"no adapter '{ref}'", hint="give domain@sha (`recsys adapters list`), or a folder")
    domain, sha = parsed
    if not sha:
        default = default_adapter(domain, settings, domain_folder)
        if default is None:
            raise ModelError(
                f"domain '{domain}' has no default adapter",
                hint="see `recsys adapters list` for those it has",
            )
        return default
    folder = adapters_folder(settings, domain) / sha
    if folder.is_dir():  # named in full: others are not read, and an error says what is wrong with it
        return load_adapter(folder)
    adapters, problems = scan(settings, domain, domain_folder)
    matches = [adapter for adapter in adapters if adapter.sha.startswith(sha)]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(adapter.ref for adapter in matches or adapters)
    raise ModelError(
        f"several adapters begin with '{ref}'" if matches else f"no adapter '{ref}'",
        hint=f"there are: {known or 'none'}" + (f"; unreadable: {len(problems)}" if problems else ""),
    )


def promoted(domain: str, settings: Settings, domain_folder: Path | None = None) -> Adapter | None:
    """Return the adapter promoted to a domain's default here, if any.

    Raises:
        ModelError: It is gone or unusable.
    """
    ref = read_promotions(adapters_folder(settings, domain)).ref
    if not ref:
        return None
    try:
        return find_adapter(ref, settings, domain_folder)
    except ModelError as error:
        raise ModelError(
            f"the default adapter {ref} cannot be used: {error.message}",
            hint=f"`recsys adapters rollback --domain {domain}`, or WHYREC_ADAPTER=none for the base model",
        ) from error


def default_adapter(domain: str, settings: Settings, domain_folder: Path | None = None) -> Adapter | None:
    """Return a domain's default adapter: the promoted, else the shipped, else None."""
    return promoted(domain, settings, domain_folder) or _shipped(domain, domain_folder)


def resolve_adapter(domain: Domain, settings: Settings) -> Adapter | None:
    """Return the adapter that a domain's requests use; None for the base model alone.

    A default is not used where the settings name another base model than it was fine-tuned on.
    None for a remote engine too: its server holds the adapters and knows them by name.

    Raises:
        ModelError: The adapter does not exist or is unreadable.
    """
    if settings.is_remote:
        return None
    if settings.adapter:
        return named_adapter(settings, domain)
    default = default_adapter(domain.name, settings, domain.folder)
    fits = default is not None and default.manifest and default.manifest.base_model == settings.model
    return default if fits else None


def describe_score(domain: Domain, settings: Settings) -> str:
    """Say what a score of the domain is made of, and why the model may have no part."""
    domain = domain.as_fitted(settings)
    adapter = resolve_adapter(domain, settings)
    ref = adapter.ref if adapter else settings.adapter
    model = settings.model, ref if ref not in ("", NONE) else None
    weights = domain.weights(*model)["plain"]
    if not weights.model:
        why = domain.why_retriever_leads("plain", *model)
        return f"the retriever's order leads, and the model breaks ties: {why}"
    return f"{weights.retriever:g} x retriever + {weights.model:g} x model"


def named_adapter(settings: Settings, domain: Domain | None = None) -> Adapter | None:
    """Return the adapter that WHYREC_ADAPTER names; None if it is unset.

    Raises as `find_adapter`.
    """
    if settings.adapter in ("", NONE):
        return None
    parsed = parse_ref(settings.adapter)
    same_domain = domain is not None and parsed is not None and parsed[0] == domain.name
    return find_adapter(settings.adapter, settings, domain.folder if domain and same_domain else None)


def check(adapter: Adapter, base: Path | str, template_hash: str | None = None) -> list[str]:
    """Check that an adapter may be loaded on a base model.

    Args:
        adapter: The adapter.
        base: What `prepare_model` returned.
        template_hash: Of the prompt that requests use.

    Returns:
        Warnings.

    Raises:
        ModelError: Pickled weights, damaged or altered files, another base model, or shapes
            that do not fit it.
    """
    check_files(adapter)
    folder = model_folder(base)
    manifest = adapter.manifest
    if manifest and (fingerprint := model_fingerprint(base)) != manifest.base_fingerprint:
        raise ModelError(
            f"{adapter.ref} was fine-tuned on {manifest.base_model} ({manifest.base_fingerprint}), "
            f"not on this base model ({fingerprint})",
            hint="set WHYREC_MODEL to its base model, or WHYREC_ADAPTER=none for the base model alone",
        )
    check_lora(adapter.folder, folder)
    warning = template_warning(adapter, template_hash)
    return [warning] if warning else []


def template_warning(adapter: Adapter, template_hash: str | None) -> str:
    """Return a warning if requests use another prompt than fine-tuning; "" if not."""
    manifest = adapter.manifest
    if manifest is None or template_hash in (None, manifest.template_hash):
        return ""
    return (
        f"adapter {adapter.ref} was fine-tuned on prompt {manifest.template} ({manifest.template_hash}), "
        f"which is now {template_hash}: its quality is not what was measured"
    )


def promote(
    ref: str, settings: Settings, domain_folder: Path | None = None, *, force: bool = False
) -> Promotion:
    """Make an adapter its domain's default if `gate` does not object, or by `force`.

    Raises:
        ModelError: It is not promoted, and why; or it is damaged.
        RequestError: It is the default already.
    """
    domain = find_adapter(ref, settings, domain_folder).published().domain
    with changing(settings, domain) as folder:
        candidate = find_adapter(ref, settings, domain_folder)
        check_files(candidate)
        incumbent = default_adapter(domain, settings, domain_folder)
        if incumbent and incumbent.ref == candidate.ref:
            raise RequestError(f"{candidate.ref} is the default already", hint="nothing to do")
        objections = gate(candidate, incumbent)
        if objections and not force:
            raise ModelError(
                f"{candidate.ref} is kept, but not promoted: {'; '.join(objections)}",
                hint=f"`recsys adapters promote {candidate.ref} --force` overrides that, and records it",
            )
        promotion = Promotion(
            ref=candidate.ref,
            at=now(),
            replaced=incumbent.ref if incumbent else BASE,
            forced=bool(objections),
            objections=tuple(objections),
        )
        state = read_promotions(folder)
        write_promotions(folder, state.model_copy(update={"history": (*state.history, promotion)}))
    return promotion


def rollback(domain: str, settings: Settings, domain_folder: Path | None = None) -> Adapter | None:
    """Undo a domain's last promotion; return the new default, None for the base.

    Earlier promotions of adapters that are gone or unreadable are undone with it.

    Raises:
        RequestError: Nothing was promoted.
    """
    with changing(settings, domain) as folder:
        state = read_promotions(folder)
        if not state.history:
            raise RequestError(f"domain '{domain}' has no promotion to roll back", hint="nothing to do")
        usable = {adapter.ref for adapter in list_adapters(settings, domain, domain_folder)}
        history = list(state.history)
        undone = [history.pop()]
        while history and history[-1].ref not in usable:
            undone.append(history.pop())
        write_promotions(
            folder, Promotions(history=tuple(history), rolled_back=(*state.rolled_back, *undone))
        )
    return default_adapter(domain, settings, domain_folder)


@contextlib.contextmanager
def changing(settings: Settings, domain: str) -> Iterator[Path]:
    """Yield a domain's adapters' folder, locked; turn OSError into ModelError."""
    folder = adapters_folder(settings, domain)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder.parent / f".{domain}.lock"):
            yield folder
    except OSError as error:
        raise ModelError(
            f"adapters cannot be written into {folder}: {error.strerror or error}",
            hint="free some space there, make it writable, or set WHYREC_DATA_DIR to another folder",
        ) from error


def _shipped(domain: str, domain_folder: Path | None) -> Adapter | None:
    folder = (domain_folder or shipped_domains() / domain) / SHIPPED
    return load_adapter(folder) if folder.is_dir() else None


def _folders(settings: Settings, domain: str | None, domain_folder: Path | None) -> list[Path]:
    """List the folders that should be adapters; unfinished ones begin with a dot."""
    root = adapters_folder(settings, domain or "*").parent
    published = sorted(root.glob(f"{domain or '*'}/[!.]*/"))
    shipped = (
        [domain_folder / SHIPPED]
        if domain_folder
        else sorted(shipped_domains().glob(f"{domain or '*'}/{SHIPPED}"))
    )
    return [path for path in (*published, *shipped) if path.is_dir()]
