"""The papers' figures, the papers' counter as the referee, and the rules that both conventions follow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import LEVELS, exits_of
from effbench.encoders.registry import registered, setting_defaults
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.probes import macs
from effbench.probes.base import Context, segmenter
from effbench.probes.mac_count import COMPONENTS, CONVENTIONS, count_model, count_post_processing
from effbench.probes.mac_rules import papers_and_complete
from effbench.probes.mac_sizes import SizeProtocol, fixed, size_protocol
from effbench.study.cell import Cell

GIGA = 1e9
CITYSCAPES = {"classes": 19, "queries": 100, "dataset": "cityscapes", "size": "1024x2048"}
COCO = {"classes": 133, "queries": 100, "dataset": "coco"}


def counted(encoder: str, backbone: str, convention: str = "papers", **fields: Any) -> Mapping[str, float]:
    """GMACs by component, as the probe answers them."""
    cell = Cell(encoder, backbone, **{**CITYSCAPES, **fields})
    detail = macs.measure(cell, Context("unused")).detail[convention]
    return {component: number / GIGA for component, number in detail.items()}


# The released models under the papers' own tool; the papers print them with two digits or cut to integers.
@pytest.mark.parametrize(
    ("encoder", "settings", "swin_t", "r50"),
    [
        ("mask2former", {}, 281.130, 291.196),
        ("proscale", {"p": (1, 1, 1)}, 55.138, 65.205),
        ("proscale", {"p": (2, 2, 2)}, 95.243, 105.310),
        ("proscale", {"p": (3, 3, 3)}, 135.348, 145.414),
    ],
)
def test_encoders_cost_what_the_papers_print(encoder: str, settings: dict, swin_t: float, r50: float) -> None:
    assert counted(encoder, "swin_t", settings=settings)["encoder"] == pytest.approx(swin_t, abs=1e-3)
    assert counted(encoder, "r50", settings=settings)["encoder"] == pytest.approx(r50, abs=1e-3)


@pytest.mark.parametrize(
    ("backbone", "settings", "total"),
    [
        ("r50", {}, 524.114),
        ("swin_t", {}, 537.848),
        ("swin_t", {"layers": 4}, 474.914),  # what an early exit there costs
        ("swin_t", {"layers": 2}, 411.981),
    ],
)
def test_totals_are_those_in_print(backbone: str, settings: dict, total: float) -> None:
    assert counted("mask2former", backbone, settings=settings)["total"] == pytest.approx(total, abs=0.01)


def test_lite_costs_what_the_papers_print() -> None:
    """172.00 and 171.99 for the encoder, 428.71 in all: PRO-SCALE's and ECO-M2F's tables for Cityscapes."""
    lite = counted("lite", "swin_t")
    assert lite["encoder"] == pytest.approx(171.99, abs=0.01)
    assert lite["total"] == pytest.approx(428.71, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 216.96),
        ({"fused": True}, 206.81),
        ({"embedding": "none"}, 139.65),
        ({"fused": True, "embedding": "none"}, 129.50),  # printed: 130.00
    ],
    ids=str,
)
def test_rt_fits_the_print_when_fused_and_without_the_output_convolution(settings: dict, expected: float) -> None:
    """The figures count a BatchNorm as one MAC per element; the papers' tool takes two (fvcore's batch_norm)."""
    rt = counted("rt", "swin_t", settings=settings)["encoder"]
    with torch.device("meta"):
        encoder = build_segmenter("rt", "swin_t", num_classes=19, **settings).encoder.eval()
    elements = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal elements
        elements += output.numel()

    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count)
    encoder({name: torch.empty(1, 96 * 2**i, 256 >> i, 512 >> i, device="meta") for i, name in enumerate(LEVELS)})
    assert rt == pytest.approx(expected, rel=1e-3)
    assert rt - elements / GIGA == pytest.approx(expected, abs=0.006)


def test_without_res2_the_convolution_and_three_quarters_of_the_mask_features_are_saved() -> None:
    whole, without = (
        counted("mask2former", "swin_t", settings=settings)["encoder"]
        for settings in ({}, {"res2": False, "embedding": "none"})
    )
    pixels = 256 * 512
    saved = pixels * (96 * 256 + 2 * 5 * 256 + 9 * 256**2 + 0.75 * 256**2)
    assert whole - without == pytest.approx(saved / GIGA, abs=1e-3)


def test_swin_has_the_norms_of_the_released_one() -> None:
    assert counted("fpn", "swin_t")["backbone"] == pytest.approx(195.5546, abs=1e-4)


def test_pooling_saves_the_convolution_at_stride_4() -> None:
    conv = counted("proscale", "swin_t", settings={"p": (1, 1, 1), "embedding": "conv"})["encoder"]
    pool = counted("proscale", "swin_t", settings={"p": (1, 1, 1), "embedding": "max_pool"})["encoder"]
    assert conv - pool == pytest.approx(77.309, abs=1e-3)


def test_the_top_down_resize_is_in_the_total_and_not_in_the_encoder() -> None:
    assert counted("mask2former", "r50")["other"] == pytest.approx(0.1342, abs=1e-4)


def test_complete_adds_what_the_papers_leave_out() -> None:
    papers = counted("mask2former", "swin_t", settings={"layers": 2})
    complete = counted("mask2former", "swin_t", "complete", settings={"layers": 2})
    added = {component: complete[component] - papers[component] for component in COMPONENTS}
    assert added["encoder"] == pytest.approx(2 * 0.661, abs=2e-3), "deformable sampling of two layers"
    assert added["decoder"] == pytest.approx(3.303, abs=1e-3), "QK^T of the masked attention"
    assert added["backbone"] == added["post_processing"] == added["other"] == 0


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_components_sum_to_the_total(convention: str) -> None:
    parts = dict(counted("proscale", "r50", convention))
    assert parts.keys() == {*COMPONENTS, "total"}
    assert parts.pop("total") == pytest.approx(sum(parts.values()), rel=1e-12)
    assert min(parts.values()) > 0


def test_the_probe_gives_one_sample_and_the_implementation() -> None:
    cell = Cell("mask2former", "resnet_mini", **{**CITYSCAPES, "size": "64x96"})
    measured = macs.measure(cell, Context("unused"))
    assert measured.unit == "MAC"
    assert measured.samples == [measured.detail["papers"]["total"]]
    assert measured.implementation.keys() == {"ms_deform_attn"}


def test_images_of_a_data_root_are_counted_at_their_own_sizes(context: Context, tiny_cell: Callable[..., Cell]) -> None:
    """All images of the tiny set are 64 x 64, which evaluation brings to 800 x 800."""
    of_data = macs.measure(tiny_cell(size="data"), context).detail["papers"]
    of_size = macs.measure(tiny_cell(size="800x800"), context).detail["papers"]
    assert of_data["encoder"] == of_size["encoder"]
    assert of_data["post_processing"] < of_size["post_processing"], "masks come back to 64 x 64"


def test_images_of_cityscapes_are_counted_at_its_test_size(
    context: Context, tiny_cell: Callable[..., Cell], cityscapes_root: Path
) -> None:
    """4 x 8 pixels, which evaluation brings to 1024 x 2048."""
    context = replace(context, inputs={"data_root": str(cityscapes_root)})
    of_data = macs.measure(tiny_cell(size="data"), context).detail["papers"]
    of_size = macs.measure(tiny_cell(size="1024x2048"), context).detail["papers"]
    assert of_data["encoder"] == of_size["encoder"]


def test_coco_first_n_is_the_last_encoder_beside_the_mean_total() -> None:
    first = counted("fpn", "resnet_mini", **COCO, size="coco:first3")
    inputs = size_protocol("coco:first3").inputs
    encoders = [counted("fpn", "resnet_mini", **COCO, size=f"{h}x{w}")["encoder"] for _, _, (h, w), _ in inputs]
    assert first["encoder"] == encoders[-1]
    assert encoders[-1] != encoders[0]
    parts = sum(first[component] for component in COMPONENTS)
    assert first["total"] == pytest.approx(parts - encoders[-1] + sum(encoders) / 3)


# PRO-SCALE's COCO rows, counted on the first images, and ECO-M2F's, over all 5,000: encoder, total.
@pytest.mark.parametrize(
    ("backbone", "size", "rows"),
    [
        ("swin_t", "coco:first100", {"mask2former": (116.68, 234.52), "proscale": (56.18, 171.70)}),
        ("swin_t", "coco:first30", {"lite": (79.78, 188.05)}),
        ("r50", "coco:first30", {"mask2former": (135.08, 229.13), "proscale": (67.45, 166.10)}),
        ("swin_t", "coco", {"mask2former": (121.69, 235.60)}),
        ("r50", "coco", {"mask2former": (126.05, 229.44)}),
    ],
)
def test_printed_coco_rows(backbone: str, size: str, rows: dict[str, tuple[float, float]]) -> None:
    for encoder, printed in rows.items():
        row = counted(encoder, backbone, **COCO, size=size)
        assert (row["encoder"], row["total"]) == pytest.approx(printed, rel=1e-3)


def test_cells_share_the_counts_of_equal_parts_and_of_no_others() -> None:
    cells = [
        Cell(encoder, "resnet_mini", **{**CITYSCAPES, "size": "64x96"}, settings=settings)
        for encoder, settings in [
            ("fpn", {}),
            ("fpn", {"dim": 64}),
            ("fpn", {"embedding": "none"}),
            ("lite", {}),
            ("lite", {"layers": 2}),
        ]
    ]
    alone = [macs.count(segmenter(c, "meta"), size_protocol(c.size), c.queries, c.classes) for c in cells]
    assert [macs.measure(c, Context("unused")).detail for c in cells] == alone
    parts = [macs.identities(c) for c in cells]
    assert len({p["backbone"] for p in parts}) == 1
    assert len({p["decoder"] for p in parts}) == 2, "one for each width"
    assert len({p["encoder"] for p in parts}) == len(cells)


def test_a_count_of_another_model_is_noticed() -> None:
    shared: macs.Shared = {}
    same = dict.fromkeys(("backbone", "encoder", "decoder"), "the same")
    protocol = size_protocol("64x96")
    macs.count(small("fpn"), protocol, 5, 7, same, shared)
    with pytest.raises(RuntimeError, match="a part's identity must name all it depends on"):
        macs.count(small("mask2former"), protocol, 5, 7, same, shared)


@pytest.mark.slow
def test_all_systems_at_all_sizes_take_under_a_minute() -> None:
    """Two backbones, four protocols. The suite does it in two processes; this is one, with its own fresh counts."""
    from effbench.suites.systems import COUNTED

    macs._shared.clear()
    began = time.process_time()
    for backbone in ("r50", "swin_t"):
        for system in COUNTED:
            for size in ("cityscapes", "coco", "coco:first30", "coco:first100"):
                classes = 19 if size == "cityscapes" else 133
                macs.measure(
                    Cell(**system.fields(), backbone=backbone, dataset="any", size=size, classes=classes, queries=100),
                    Context("unused"),
                )
    assert time.process_time() - began < 2 * 60


def test_counting_a_cell_takes_under_two_seconds() -> None:
    with torch.device("meta"):
        model = build_segmenter("proscale", "swin_t", num_classes=19)
    began = time.process_time()
    macs.count(model, size_protocol("cityscapes"), queries=100, classes=19)
    assert time.process_time() - began < 2


# --- against the papers' counter ---------------------------------------------------------------------------------


class Flat(nn.Module):
    """A segmenter whose output is tensors alone, as tracing needs it."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        exits = exits_of(self.model.encoder)  # a gate would choose by what the images are
        output = self.model(images, max(exits)) if exits else self.model(images)
        return [x for p in output.predictions for x in (p.logits, p.masks)]


