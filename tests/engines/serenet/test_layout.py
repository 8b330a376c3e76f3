"""What a part of the volume needs, and how volumes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.region import Box
from napari_recon.engines.serenet.compat import blend_weight, tile_starts
from napari_recon.engines.serenet.layout import LARGEST_READ, NetworkField, bounds_of, first_look, tiles_of

FRAME = (459, 459)


def field_of(architecture: str, planes: int = 101, field_yx: tuple[int, int] = FRAME) -> NetworkField:
    volume_yx = (round(field_yx[0] * 13 / 3), round(field_yx[1] * 13 / 3))
    return NetworkField(architecture, 4, planes, field_yx, volume_yx)


def test_reads_are_the_core_and_a_halo_inside_the_field() -> None:
    field = field_of("serenet", field_yx=(60, 60))
    assert field.read(0, (0, 260)) == (0, 60)
    assert field.read(0, (0, 1)) == (0, 10)
    assert field.read(1, (130, 143)) == (30 - 1 - 9, 33 + 1 + 9)


@given(st.integers(1, 130), st.data())
def test_pooling_groups_keep_their_phase(planes: int, data: st.DataObject) -> None:
    field = field_of("fserenet", planes)
    z = sorted(data.draw(st.lists(st.integers(0, planes), min_size=2, max_size=2, unique=True)))
    (first, last), (front, behind) = field.read_z((z[0], z[1]))
    offset = (-planes % 4) // 2
    assert (last - first + front + behind) % 4 == 0
    assert (first - front + offset) % 4 == 0, "groups of four start where they do in the whole depth"
    assert first <= max(0, z[0] - 24) and last >= min(planes, z[1] + 24)
    assert (front > 0) <= (first == 0) and (behind > 0) <= (last == planes)


@given(st.integers(0, 300), st.integers(1, 400), st.integers(0, 300), st.integers(1, 400), st.integers(3, 90))
def test_tiles_cover_a_box_once_and_start_in_its_middle(y: int, height: int, x: int, width: int, edge: int) -> None:
    box = Box(z=(2, 9), y=(y, y + height), x=(x, x + width))
    tiles = tiles_of(box, edge, 13 / 3)
    areas = [(b[1] - b[0]) * (c[1] - c[0]) for _, b, c in map(bounds_of, tiles)]
    assert sum(areas) == height * width
    assert len({(t.y, t.x) for t in tiles}) == len(tiles)
    assert all(max(b[1] - b[0], c[1] - c[0]) <= round(edge * 13 / 3) for _, b, c in map(bounds_of, tiles))
    middle = (y + height / 2, x + width / 2)
    _, first_y, first_x = bounds_of(tiles[0])
    assert abs(sum(first_y) / 2 - middle[0]) <= round(edge * 13 / 3)
    assert abs(sum(first_x) / 2 - middle[1]) <= round(edge * 13 / 3)


def test_a_first_look_is_small_and_central() -> None:
    box = Box(z=(0, 101), y=(0, 1989), x=(0, 1989))
    look = first_look(box, 13 / 3)
    assert bounds_of(look) == ((42, 59), (949, 1040), (949, 1040))
    field = field_of("serenet")
    assert field.work(look) < 40e9
    assert bounds_of(first_look(Box(z=(0, 5), y=(3, 9), x=(0, 2)), 13 / 3)) == ((0, 5), (3, 9), (0, 2))


def test_the_tile_follows_the_memory() -> None:
    for architecture in ("serenet", "fserenet"):
        field = field_of(architecture)
        edges = [field.tile(0, memory) for memory in (2**24, 2**29, 2**30, 2**34)]
        assert edges == sorted(edges) and edges[0] < edges[-1]
        assert edges[-1] + 18 <= LARGEST_READ
        assert field.tile(33, 0) == 33


def test_blended_tiles_start_as_the_authors_do() -> None:
    assert tile_starts(45, 27, 9) == [0, 18]
    assert tile_starts(459, 126, 15) == [0, 111, 222, 333]
    assert tile_starts(20, 27, 9) == [0]
    assert blend_weight(27, 9, 13 / 3).shape == (117, 117)
