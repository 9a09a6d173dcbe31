"""Planted faults: the kit names each by the right check, and blames no other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.conformance.check import Result
from effbench.conformance.kit import CHECKS, EXIT_CHECKS, conform
from effbench.conformance.subject import GLOBALS, Subject
from effbench.encoders.contract import LEVELS, Encoder, EncoderOutput, FeatureSpec

FEATURES = {name: FeatureSpec(4 * 2**i, stride) for i, (name, stride) in enumerate(LEVELS.items())}
COARSE_TO_FINE = ("res5", "res4", "res3")


class Tiny(Encoder):
    """One 1x1 convolution per map, and no fault; those below override what they break."""

    def __init__(self, features: Any, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim, mask_dim)
        self.project = nn.ModuleDict({name: nn.Conv2d(self.specs[name].channels, dim, 1) for name in COARSE_TO_FINE})
        self.masks = nn.Conv2d(self.specs["res2"].channels, mask_dim, 1)

    def scale(self, name: str, x: Tensor) -> Tensor:
        return self.project[name](x)

    def mask_features(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.masks(features["res2"])

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        coarse, middle, fine = (self.scale(name, features[name]) for name in COARSE_TO_FINE)
        return EncoderOutput(self.mask_features(features), (coarse, middle, fine))


class ReturnsATuple(Tiny):
    def forward(self, features):
        output = super().forward(features)
        return output.mask_features, output.multi_scale


class Raises(Tiny):
    def forward(self, features):
        raise KeyError("res6")


class CannotBeBuilt(Tiny):
    def __init__(self, features: Any, *, dim: int = 8, mask_dim: int = 4) -> None:
        raise ValueError("no channels for res6")


class Undefined(Tiny):
    def mask_features(self, features):
        return super().mask_features(features) / 0


class WrongStride(Tiny):
    def forward(self, features):
        output = super().forward(features)
        return EncoderOutput(output.mask_features, output.multi_scale[::-1])


class WrongChannels(Tiny):
    def scale(self, name, x):
        return super().scale(name, x)[:, : self.mask_dim]


class MasksByFactor(Tiny):
    def mask_features(self, features):
        upsampled = F.interpolate(features["res3"], scale_factor=2, mode="nearest")
        return super().mask_features(features) + upsampled[:, :1]


class MasksOfTheWrongSize(Tiny):
    def mask_features(self, features):
        return F.interpolate(self.masks(features["res2"])[..., ::2, ::2], scale_factor=2, mode="nearest")


class MapsByOrder(Tiny):
    def forward(self, features):
        return super().forward(dict(zip(LEVELS, features.values(), strict=False)))


class SpecsByOrder(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        first = next(iter(features.values()))[0]
        self.masks = nn.Conv2d(first, mask_dim, 1)


class KeepsItsOutput(Tiny):
    last: Any = None

    def forward(self, features):
        self.last = super().forward(features)
        return self.last


class AveragesOverCalls(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.register_buffer("mean", torch.zeros(1))

    def scale(self, name, x):
        self.mean.mul_(0.9).add_(x.mean().to(self.mean.dtype), alpha=0.1)
        return super().scale(name, x)


class CachesByNothing(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.cache: dict[str, float] = {}

    def scale(self, name, x):
        return super().scale(name, x) + self.cache.setdefault(name, x.shape[-1] / 100)


class WritesToItsInput(Tiny):
    def mask_features(self, features):
        with torch.no_grad():
            features["res2"].mul_(2)
        return super().mask_features(features)


class SharesACache(Tiny):
    seen: ClassVar[list[int]] = []

    def scale(self, name, x):
        self.seen.append(x.shape[-1])
        return super().scale(name, x)


class TurnsGradientsOn(Tiny):
    def mask_features(self, features):
        masks = super().mask_features(features)
        torch.set_grad_enabled(True)
        return masks


class SetsThreads(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        torch.set_num_threads(torch.get_num_threads() + 1)


class SetsTheSeed(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        torch.manual_seed(0)
        super().__init__(features, dim=dim, mask_dim=mask_dim)


class AddsNoise(Tiny):
    def mask_features(self, features):
        masks = super().mask_features(features)
        return masks + 0.01 * torch.randn_like(masks)


class DrawsForNothing(Tiny):
    def mask_features(self, features):
        torch.rand(1)
        return super().mask_features(features)


class CentresTheBatch(Tiny):
    def scale(self, name, x):
        return super().scale(name, x - x.mean(0))


class LooseWeight(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.gain = torch.randn(dim, 1, 1)

    def scale(self, name, x):
        return super().scale(name, x) * self.gain


class LooseLayers(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.more = [nn.Conv2d(dim, dim, 1)]

    def scale(self, name, x):
        return self.more[0](super().scale(name, x))


class ReturnsFloat32(Tiny):
    def mask_features(self, features):
        return super().mask_features(features).float()


class CreatesFloat32(Tiny):
    def scale(self, name, x):
        return super().scale(name, x) + torch.ones(1, device=x.device)


class Detaches(Tiny):
    def mask_features(self, features):
        return super().mask_features(features).detach()


class DetachesOneMap(Tiny):
    def scale(self, name, x):
        return super().scale(name, x.detach() if name == "res4" else x)


class HasADeadParameter(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.dead = nn.Parameter(torch.zeros(3))


class HasAFrozenParameter(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.masks.weight.requires_grad_(False)


class CancelsDigits(Tiny):
    def scale(self, name, x):
        return super().scale(name, x) + 300 - 300


class TakesAnything(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4, kind: str = "plain") -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)


class RefusesWithoutANumber(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        if not isinstance(mask_dim, int) or mask_dim < 1:
            raise ValueError("mask_dim is wrong")
        super().__init__(features, dim=dim, mask_dim=mask_dim)


class RefusesWithATypeError(Tiny):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4, layers: int = 1) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        list(range(layers))


class LosesABiasAtOneSize(Tiny):
    def at_size(self, height, width):
        sized = copy.deepcopy(self)
        torch.nn.init.zeros_(sized.masks.bias)
        return sized


class ChangesItselfAtOneSize(Tiny):
    def at_size(self, height, width):
        sized = copy.deepcopy(self)
        torch.nn.init.zeros_(self.masks.bias)
        return sized


class TakesAnySize(Tiny):
    def at_size(self, height, width):
        return copy.deepcopy(self)


class LooksAtValues(Tiny):
    def scale(self, name, x):
        return super().scale(name, x.nan_to_num() if x.isnan().any() else x)


class ForgetsTheDevice(Tiny):
    def scale(self, name, x):
        return super().scale(name, x) + torch.ones(self.dim, 1, 1, dtype=x.dtype, device="cpu")


class RunsAnUnknownOperator(Tiny):
    def scale(self, name, x):
        return torch.asinh(super().scale(name, x))


class SparesTheMetaDevice(Tiny):
    def scale(self, name, x):
        return super().scale(name, x) if x.is_meta else super().scale(name, x) + 0 * self.project[name](x)


FAULTS = [
    (ReturnsATuple, "runs", "returned tuple"),
    (Raises, "runs", "raised KeyError: 'res6'"),
    (CannotBeBuilt, "runs", "raised ValueError: no channels for res6"),
    (Undefined, "runs", "mask_features holds infinite"),
    (WrongStride, "shapes", "multi_scale[0] is (2, 8, 8, 12) where (2, 8, 2, 3) belongs"),
    (WrongChannels, "shapes", "multi_scale[0] is (2, 4, 2, 3) where (2, 8, 2, 3) belongs"),
    (MasksByFactor, "odd_sizes", "for an image of 72x100, raised"),
    (MasksOfTheWrongSize, "odd_sizes", "mask_features is (2, 4, 18, 26) where (2, 4, 18, 25) belongs"),
    (MapsByOrder, "look_up_by_name", "RuntimeError"),
    (SpecsByOrder, "look_up_by_name", "masks.weight has another shape"),
    (KeepsItsOutput, "no_state", "forward changed last"),
    (AveragesOverCalls, "no_state", "forward changed mean"),
    (CachesByNothing, "no_state", "forward changed cache"),
    (WritesToItsInput, "no_state", "forward wrote to its input res2"),
    (SharesACache, "no_global_state", "forward changed SharesACache.seen"),
    (TurnsGradientsOn, "no_global_state", "gradient mode"),
    (SetsThreads, "no_global_state", "constructor changed PyTorch's number of threads"),
    (SetsTheSeed, "no_global_state", "set the seed"),
    (AddsNoise, "determinism", "of two equal calls, mask_features differs"),
    (DrawsForNothing, "determinism", "generator of torch"),
    (CentresTheBatch, "batch_invariance", "for image 0 of 2, multi_scale[0]"),
    (LooseWeight, "state_dict", "gain is a plain tensor"),
    (LooseLayers, "state_dict", "multi_scale[0] differs"),
    (ReturnsFloat32, "dtype", "mask_features is torch.float32 for torch.float64"),
    (CreatesFloat32, "dtype", "multi_scale[0] is torch.float32 for torch.bfloat16"),
    (Detaches, "gradients", "masks.weight, masks.bias, res2"),
    (DetachesOneMap, "gradients", "no gradient reaches res4"),
    (HasADeadParameter, "gradients", "no gradient reaches dead"),
    (HasAFrozenParameter, "gradients", "masks.weight is frozen"),
    (CancelsDigits, "autocast", "multi_scale[0] is off by"),
    (TakesAnything, "settings", "kind='no-such-value' is accepted"),
    (RefusesWithoutANumber, "settings", "refused with 'mask_dim is wrong'"),
    (RefusesWithATypeError, "settings", "layers='no-such-value' raises TypeError"),
    (LosesABiasAtOneSize, "one_size", "at its size, mask_features differs by up to"),
    (ChangesItselfAtOneSize, "one_size", "after at_size, mask_features differs"),
    (TakesAnySize, "one_size", "made for 64x96, it takes 96x64"),
    (LooksAtValues, "meta", "meta"),
    (ForgetsTheDevice, "meta", "device"),
    (RunsAnUnknownOperator, "macs", "no MAC rule for aten.asinh"),
    (SparesTheMetaDevice, "macs", "on the meta device"),
]


def examined(cls: type[Encoder]) -> list[Result]:
    return conform(Subject("planted", cls, FEATURES))


def test_no_fault_is_no_finding() -> None:
    assert [result.line for result in examined(Tiny) if result.status != "ok"] == []


@pytest.mark.parametrize(("cls", "check", "said"), FAULTS, ids=lambda x: x.__name__ if isinstance(x, type) else "")
def test_a_fault_is_named_by_its_check_alone(cls: type[Encoder], check: str, said: str) -> None:
    results = examined(cls)
    (failed,) = [result for result in results if result.status == "failed"]
    assert failed.check == check
    assert said in failed.found
    assert failed.line == f"{check}: {failed.found}; expected {failed.wants}; {failed.mend}"
    assert "\n" not in failed.line and failed.wants and failed.mend


def test_every_check_has_a_planted_fault() -> None:
    planted = {check for _, check, _ in FAULTS}
    assert planted == {check.name for check in CHECKS if check not in EXIT_CHECKS}


@pytest.mark.parametrize("cls", [SetsThreads, TurnsGradientsOn, SetsTheSeed, AddsNoise])
def test_the_process_is_left_as_it_was(cls: type[Encoder]) -> None:
    before = {name: read() for name, (read, _) in GLOBALS.items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    examined(cls)
    assert torch.equal(torch.rand(2), expected)
    assert {name: read() for name, (read, _) in GLOBALS.items()} == before


def test_what_needs_a_failed_check_is_skipped() -> None:
    status = {result.check: (result.status, result.found) for result in examined(WrongStride)}
    assert status["odd_sizes"] == ("skipped", "needs shapes")
    assert status["gradients"] == ("ok", "")