def attention_handle(inputs: list[Any], outputs: list[Any]) -> float:
    """What the release's attention counts as: with a mask its QK^T is a baddbmm, which fvcore does not know."""
    query, key, value, mask = ([] if x.type().kind() == "NoneType" else x.type().sizes() for x in inputs[:4])
    scores = math.prod(query[:-1]) * key[-2]
    return scores * value[-1] + (0 if mask else scores * query[-1])


def small(encoder: str, **settings: Any) -> Segmenter:
    allowed = setting_defaults(encoder)
    narrow = {name: value for name, value in {"heads": 4, "ffn_dim": 128}.items() if name in allowed}
    decoder = {"dim": 64, "heads": 4, "ffn_dim": 128, "layers": 3}
    return build_segmenter(
        encoder,
        "resnet_mini",
        num_classes=7,
        num_queries=5,
        decoder_settings=decoder,
        dim=64,
        mask_dim=64,
        **narrow,
        **settings,
    ).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fvcore traces with TorchScript
@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        *((name, {}) for name in registered()),
        *(("mask2former", {"embedding": kind}) for kind in ("max_pool", "avg_pool", "depthwise", "none")),
        ("proscale", {"p": (0, 1, 2), "recalibration": "transposed"}),
        ("proscale", {"p": (2, 1, 1), "recalibration": "released_conv", "residual": True}),
        ("rt", {"fused": True, "embedding": "none"}),
        ("convnext_unet", {"squeeze_excite": False, "n": (1, 2, 1), "d": (64, 32, 32)}),
        ("mask2former", {"res2": False, "embedding": "none"}),
    ],
)
def test_fvcore_counts_the_same_on_real_tensors(encoder: str, settings: dict) -> None:
    fvcore = pytest.importorskip("fvcore.nn", reason="fvcore, the papers' counter, is not installed")
    model = small(encoder, **settings)
    analysis = fvcore.FlopCountAnalysis(Flat(model), torch.rand(1, 3, 64, 96))
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention_handle)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    referee = analysis.by_module()
    ours = count_model(model, 64, 96).by_component("papers")
    assert ours["backbone"] == referee["model.backbone"]
    assert ours["encoder"] + ours["other"] == referee["model.encoder"], "fvcore books the resize where it is called"
    assert ours["decoder"] == pytest.approx(referee["model.decoder"], rel=1e-3), "fvcore rounds einsum to 4 digits"
    assert ours["total"] == pytest.approx(referee[""], rel=1e-3)


