"""What rows, metrics and inputs are called on the page: as the papers name them, never by our inner names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from effbench.claims.counting import COCO, FIRST_30, FIRST_100
from effbench.claims.printed import HEADS, Claim, title

INPUTS: Mapping[str, str] = {COCO: "all 5,000 images", FIRST_100: "first 100 images", FIRST_30: "first 30 images"}
DATA_SETS: Mapping[str, str] = {
    "coco": "COCO",
    "cityscapes": "Cityscapes",
    "ade20k": "ADE20K",
    "coco+cityscapes": "COCO and Cityscapes",
}
BACKBONES: Mapping[str, str] = {
    "swin_t": "Swin-T",
    "swin_s": "Swin-S",
    "swin_b": "Swin-B",
    "swin_l": "Swin-L",
    "r50": "ResNet-50",
    "r101": "ResNet-101",
    "mvit_t": "MViT-T",
    "convnext_t+convnext_s": "ConvNeXt-T and -S",
    "xception71": "Xception-71",
    "mobilenet_mh": "MobileNet-MH",
    "mobilenetv3_l": "MobileNetV3-L",
}
PRETRAINED: Mapping[str, str] = {"in21k": "ImageNet-21K", "moby": "MoBY", "dino": "DINO"}
METRICS: Mapping[str, str] = {
    "pct_encoder": "change of encoder GFLOPs",
    "pct_total": "change of total GFLOPs",
    "pct_gflops": "change of GFLOPs",
    "pct_fps": "change of FPS",
    "pct_latency": "change of latency",
    "pct_pq": "change of PQ",
    "share_encoder": "the encoder's share of the total GFLOPs",
    "share_pq": "share of PQ",
    "share_tokens": "share of tokens",
    "share_gpu_hours": "share of GPU hours",
    "gpu_hours": "GPU hours",
    "setting_enc_layers": "encoder layers",
}
"""Metric -> what a sentence calls it, where `HEADS` has the head of a column or nothing."""
PRINTED = re.compile(r'(?:^|; )(?:method )?printed "([^"]+)"')
"""In the remark of a row of a table: the name that it has there."""
DETAIL = re.compile(r"(\w+)=(\([^)]*\)|[^,()]+)")
WORDS: Mapping[str, str] = {
    "beta": "β=",
    "k": "K=",
    "layers": "K=",
    "n": "N=",
    "d": "D=",
    "temperature": "τ=",
    "exit_layer": "exit ",
    "step": "step ",
    "squeeze_excite": "squeeze-excite",
    "cls_embd": "class embeddings",
    "copy_paste": "copy-paste",
    "iters": "iterations=",
    "scale_jitter": "scale jitter=",
    "img": "image=",
    "scale": "scale ",
    "head": "head ",
    "centers": "centers by ",
    "stuff": "stuff by ",
}
"""What tells a row from its neighbours, in words; a switch is "with" or "without" them."""
EMBEDDINGS: Mapping[str, str] = {"conv": "without LPE", "avg_pool": "LPE by average pooling"}
"""How the finest map is embedded, where it is not by PRO-SCALE's own light-weight pixel embedding."""
NAMED = ("training", "gate_loss")
"""Details that a row's own printed name says."""


def metric_name(claim: Claim) -> str:
    """What a sentence calls the claim's metric."""
    plain = HEADS.get(claim.metric, claim.metric.removeprefix("setting_").replace("_", " "))
    return METRICS.get(claim.metric, plain)


def backbone_name(claim: Claim) -> str:
    """The backbone, with the weights that it begins with where these are not ImageNet-1K's."""
    weights = f" ({PRETRAINED[claim.pretrain]})" if claim.pretrain in PRETRAINED else ""
    return BACKBONES.get(claim.backbone, claim.backbone) + weights


def system_name(claim: Claim) -> str:
    """The row's name in its table, with whatever tells it from its neighbours."""
    system = claim.system or "data"
    slug = re.sub(r"\s+", "-", system.replace("/", "-").replace(" + ", "+"))
    suffix = claim.row.rpartition("/")[2].removeprefix(slug)
    own = None if claim.place else PRINTED.search(claim.remark)
    name = own[1] if own else claim.system
    pairs = DETAIL.findall(suffix)
    configuration = re.match(r"(\([\d,]+\))?", suffix)
    details = [_detail(key, value) for key, value in pairs if not (own and key in NAMED) and key != "base"]
    shown = f"({', '.join(details)})" if details else ""
    return " ".join(filter(None, (name, configuration[0] if configuration else "", shown)))


def _detail(key: str, value: str) -> str:
    if key == "embedding" and value in EMBEDDINGS:
        return EMBEDDINGS[value]
    word = WORDS.get(key, f"{key.replace('_', ' ')}=")
    if value in ("True", "False"):
        return f"{'with' if value == 'True' else 'without'} {word.removesuffix('=')}"
    return word + value.replace("-", " ") if word.endswith((" ", "=")) else f"{word} {value}"


def row_name(claim: Claim) -> str:
    """The claim's row as a reader finds it: paper and table, data set, backbone, system."""
    return f"{claim.source}, {_within(claim)}".removesuffix(", ")


def _within(claim: Claim) -> str:
    data = DATA_SETS.get(claim.dataset, "") if f"/{claim.dataset}/" in claim.row else ""
    return " ".join(filter(None, (data, backbone_name(claim), system_name(claim))))


class Reader:
    """Turns ids and inner names in what the rules say into what the papers call these."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        """`claims`: all whose ids may be spoken of."""
        found: dict[str, str] = {}
        for claim in claims:
            found[title(claim.id)] = f"{row_name(claim)}, {metric_name(claim)}"
            found.setdefault(title(claim.row), row_name(claim))
            short = claim.row.partition("/")[2].removeprefix("text/").replace("/", " ")
            found.setdefault(short, f"{claim.source.partition(', ')[2]}, {_within(claim)}")
            group = claim.row.rpartition("/")[0]
            here = " ".join(filter(None, (DATA_SETS.get(claim.dataset, ""), backbone_name(claim))))
            found.setdefault(title(group), f"{claim.source}, {here}")
            name = claim.row.rpartition("/")[2]
            if {"(", "+"} & set(name):
                found.setdefault(name, system_name(claim))
        self.names = dict(sorted(found.items(), key=lambda pair: -len(pair[0])))

    def plain(self, text: str) -> str:
        """`text` in the papers' names; what is plain already stays."""
        here = [re.escape(name) for name in self.names if name in text]
        if here:
            text = re.sub(rf"(?<![\w-])(?:{'|'.join(here)})(?![\w(#])", lambda m: self.names[m[0]], text)
        text = re.sub(r"#\d+", "", text)
        text = re.sub(r"(?<![\w/-])coco(?::first\d+)?(?![\w/])", lambda m: INPUTS.get(m[0], m[0]), text)
        text = re.sub(r"\b(pq|fps|ap|ap_p|gpu hours)(?= of | against )", lambda m: HEADS.get(m[1], "GPU hours"), text)
        text = re.sub(r"\bproscale\(p=(\([\d,]+\))(, [^()]*)?\)", r"PRO-SCALE \1\2", text)
        text = re.sub(r"\bmask2former\b", "M2F", text)
        text = re.sub(r"\bembedding=(conv|avg_pool)\b", lambda m: EMBEDDINGS[m[1]], text)
        return re.sub(rf"(?<![\w/])({'|'.join(map(re.escape, BACKBONES))})(?!\w)", lambda m: BACKBONES[m[1]], text)
