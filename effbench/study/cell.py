"""A cell: one point of a study, with everything that its result may depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


def label(encoder: str, settings: Mapping[str, Any]) -> str:
    """A system's name in tables: `proscale(p=(1,1,1))`."""
    if not settings:
        return encoder
    shown = ", ".join(f"{name}={str(value).replace(' ', '')}" for name, value in settings.items())
    return f"{encoder}({shown})"


@dataclass(frozen=True)
class Cell:
    """System x backbone x decoder x data set x input size x device x dtype x batch.

    Attributes:
        encoder, settings: the system.
        width: further encoder settings that make every system of a study narrower alike.
        backbone, backbone_settings, decoder, decoder_settings, classes, queries: what is held fixed.
        dataset: "coco", "cityscapes", "embedded/<part>", or the fingerprint of a data root.
        size: "HxW", or the name of a protocol that says which sizes.
        device, dtype, batch: how it runs.
        options: what the probe is asked to do (recipe, numbers of samples).
    """

    encoder: str
    backbone: str
    dataset: str
    size: str
    classes: int
    queries: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    width: Mapping[str, Any] = field(default_factory=dict)
    backbone_settings: Mapping[str, Any] = field(default_factory=dict)
    decoder: str = "mask2former"
    decoder_settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """The system's name in tables."""
        return label(self.encoder, self.settings)

    @property
    def precision(self) -> str:
        """What its numbers are: its dtype, or "tf32" where the device may round float32 to that in products."""
        return "tf32" if self.options.get("tf32") else self.dtype

    @property
    def conditions(self) -> str:
        """How it is timed, as tables call it: its precision, and whatever else is not as usual."""
        options, mode = self.options, self.options.get("mode", "eager")
        unusual = {
            f"batch {self.batch}": self.batch > 1,
            "channels last": options.get("channels_last"),
            "fixed size": options.get("fixed_size"),
            mode: mode != "eager",
        }
        return ", ".join([self.precision, *(name for name, holds in unusual.items() if holds)])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, tuples as lists."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Inverse of `to_json`; lists come back as tuples, as settings have them."""
        return cls(**{name: tuples(value) for name, value in data.items()})

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the cell's canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def tuples(value: Any) -> Any:
    """`value` from JSON with its lists as tuples, as settings have them."""
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {name: tuples(item) for name, item in value.items()}
    return value