def test_shapes_on_the_meta_device_count_as_real_tensors_do() -> None:
    real = small("proscale")
    with torch.device("meta"):
        meta = small("proscale")
    assert count_model(real, 64, 96) == count_model(meta, 64, 96)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = small("fpn")
    first = count_model(model, 64, 96)
    assert count_model(model, 64, 96) == first, "nothing is left hooked"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_the_papers_leave_out_is_the_difference_operator_by_operator() -> None:
    count = count_model(small("mask2former"), 64, 96)
    left_out = count.left_out()
    totals = {convention: count.by_component(convention)["total"] for convention in CONVENTIONS}
    assert sum(left_out.values()) == totals["complete"] - totals["papers"]
    assert "ms_deform_attn" in "".join(left_out) and all(macs > 0 for macs in left_out.values())


@pytest.mark.parametrize("fused", [False, True])
def test_the_deformable_operator_costs_the_papers_nothing(fused: bool) -> None:
    B, Q, M, L, P, D = 2, 7, 3, 1, 4, 5
    value, attention = torch.empty(B, 6, M, D, device="meta"), torch.empty(B, Q, M, L, P, device="meta")
    places, reference = attention.new_empty(B, Q, M, L, P, 2), attention.new_empty(Q, 2)
    operators = torch.ops.effbench
    operator = operators.ms_deform_attn_fused if fused else operators.ms_deform_attn
    arguments = (value, [2, 3], places, attention, *([reference] if fused else []), "auto")
    counted = papers_and_complete(operator.default, arguments, operator(*arguments))
    assert counted == (0, 5 * B * Q * M * L * P * D), "four corners and the attention weight"


