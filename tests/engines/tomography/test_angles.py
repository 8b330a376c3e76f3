"""Angles from lists, ranges and files."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from napari_recon.cli.options import assigned
from napari_recon.core.errors import InputError
from napari_recon.engines.tomography.angles import angles_for, beside, mrc_angles, of_rows, read_angles

TILTS = [-60.0, -1.5, 30.25, 60.0]


def test_a_range_ends_where_the_number_of_views_says() -> None:
    assert angles_for("-60:60:3", 41)[-1] == 60
    assert angles_for("-60:60:3", 40)[-1] == 57
    assert angles_for("0:180:45", 4) == (0, 45, 90, 135)
    assert angles_for("0:10:4", 3) == (0, 4, 8)
    assert angles_for("10:-10:-10", 3) == (10, 0, -10)
    with pytest.raises(InputError, match="one angle per projection"):
        angles_for("-60:60:3", 39)
    with pytest.raises(InputError, match="step that is not 0"):
        angles_for("0:180:0", 3)


def test_a_range_on_the_command_line_is_no_time_of_day() -> None:
    assert assigned(["angles=-45:45:3", "penalty=0.1"]) == {"angles": "-45:45:3", "penalty": 0.1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tlt", " -60.0\n  -1.5\n30.25\n60\n"),
        ("a.rawtlt", "-60.0\n-1.5\n30.25\n60"),
        ("a.csv", "-60,\n-1.5,\n30.25,\n60,\n"),
        ("a.csv", "view,angle_deg\n0,-60\n1,-1.5\n2,30.25\n3,60\n"),
        ("a.txt", "# degrees\ntilt\n-60\n-1.5\n30.25\n60\n"),
        ("a.mdoc", "[ZValue = 0]\nTiltAngle = -60\n[ZValue = 1]\nTiltAngle = -1.5\nTiltAngle = 30.25\nTiltAngle=60\n"),
        ("a.json", "[-60, -1.5, 30.25, 60]"),
    ],
)
def test_files_hold_one_angle_per_view(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_angles(path) == TILTS
    assert angles_for(str(path), 4) == tuple(TILTS)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "0,-60\n1,3\n", "none named angle"),
        ("a.tlt", "-60\nx\n", "one angle per line"),
        ("a.json", "{", "no JSON"),
        ("a.tlt", "-60\n30\n", "one angle per projection"),
        ("a.tlt", "5\n5\n5\n5\n", "differ"),
        ("a.tlt", "nan\n5\n5\n5\n", "one angle per projection"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        angles_for(str(path), 4)


def test_a_missing_file_is_said() -> None:
    with pytest.raises(InputError, match="readable file"):
        angles_for("nowhere.tlt", 4)


def test_rows_of_a_table_name_their_angle() -> None:
    assert of_rows([{"view": 0, "tilt": -60.0}, {"view": 1, "tilt": 3}], "table") == [-60.0, 3.0]
    assert of_rows([1, 2.5], "list") == [1.0, 2.5]
    with pytest.raises(InputError, match="list of angles"):
        of_rows(["a", "b"], "list")


def _mrc(path: Path, kind: bytes, extended: bytes, integers: int, flags: int) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(np.zeros((4, 5, 6), np.float32))
        file.set_extended_header(np.frombuffer(extended, "V1"))
        file.header.exttyp = kind
        raw = np.frombuffer(bytes(file.header.extra2), "<i2").copy()
        raw[8], raw[9] = integers, flags
        file.header.extra2 = np.frombuffer(raw.tobytes(), file.header.extra2.dtype)[0]
    return path


def test_headers_of_mrc_stacks_are_read(tmp_path: Path) -> None:
    short = b"".join(np.array([round(100 * tilt), 7], "<i2").tobytes() for tilt in TILTS)
    assert mrc_angles(_mrc(tmp_path / "a.mrc", b"SERI", short, 4, 1)) == pytest.approx(TILTS)
    floats = b"".join(np.array([tilt, 1.0], "<f4").tobytes() for tilt in TILTS)
    assert mrc_angles(_mrc(tmp_path / "b.mrc", b"AGAR", floats, 0, 2)) == pytest.approx(TILTS)
    assert mrc_angles(_mrc(tmp_path / "c.mrc", b"MRCO", b"", 0, 0)) == []


def test_a_list_beside_the_stack_is_found(tmp_path: Path) -> None:
    assert beside(tmp_path / "tilt.mrc") is None
    (tmp_path / "tilt.rawtlt").write_text("0\n1\n")
    assert beside(tmp_path / "tilt.mrc") == tmp_path / "tilt.rawtlt"
