"""Names and shapes of the parameters of every network of the ML-SIM family. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NARCH_HEADS = 9
_UNET = (
    *("inc.conv.conv", "down1.mpconv.1.conv", "down2.mpconv.1.conv", "down3.mpconv.1.conv", "down4.mpconv.1.conv"),
    *("up1.conv.conv", "up2.conv.conv", "up3.conv.conv", "up4.conv.conv"),
)
_UNET_CHANNELS = ((0, 64), (64, 128), (128, 256), (256, 512), (512, 512), (1024, 256), (512, 128), (256, 64), (128, 64))
Shapes = dict[str, tuple[int, ...]]
Layer = tuple[str, tuple[int, ...], int]


def expected_shapes(architecture: str, options: Mapping[str, Any]) -> Shapes:
    """Return parameter name -> shape of a network, weights and biases."""
    make = {"rcan": _rcan, "edsr": _edsr, "unet": _unet, "unet_n2n": _unet_n2n}[architecture]
    shapes: Shapes = {}
    for name, shape, outputs in make(options):
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def _conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Layer:
    return name, (outputs, inputs, kernel, kernel), outputs


def _rcan(options: Mapping[str, Any]) -> Iterator[Layer]:
    features, groups, blocks = (int(options[name]) for name in ("n_feats", "n_resgroups", "n_resblocks"))
    hidden = max(1, features // int(options["reduction"]))
    if options.get("narch"):
        for i in range(NARCH_HEADS):
            yield _conv(f"head{i}", 1, features)
            yield _conv(f"head{i}2", features, features)
        yield _conv("combineHead", NARCH_HEADS * features, features)
    else:
        yield _conv("head.0", int(options["nch_in"]), features)
    for g in range(groups):
        for b in range(blocks):
            name = f"body.{g}.body.{b}.body"
            yield _conv(f"{name}.0", features, features)
            yield _conv(f"{name}.2", features, features)
            yield _conv(f"{name}.3.conv_du.0", features, hidden, 1)
            yield _conv(f"{name}.3.conv_du.2", hidden, features, 1)
        yield _conv(f"body.{g}.body.{blocks}", features, features)
    yield _conv(f"body.{groups}", features, features)
    yield from _tail(options)


def _edsr(options: Mapping[str, Any]) -> Iterator[Layer]:
    features, blocks = int(options["n_feats"]), int(options["n_resblocks"])
    yield _conv("head.0", int(options["nch_in"]), features)
    for b in range(blocks):
        yield _conv(f"body.{b}.body.0", features, features)
        yield _conv(f"body.{b}.body.2", features, features)
    yield _conv(f"body.{blocks}", features, features)
    yield from _tail(options)


def _tail(options: Mapping[str, Any]) -> Iterator[Layer]:
    features, outputs, scale = (int(options[name]) for name in ("n_feats", "nch_out", "scale"))
    if scale == 1:
        yield _conv("tail.0", features, outputs)
        return
    for number, by in enumerate([3] if scale == 3 else [2] * (scale.bit_length() - 1)):
        yield _conv(f"tail.0.{2 * number}", features, by * by * features)
    yield _conv("tail.1", features, outputs)


def _unet(options: Mapping[str, Any]) -> Iterator[Layer]:
    for name, (inputs, outputs) in zip(_UNET, _UNET_CHANNELS, strict=True):
        if name.startswith("up"):
            half = inputs // 2
            yield f"{name[:3]}.up", (half, half, 2, 2), half
        yield _conv(f"{name}.0", inputs or int(options["nch_in"]), outputs)
        yield _conv(f"{name}.2", outputs, outputs)
    yield _conv("outc.conv", 64, int(options["nch_out"]), 1)


def _unet_n2n(options: Mapping[str, Any]) -> Iterator[Layer]:
    frames = int(options["nch_in"])
    yield from (_conv("_block1.0", frames, 48), _conv("_block1.2", 48, 48), _conv("_block2.0", 48, 48))
    yield from (_conv("_block3.0", 48, 48), _conv("_block3.2", 48, 48))
    for name, inputs in (("_block4", 96), ("_block5", 144)):
        yield from (_conv(f"{name}.0", inputs, 96), _conv(f"{name}.2", 96, 96), _conv(f"{name}.4", 96, 96))
    yield from (_conv("_block6.0", 96 + frames, 64), _conv("_block6.2", 64, 32))
    yield _conv("_block6.4", 32, int(options["nch_out"]))
