"""The inputs on which MACs are counted."""

from __future__ import annotations

import pytest

from effbench.errors import InputError
from effbench.probes.mac_sizes import Input, default_classes, fixed, resized, size_protocol


def test_a_fixed_size_is_padded_to_the_stride_and_not_resized() -> None:
    assert fixed(800, 1333) == Input((800, 1333), (800, 1333), (800, 1344))
    assert size_protocol("65x64").inputs == [Input((65, 64), (65, 64), (96, 64))]


def test_cityscapes_is_its_only_size() -> None:
    assert size_protocol("cityscapes") == size_protocol("1024x2048")
    assert size_protocol("cityscapes").inputs == [Input((1024, 2048), (1024, 2048), (1024, 2048))]


def test_coco_is_all_of_val2017() -> None:
    protocol = size_protocol("coco")
    assert sum(i.images for i in protocol.inputs) == 5000
    assert len({i.padded for i in protocol.inputs}) == 55
    assert not protocol.encoder_of_last


@pytest.mark.parametrize(("n", "last_padded"), [(30, (800, 1216)), (100, (800, 1088))])
def test_the_first_images_of_coco_end_with_the_one_whose_encoder_is_printed(
    n: int, last_padded: tuple[int, int]
) -> None:
    protocol = size_protocol(f"coco:first{n}")
    assert len(protocol.inputs) == n
    assert protocol.encoder_of_last
    assert protocol.inputs[-1].padded == last_padded
    assert {i.images for i in protocol.inputs} == {1}


def test_resized_images_keep_their_original_size_and_number() -> None:
    assert resized([((480, 640), 7)]) == [Input((480, 640), (800, 1067), (800, 1088), 7)]


@pytest.mark.parametrize(
    "size",
    ["", "1024", "1024x", "x2048", "0x64", "64x0", "-64x64", "64x64x3", "axb", "64 x 64", "2048*1024", "COCO", "²x64"],
)
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(
        InputError, match="expected HxW in pixels, such as 1024x2048, or cityscapes, coco, coco:first30, coco:first100"
    ):
        size_protocol(size)


@pytest.mark.parametrize("size", ["coco:first0", "coco:first101"])
def test_only_the_first_hundred_are_kept(size: str) -> None:
    with pytest.raises(InputError, match="1 to 100"):
        size_protocol(size)


@pytest.mark.parametrize("size", ["coco:first", "coco:first-1", "coco:firstten", "coco:first²"])
def test_the_first_must_be_a_number(size: str) -> None:
    with pytest.raises(InputError):
        size_protocol(size)


@pytest.mark.parametrize(
    ("size", "classes"),
    [
        ("cityscapes", 19),
        ("1024x2048", 19),
        ("2048x1024", 133),
        ("512x512", 133),
        ("coco", 133),
        ("coco:first30", 133),
    ],
)
def test_classes_follow_the_size(size: str, classes: int) -> None:
    assert default_classes(size) == classes