def test_it_is_a_mean_over_the_images_too() -> None:
    model, protocol = small("mask2former"), SizeProtocol([fixed(64, 96), fixed(32, 32)._replace(images=3)])
    found = macs.count(model, protocol, queries=5, classes=7)
    missed = found["complete"]["total"] - found["papers"]["total"]
    assert sum(found["left_out"].values()) == pytest.approx(missed)


# --- rules -------------------------------------------------------------------------------------------------------


class Stub(nn.Module):
    """Stands for a segmenter: `work` is its decoder, and gets tokens (B, H*W, 64)."""

    def __init__(self, work: nn.Module) -> None:
        super().__init__()
        self.backbone, self.encoder, self.decoder = nn.Identity(), nn.Identity(), work
        self.weight = nn.Parameter(torch.empty(64, device="meta"))

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.encoder(self.backbone(images))[:, :1].flatten(1)[..., None]
        return self.decoder(pixels * self.weight)


class Attention(nn.Module):
    """Self-attention of 64 channels, 4 heads, over S tokens, by one of the ways that PyTorch offers."""

    def __init__(self, way: str, masked: bool) -> None:
        super().__init__()
        self.way, self.masked = way, masked
        with torch.device("meta"):
            self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device) if self.masked else None
        if self.way != "sdpa":
            return self.attention(x, x, x, attn_mask=mask, need_weights=self.way == "weights")[0]
        attention = self.attention
        packed = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = packed.unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attention.out_proj(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("masked", [False, True])
def test_the_way_attention_is_called_does_not_change_its_count(masked: bool) -> None:
    tokens = 8 * 8
    projections, product = 4 * tokens * 64 * 64, tokens * tokens * 64
    for way in ("weights", "no weights", "sdpa"):
        count = count_model(Stub(Attention(way, masked)), 8, 8)
        assert count.by_component("papers")["decoder"] == projections + product * (1 if masked else 2), way
        assert count.by_component("complete")["decoder"] == projections + product * 2, way


def test_a_position_bias_is_no_mask() -> None:
    """Swin adds one after a product that fvcore counts."""

    class Biased(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bias = torch.zeros(x.shape[1], x.shape[1], device=x.device)
            return F.scaled_dot_product_attention(x, x, x, attn_mask=bias)

    count = count_model(Stub(Biased()), 8, 8)
    assert count.by_component("papers")["decoder"] == 2 * 64 * 64 * 64


@torch.library.custom_op("effbench_tests::odd", mutates_args=())
def odd(x: Tensor) -> Tensor:
    return x.clone()


odd.register_fake(torch.empty_like)


def test_an_operator_without_a_rule_is_an_error_that_names_it() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return odd(x)

    with pytest.raises(NotImplementedError, match=r"no MAC rule for effbench_tests\.odd"):
        count_model(Stub(Odd()), 8, 8)


def test_work_outside_the_components_is_booked_as_other() -> None:
    class Outside(Stub):
        def forward(self, images: Tensor) -> Tensor:
            out = super().forward(images)
            return out @ out.transpose(1, 2)

    count = count_model(Outside(nn.Identity()), 8, 8)
    assert count.by_component("papers")["other"] == 64 * 64 * 64
    assert count.by_component("papers")["total"] == 64 * 64 * 64


def test_post_processing_is_two_resizes_and_the_semantic_product() -> None:
    count = count_post_processing(queries=5, classes=7, padded=(64, 96), image=(60, 90), output=(30, 45))
    assert count["papers"] == count["complete"] == 5 * (4 * 64 * 96 + 4 * 30 * 45) + 5 * 7 * 30 * 45


def test_the_papers_post_processing_at_their_size() -> None:
    size = (1024, 2048)
    count = count_post_processing(queries=100, classes=19, padded=size, image=size, output=size)
    assert count["papers"] / GIGA == pytest.approx(5.662, abs=1e-3)


@pytest.mark.parametrize(
    ("exit", "encoder", "total"),
    [(2, 155.26, 411.981), (3, 186.73, 443.448), (4, 218.20, 474.914), (5, 249.66, 506.381), (6, 281.13, 537.848)],
)
def test_exits_cost_what_the_early_exit_paper_counts(exit: int, encoder: float, total: float) -> None:
    """Swin-T at 1024x2048: the encoders of its tables, and the totals that its release has as constants."""
    with torch.device("meta"):
        model = build_segmenter("early_exit", "swin_t", num_classes=19)
    found = macs.count(model, size_protocol("1024x2048"), 100, 19, exit=exit)["papers"]
    assert found["encoder"] / 1e9 == pytest.approx(encoder, abs=0.005)
    assert found["total"] / 1e9 == pytest.approx(total, rel=1e-5)
