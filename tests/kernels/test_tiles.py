"""Every query is served once, whatever the sizes of the levels and of the tiles."""

from __future__ import annotations

import itertools

import pytest

from effbench.kernels.ms_deform_attn.tiles import BAND, serial, tile_count, tiled_queries

TILES = ((2, 4), (4, 4), (4, 8), (8, 8), (8, 16))
COCO = ((25, 42), (50, 84), (100, 167))
CITY = ((32, 64), (64, 128), (128, 256))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    "shapes",
    [
        COCO,
        CITY,
        ((1, 1),),
        ((1, 50), (50, 1)),
        ((17, 3), (1, 1), (2, 2), (16, 8), (15, 33)),
        *(((height, width),) for height, width in itertools.product((3, 16, 17), (5, 16, 31))),
    ],
)
def test_tiles_cover_every_query_once(shapes: tuple[tuple[int, int], ...], tile: tuple[int, int]) -> None:
    tiles = list(tiled_queries(shapes, tile))
    assert len(tiles) == tile_count(shapes, tile)
    assert all(0 < len(queries) <= tile[0] * tile[1] for queries in tiles)
    assert sorted(itertools.chain.from_iterable(tiles)) == list(range(sum(h * w for h, w in shapes)))


@pytest.mark.parametrize("tile", TILES)
def test_a_tile_is_a_rectangle(tile: tuple[int, int]) -> None:
    height, width = 21, 37
    for queries in tiled_queries(((height, width),), tile):
        rows, columns = {q // width for q in queries}, {q % width for q in queries}
        assert len(rows) <= tile[0] and len(columns) <= tile[1]
        assert len(queries) == len(rows) * len(columns)


def test_tiles_in_a_row_of_the_order_are_neighbours() -> None:
    """Eight tiles of 4 x 8 hold 16 x 16 pixels, wherever in a band they begin."""
    height, width = 64, 128
    tiles = list(tiled_queries(((height, width),), (4, 8)))
    per_band = BAND // 4 * width // 8
    for first in range(0, per_band - 8, 4):
        queries = list(itertools.chain.from_iterable(tiles[first : first + 8]))
        rows, columns = {q // width for q in queries}, {q % width for q in queries}
        assert (len(rows), len(columns)) == (16, 16)


@pytest.mark.parametrize("lanes", [1, 3, 132])
@pytest.mark.parametrize("programs", [1, 2, 3, 131, 132, 133, 1000])
def test_every_place_is_taken_once_and_each_lane_has_a_range(programs: int, lanes: int) -> None:
    launched = range(lanes * -(-programs // lanes))
    places = [serial(program, programs, lanes) for program in launched]
    assert sorted(places) == list(launched), "of which those below `programs` are served"
    for lane in range(lanes):
        mine = places[lane::lanes]
        assert mine == list(range(mine[0], mine[0] + len(mine)))
