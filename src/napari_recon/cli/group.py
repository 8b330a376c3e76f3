"""The group of sub-commands: imports one when it is called, and turns every error into a sentence and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": ("demo:demo", "Reconstruct the shipped sample light field, in napari when there is a display."),
    "engines": ("listing:engines", "List every engine: name, inputs, whether it needs a model."),
    "params": ("listing:params", "List an engine's parameters: type, unit, default, range, description."),
    "plan": ("run:plan", "Dry run: output shape, tiles, memory, estimated time, warnings."),
    "run": ("run:run", "Run an engine and write its images."),
    "train": ("run:train", "Run an engine that makes a model and write that."),
    "rerun": ("rerun:rerun", "Repeat a run from its recipe, or from a result that carries one."),
    "batch": ("batch:batch", "Run a recipe over a folder, a pattern or an OME-Zarr."),
    "simulate": ("simulate:simulate", "Make raw data with ground truth."),
    "models": ("models:app", "List, show, check, import, fetch and remove models."),
    "metrics": ("metrics:metrics", "Compare a result with a reference: PSNR, SSIM, NRMSE, correlation."),
    "compare": ("compare:compare", "Several methods on one light field: residual, resolution, and the truth where known."),
    "convert": ("convert:convert", "Copy an image into another format, with axes, voxel size and recipe."),
}
"""Name -> (module:function within this package, one line)."""
WRITING_AT_ONCE = ("demo", "models", "metrics", "convert")
"""Put away what they began on Ctrl-C; the others begin nothing before they listen to it (`execute.interruptible`)."""
INTERRUPTED = 130
"""What the parser makes of Ctrl-C where no run listens to it yet."""


class LazyGroup(TyperGroup):
    """Shows all commands, imports only the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the real command in place of its placeholder."""
        name, command, rest = super().resolve_command(ctx, args)
        if name not in COMMANDS or command is None:
            return name, command, rest
        found = load(name)
        if name in WRITING_AT_ONCE and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return name, found, rest

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; in standalone mode every error becomes one line on stderr and an exit code."""

        def run() -> Any:
            return super(LazyGroup, self).main(args, prog_name, complete_var, False, windows_expand_args, **extra)

        if not standalone_mode:
            return run()
        sys.exit(self._guarded(run))

    def _guarded(self, run: Callable[[], Any]) -> int:
        debug = bool(os.environ.get("NAPARI_RECON_DEBUG"))
        with warnings.catch_warnings():
            if not debug:
                # libraries' chatter would hide the one sentence that matters
                warnings.simplefilter("ignore")
                _silence_logging()
            try:
                code = run()
                if code == INTERRUPTED:
                    raise KeyboardInterrupt
                return code if isinstance(code, int) else 0
            except BaseException as error:
                if isinstance(error, SystemExit | GeneratorExit):
                    raise
                if debug:
                    import traceback

                    traceback.print_exc()
                sentence, code = explained(error)
                if sentence:
                    print(sentence, file=sys.stderr)
                return code


def load(name: str) -> Any:
    """Return the click command called `name`, importing its module."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"napari_recon.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False)
        found.command(name, help=COMMANDS[name][1])(function)
    command = typer.main.get_command(found)
    command.name = name
    return command


def explained(error: BaseException) -> tuple[str, int]:
    """Return the sentence and the exit code of anything that escaped from a command."""
    if hasattr(error, "format_message"):  # a usage error of the parser, whichever version raised it
        text = " ".join(error.format_message().split()).rstrip(".")
        return f"error: {text}; see napari-recon --help" if text else "", 2
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")
        return "", 1
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ in ("Abort", "Cancelled"):
        return "cancelled", 3
    from napari_recon.core.errors import describe

    described = describe(error)
    text = " ".join(str(described).split())
    if described.exit_code == 1:
        return f"error: {text}; this is a defect of napari-recon (NAPARI_RECON_DEBUG=1 shows where)", 1
    return f"error: {text}", described.exit_code


def _silence_logging() -> None:
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
