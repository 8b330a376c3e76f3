"""The model menu: built-in, imported and downloadable cards; finding, checking, importing and removing.

Torch is imported only to look into a torch file for the first time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field, ValidationError

from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.grid import Frozen
from napari_recon.core.plan import ModelRef
from napari_recon.hub import recognise
from napari_recon.hub.card import ModelCard, cache_folder
from napari_recon.hub.recognise import HasShape, Recognised
from napari_recon.hub.state import load_state, members, read_card, sha256, state_shapes

BUILT_IN = Path(__file__).parent / "models"
"""Cards shipped with the package: with their weights (built in), or with a url only (downloadable)."""

SUFFIXES = (".pt", ".pth", ".tar", ".safetensors", ".ckpt", ".bin")
COMPANIONS = ("config.cfg",)
"""Settings that a training run leaves beside its checkpoint; they come along when it is imported."""
_log = logging.getLogger(__name__)


class CheckReport(Frozen):
    """The answer of `check`, as the command line prints it."""

    fits: bool
    engine: str = ""
    architecture: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    inferred: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def catalogue(engine: str | None = None) -> list[ModelCard]:
    """Return every card, built-in ones first, then imported, then downloadable; no torch, no network.

    Parameters
    ----------
    engine : str, optional
        Only models of this engine (or of its family).
    """
    cards: dict[str, ModelCard] = {}
    shipped = [card for path in sorted(BUILT_IN.glob("*.json")) if (card := _read_card(path))]
    for card in shipped:
        if card.file and (BUILT_IN / card.file).is_file():
            cards[card.id] = card.model_copy(update={"origin": "built in", "path": str(BUILT_IN / card.file)})
    for path in sorted((cache_folder() / "models").glob("*/card.json")):
        card = _read_card(path)
        if card and card.id not in cards and (path.parent / card.file).is_file():
            origin = "downloadable" if card.url else "imported"
            cards[card.id] = card.model_copy(update={"origin": origin, "path": str(path.parent / card.file)})
    for card in shipped:
        if card.url and card.id not in cards:
            cards[card.id] = card.model_copy(update={"origin": "downloadable", "path": ""})
    rank = {"built in": 0, "imported": 1, "downloadable": 2}
    found = sorted(cards.values(), key=lambda card: rank[card.origin])
    return [card for card in found if engine is None or fits_engine(card, engine)]


def built_in(engine: str) -> ModelRef | None:
    """Return the first built-in model that was made for this very engine, None when there is none."""
    return next((card.ref() for card in catalogue(engine) if (card.origin, card.engine) == ("built in", engine)), None)


def fits_engine(card: ModelCard, engine: str) -> bool:
    """Return whether a model may be offered for `engine`: same engine or same family."""
    return card.engine.partition(".")[0] == engine.partition(".")[0]


def find(id: str, engine: str | None = None) -> ModelCard:
    """Return the card whose id is `id`, or whose id it is a unique beginning or part of.

    Raises
    ------
    InputError
        Unknown or ambiguous; the message lists what there is.
    """
    cards = catalogue()
    fitting = [card for card in cards if engine is None or fits_engine(card, engine)]
    for pool in (fitting, cards):
        for match in (str.__eq__, str.startswith, str.__contains__):
            found = [card for card in pool if match(card.id, id)]
            if len(found) == 1:
                return found[0]
            if found:
                listed = ", ".join(card.id for card in found)
                raise InputError(f"model {id!r} should name one model, found several: {listed}; write more of the id")
    listed = ", ".join(card.id for card in fitting) or "none"
    raise InputError(
        f"there is no model {id!r}; models here{f' for {engine}' if engine else ''}: {listed}. "
        "Give a checkpoint file, or import one (napari-recon models import FILE)"
    )


def resolve(id_or_path: str | Path, engine: str | None = None) -> ModelRef:
    """Return the reference of a model: a catalogue id, the unique part of one, a checkpoint file or a folder with one.

    A file that was not imported is recognised once; the answer is remembered by checksum, so that later plans need no
    torch.

    Raises
    ------
    InputError
        Unknown id; a model that is not downloaded.
    CheckpointError
        A file that fits no engine, or another engine than `engine`.
    """
    path = _checkpoint_at(id_or_path)
    if path.exists():
        card = _card_of_file(path)
    elif path.suffix in SUFFIXES or len(path.parts) > 1:
        raise CheckpointError(f"{path} should be a checkpoint file that exists, found none; check the path")
    else:
        card = find(str(id_or_path), engine)
    if not card.available:
        raise InputError(f"model {card.id} is not on this computer yet; fetch it (napari-recon models fetch {card.id})")
    if engine is not None and not fits_engine(card, engine):
        raise CheckpointError(
            f"{engine} needs a model of its own, found {card.id}, a {card.architecture} network of {card.engine}; "
            "choose another model"
        )
    if card.sha256 and sha256(card.path) != card.sha256:
        raise CheckpointError(f"the file of model {card.id} changed since it was stored; remove and import it again")
    return card.ref()


def check(path: str | Path) -> CheckReport:
    """Say what a checkpoint is and whether it fits, from names and shapes and the card a training run stored in it.

    Raises
    ------
    CheckpointError
        When the file can't be read as tensors at all.
    """
    path = _checkpoint_at(path)
    state = state_shapes(path)
    found = _identified(state, path)
    if found is None:
        names = ", ".join(f"{n} {tuple(t.shape)}" for n, t in list(state.items())[:3])
        problem = f"no engine knows this network; it has {len(state)} tensors, the first are {names}"
        return CheckReport(fits=False, problems=(problem,))
    return CheckReport(fits=found.fits, **found.model_dump(exclude={"contract"}))


def import_model(path: str | Path, id: str | None = None, title: str = "") -> ModelCard:
    """Copy a checkpoint into the cache with a card of what was recognised, under a title of one's own if wanted.

    Raises
    ------
    CheckpointError
        When it fits no engine.
    InputError
        When `id` is taken by another model, or is no id.
    """
    path = _checkpoint_at(path)
    if members(path):
        with TemporaryDirectory() as folder:
            return import_model(_as_one_file(path, Path(folder)), id, title or f"{path.parent.name}/{path.name}")
    card = _recognised_card(path)
    if id is not None or title:
        try:
            own = {"id": card.id if id is None else id, "title": title or card.title}
            card = ModelCard.model_validate({**card.model_dump(), **own})
        except ValidationError as error:
            raise InputError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}; choose another id") from None
    taken = next((c for c in catalogue() if c.id == card.id), None)
    if taken is not None and taken.available and taken.sha256 == card.sha256:
        return taken
    if taken is not None:
        raise InputError(f"the id {card.id} belongs to another model ({taken.name}); choose another with --id")
    stored = store(card, path, path.suffix)
    for name in COMPANIONS:
        if (beside := path.with_name(name)).is_file():
            shutil.copyfile(beside, Path(stored.path).with_name(name))
    return stored


def remove(id: str) -> None:
    """Delete an imported or fetched model from the cache.

    Raises
    ------
    InputError
        Unknown id, or a built-in model.
    """
    card = find(id)
    if card.origin == "built in":
        raise InputError(f"model {card.id} is built in and can't be removed; only imported and fetched ones can")
    if not card.available:
        raise InputError(f"model {card.id} is not on this computer, so there is nothing to remove")
    shutil.rmtree(Path(card.path).parent)


def store(card: ModelCard, weights: Path, suffix: str, move: bool = False) -> ModelCard:
    """Put weights and card into the cache (all or nothing) and return the card with its path."""
    folder = cache_folder() / "models" / card.id
    folder.parent.mkdir(parents=True, exist_ok=True)
    card = card.model_copy(update={"file": f"weights{suffix}"})
    temporary = folder.with_name(f".{card.id}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        (shutil.move if move else shutil.copyfile)(weights, temporary / card.file)
        (temporary / "card.json").write_text(card.to_json(), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return card.model_copy(update={"path": str(folder / card.file)})


def _checkpoint_at(path: str | Path) -> Path:
    """Return the checkpoint that `path` names: a file, a folder whose files belong together, or the only one in a folder.

    One file of several that belong together, in a folder with the others, stands for all of them.
    """
    path = Path(path).expanduser()
    if path.is_file() and path in (members(path.parent) or ()):
        return path.parent
    if not path.is_dir() or members(path):
        return path
    found = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in SUFFIXES)
    if len(found) != 1:
        listed = ", ".join(file.name for file in found) or "none"
        raise CheckpointError(f"the folder {path} should hold one checkpoint, found: {listed}; name the file itself")
    return found[0]


def _as_one_file(path: Path, folder: Path) -> Path:
    """Write the tensors of several files that belong together into one; return it."""
    from safetensors.torch import save_file

    whole = folder / f"{path.name}.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in load_state(path).items()}, whole)
    return whole


def _read_card(path: Path) -> ModelCard | None:
    try:
        return ModelCard.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, OSError, UnicodeDecodeError) as error:
        _log.warning("the model card %s is not readable and is left out (%s)", path, str(error).splitlines()[0])
        return None


def _card_of_file(path: Path) -> ModelCard:
    digest = sha256(path)
    known = next((c for c in catalogue() if c.available and c.sha256 == digest), None)
    if known is not None:
        # the recipe names the file that was asked for, which outlives the imported copy
        return known.model_copy(update={"path": str(path.resolve())})
    memory = cache_folder() / "recognised" / f"{digest}-{_recognisers_digest()}.json"
    if memory.is_file() and (card := _read_card(memory)):
        return card.model_copy(update={"path": str(path.resolve())})
    card = _recognised_card(path)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(card.to_json(), "utf-8")
    except OSError as error:
        _log.info("what %s is could not be remembered: %s", path, error)
    return card


def _recognised_card(path: Path) -> ModelCard:
    found = _identified(state_shapes(path), path)
    if found is None or not found.fits:
        problems = "; ".join(found.problems if found else check(path).problems)
        nearest = f" (nearest: {found.architecture} of {found.engine})" if found else ""
        raise CheckpointError(
            f"{path} should be a checkpoint of a known network{nearest}, found differences: {problems}; choose another file"
        )
    return _card(found, path)


def _identified(state: Mapping[str, HasShape], path: Path) -> Recognised | None:
    """Return what a file is: as its own card says, unless a recogniser sees that its tensors do not fit."""
    found = recognise.recognise(state)
    own = read_card(path)
    if (found is not None and not found.fits) or not {"engine", "architecture"} <= set(own):
        return found
    kept = {name: own[name] for name in ("engine", "architecture", "options", "contract") if name in own}
    try:
        return Recognised(**kept, inferred=("the run that trained it says so in its card",))
    except ValidationError:
        return found


def _card(found: Recognised, path: Path) -> ModelCard:
    digest = sha256(path)
    own = read_card(path)
    return ModelCard(
        id=f"{found.architecture}-{digest[:8]}",
        title=str(own.get("title") or f"{found.architecture} ({path.parent.name}/{path.name})"),
        **{name: own[name] for name in ("training", "quality") if isinstance(own.get(name), dict)},
        engine=found.engine,
        architecture=found.architecture,
        options=found.options,
        contract=found.contract,
        inferred=found.inferred,
        sha256=digest,
        source=str(path),
        path=str(path.resolve()),
    )


def _recognisers_digest() -> str:
    """Return a short digest of the recognisers' source, so that a better recogniser is asked again."""
    digest = hashlib.sha256(json.dumps(recognise.RECOGNISERS).encode())
    for target in recognise.RECOGNISERS:
        spec = importlib.util.find_spec(target.partition(":")[0])
        if spec is not None and spec.origin:
            digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()[:12]
