"""The settings file of the published program: one ``--key=value`` per line. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_recon.core.errors import InputError

BESIDE = "config.cfg"
"""Name under which a training run leaves its settings beside its checkpoints."""


def _list(text: str) -> list[int]:
    return [int(part) for part in text.strip("[]() ").replace(";", ",").split(",") if part.strip()]


def _flag(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "t": True, "false": False, "0": False, "no": False, "f": False}
    return known[text.lower()]


def _optional(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text in ("", "None") else kind(text)


_KINDS: dict[Callable[[str], Any], str] = {
    str: "action basedir expname datadir save_dir embeddertype modeltype postprocessortype datatype Hdir",
    int: "multires netdepth netwidth sigch N_steps_pre DSfactor N_steps_fine ErMap_update N_steps N_steps_seq block_size "
    "skip chunk i_weights i_print i_weights_trans N_epochs N_rand",
    float: "lrate lrate_decay ssim_loss_weight L1_regu_weight TV_regu_weight",
    _flag: "no_reload compile local_normalization add_ssim_loss retain_gray shot_when_print",
    _list: "skips boundary_range",
    _optional(_list): "render_size render_t_range ROI_Box",
    _optional(int): "multiresZ",
    _optional(float): "centercut",
    _optional(str): "weights_path",
}
KEYS: dict[str, Callable[[str], Any]] = {key: kind for kind, names in _KINDS.items() for key in names.split()}
_LOGGING = frozenset(
    "flagfile undefok logtostderr alsologtostderr log_dir v verbosity logger_levels stderrthreshold showprefixforinfo "
    "run_with_pdb pdb pdb_post_mortem run_with_profiling profile_file use_cprofile_for_profiling only_check_args help "
    "helpfull helpshort helpxml".split()
)
"""Settings of the program's own logging and help, which a dump of all settings holds too."""


def parse(text: str, where: str = "the settings file") -> dict[str, Any]:
    """Return the settings of a flagfile, by key, those that it names only.

    Raises
    ------
    InputError
        A line that is no setting, an unknown key, or a value of the wrong kind.
    """
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        name, equals, value = line.lstrip("-").partition("=")
        name, value = name.strip(), value.strip().strip("\"'")
        if not line.startswith("-") or not name:
            raise InputError(f"{where} should have a --key=value on each line, found {line!r} in line {number}; mend it")
        if name in _LOGGING or (name.startswith("no") and name[2:] in _LOGGING):
            continue
        if not equals:
            name, value = (name[2:], "false") if name not in KEYS and name.startswith("no") else (name, "true")
        if name not in KEYS:
            raise InputError(
                f"{where} has the unknown key {name!r} in line {number}; known are "
                f"{', '.join(sorted(KEYS, key=str.lower))}. Mend or delete the line"
            )
        try:
            found[name] = KEYS[name](value)
        except (ValueError, KeyError):
            raise InputError(f"{where} has {value!r} for {name} in line {number}, which does not fit; mend it") from None
    return found


def read(path: str | Path) -> dict[str, Any]:
    """Return the settings of a file; see `parse`."""
    path = Path(path).expanduser()
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path} should be a readable settings file ({reason}); choose the run's {BESIDE}") from None
