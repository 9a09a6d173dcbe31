"""The order in which queries are served, in plain integers: what `triton_sampling.block_queries` computes on a GPU.

Encoder queries are the pixels of the levels. A block of adjacent pixels reads overlapping neighbourhoods, so
tiles of 2D neighbours share what is in a multiprocessor's cache where runs of one row would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BAND = 16
"""Rows of a band; tiles are walked down its columns, so that a contiguous range of tiles is compact."""


def tile_count(shapes: Sequence[tuple[int, int]], tile: tuple[int, int]) -> int:
    """How many tiles of (height, width) pixels cover all levels."""
    return sum(-(-height // tile[0]) * -(-width // tile[1]) for height, width in shapes)


def tiled_queries(shapes: Sequence[tuple[int, int]], tile: tuple[int, int]) -> Iterator[list[int]]:
    """The queries of each tile in the order of the tiles; those at a border hold fewer."""
    tile_height, tile_width = tile
    rows_of_band = BAND // tile_height
    start = 0
    for height, width in shapes:
        rows, columns = -(-height // tile_height), -(-width // tile_width)
        for top in range(0, rows, rows_of_band):
            for column in range(columns):
                for row in range(top, min(top + rows_of_band, rows)):
                    yield [
                        start + y * width + x
                        for y in range(row * tile_height, min((row + 1) * tile_height, height))
                        for x in range(column * tile_width, min((column + 1) * tile_width, width))
                    ]
        start += height * width


def serial(program: int, programs: int, lanes: int) -> int:
    """The place of a program in the order of the work, when every `lanes`-th program shares a cache.

    The launch has `lanes * ceil(programs / lanes)` programs; those whose place is not below `programs` idle.
    """
    return (program % lanes) * -(-programs // lanes) + program // lanes
