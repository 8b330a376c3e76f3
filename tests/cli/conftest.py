"""The command line in this process, with the toy engines of tests/jobs registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_recon.cli import app
from tests.jobs.conftest import Steps, image, image_file, steps, toy  # noqa: F401


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line on stderr."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Cli = Callable[..., Answer]


@pytest.fixture
def cli() -> Cli:
    def call(*words: object) -> Answer:
        result = CliRunner().invoke(app, [str(word) for word in words])
        return Answer(result.exit_code, result.stdout, result.stderr)

    return call
