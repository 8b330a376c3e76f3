"""What a checkpoint of RL-Net, VCD-Net, HyLFM-Net, TW-Net or VsNet is, from names and shapes alone. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_recon.hub.recognise import Recognised, State, differences

Shapes = dict[str, tuple[int, ...]]
Options = dict[str, Any]

SUMMARIES: Mapping[str, str] = {
    "serenet": "SeReNet: trained from the PSF alone, without true volumes; 49 views, 81 for Nnum 15; counts in and out.",
    "fserenet": "F-SeReNet: SeReNet with a 3D U-Net behind it, fine-tuned with simulated volumes for sharper planes.",
    "rlnet": "RL-Net: one learned Richardson-Lucy step from the mean of the refocused 49 views; result in relative units.",
    "vcdnet": "VCD-Net: a 2D U-Net from all views to all depths, trained with true volumes; knows nothing of the optics.",
    "hylfmnet": "HyLFM-Net: 2D, then 3D residual convolutions from all views, trained with true volumes; quick.",
    "twnet": "TW-Net: takes the zigzag of moving structures out of a scanned light field, before any reconstruction.",
    "vsnet": "VsNet: makes the views of a light field that was not scanned three times finer, before any reconstruction.",
}
"""Architecture -> one sentence for the model menu."""


@dataclass(frozen=True)
class _Network:
    """How one architecture is told from others, and what its options are."""

    engine: str
    marks: tuple[str, ...]
    options: Callable[[State], Options]
    shapes: Callable[..., Shapes]
    inferred: Callable[[Options], str]
    contract: Callable[[Options], dict[str, Any]]


def recognise(state: State) -> Recognised | None:
    """Return what a state dict is, or None when it is none of these networks."""
    for architecture, network in _NETWORKS.items():
        if any(name not in state for name in network.marks):
            continue
        try:
            options = network.options(state)
            expected = network.shapes(**options)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            options, expected = {}, network.shapes()
        return Recognised(
            engine=network.engine,
            architecture=architecture,
            options=options,
            inferred=(network.inferred(options),) if options or architecture == "rlnet" else (),
            problems=(*differences(state, expected), *_views_problem(options)),
            contract=network.contract(options),
        )
    return None


def expected_shapes(architecture: str, options: Mapping[str, Any]) -> Shapes:
    """Return parameter name -> shape of a network, buffers included."""
    return _NETWORKS[architecture].shapes(**options)


def nnum_of(views: int) -> int:
    """Return how many views there are per axis when all of them are used, 0 when they are no odd square."""
    root = math.isqrt(views)
    return root if root * root == views and root % 2 else 0


def _views_problem(options: Options) -> tuple[str, ...]:
    views = options.get("views")
    if views is None or nnum_of(views):
        return ()
    return (f"the first convolution takes {views} views, which is no odd number squared (all views of a microlens)",)


def _conv(name: str, inputs: int, outputs: int, *kernel: int, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (outputs, inputs, *kernel)}
    return {**shapes, f"{name}.bias": (outputs,)} if bias else shapes


def _norm(name: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def _rlnet() -> Shapes:
    sizes = {1: (1, 4), 2: (4, 4), 3: (8, 4), 4: (1, 8), 5: (8, 8), 6: (16, 8), 8: (4, 4), 9: (1, 4), 10: (4, 4)}
    sizes |= {11: (1, 8), 12: (8, 8), 13: (1, 8), 14: (10, 8), 15: (16, 8)}
    shapes: Shapes = {"conv7.0.weight": (8, 4, 2, 2, 2), "conv7.0.bias": (4,), **_norm("conv7.1", 4)}
    for number, (inputs, outputs) in sizes.items():
        shapes |= _conv(f"conv{number}.0", inputs, outputs, 3, 3, 3)
        shapes |= _norm(f"conv{number}.1", outputs) if number not in (13, 14) else {}
    for number in (1, 2, 3, 4):
        shapes |= _norm(f"t{number}.0", 1)
    return shapes


def _vcdnet(
    views: int = 169,
    planes: int = 101,
    interp: int = 128,
    channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
    ups: Sequence[int] = (512, 512, 256, 128),
) -> Shapes:
    shapes = _conv("f1", views, interp, 7, 7)
    inputs = interp
    for index, part in ((1, 2), (3, 4), (5, 8), (7, 16)):
        shapes |= _conv(f"interp.{index}", inputs // 4, interp // part, 3, 3)
        inputs = interp // part
    shapes |= _conv("interp.8", inputs, inputs, 3, 3) | _norm("interp.9", inputs)
    shapes |= _conv("f2.0", inputs, channels[0], 3, 3) | _norm("f2.1", channels[0])
    for level in range(5):
        shapes |= _conv(f"down{level}.conv.0", channels[level], channels[level + 1], 3, 3)
        shapes |= _norm(f"down{level}.conv.1", channels[level + 1])
    deeper = channels[5]
    for level, outputs in zip((4, 3, 2, 1, 0), (*ups, planes), strict=True):
        shapes |= _conv(f"up{level}.conv.0", deeper + channels[level], outputs, 3, 3) | _norm(f"up{level}.conv.2", outputs)
        deeper = outputs
    return shapes


def _vcdnet_options(state: State) -> Options:
    levels = ("f2.0", *(f"down{level}.conv.0" for level in range(5)))
    return {
        "views": _size(state, "f1.weight", 1),
        "planes": _size(state, "up0.conv.0.weight", 0),
        "interp": _size(state, "f1.weight", 0),
        "channels": [_size(state, f"{name}.weight", 0) for name in levels],
        "ups": [_size(state, f"up{level}.conv.0.weight", 0) for level in (4, 3, 2, 1)],
    }


def _hylfmnet(views: int = 169, planes: int = 101, wide: int = 808, features: int = 7) -> Shapes:
    def residual(name: str, inputs: int, outputs: int, *kernel: int) -> Shapes:
        both = _conv(f"{name}.conv.0", inputs, outputs, *kernel) | _conv(f"{name}.conv.2", outputs, outputs, *kernel)
        ones = (1,) * len(kernel)
        return both if inputs == outputs else both | _conv(f"{name}.projection_layer", inputs, outputs, *ones)

    half = wide // 2
    shapes = residual("res2d.0", views, wide, 3, 3) | residual("res2d.1", wide, wide, 3, 3)
    shapes |= {"res2d.2.weight": (wide, half, 2, 2), "res2d.2.bias": (half,)}
    shapes |= residual("res2d.3", half, half, 3, 3) | _conv("res2d.4", half, features * planes, 1, 1)
    for part in ("res3d.0", "res3d.2", "res3d.3"):
        shapes |= residual(part, features, features, 3, 3, 3)
    shapes |= {"res3d.1.weight": (features, features, 3, 2, 2), "res3d.1.bias": (features,)}
    return shapes | _conv("res3d.4", features, 1, 1, 1, 1)


def _hylfmnet_options(state: State) -> Options:
    features = _size(state, "res3d.0.conv.0.weight", 0)
    return {
        "views": _size(state, "res2d.0.conv.0.weight", 1),
        "planes": _size(state, "res2d.4.weight", 0) // features,
        "wide": _size(state, "res2d.0.conv.0.weight", 0),
        "features": features,
    }


def _twnet(channels: Sequence[int] = (16, 16, 32, 32, 64), scanning: int = 3) -> Shapes:
    c0, c1, c2, c3, c4 = channels
    cells = scanning**2
    shapes = _conv("conv_init", cells, c0, 3, 3) | _conv("conv_final.0", c0, c0 * cells, 1, 1)
    shapes |= _conv("conv_final.3", c0, 1, 3, 3)
    for level, pair in enumerate(((c0, c1), (c1, c2), (c2, c3), (c3, c4))):
        shapes |= _conv(f"down_layers.{level}.conv.0", *pair, 3, 3)
    for level, pair in enumerate(((c4, c4), (2 * c4, c3), (2 * c3, c2), (2 * c2, c1), (2 * c1, c0))):
        shapes |= _conv(f"up_layers.{level}.conv.0", *pair, 3, 3)
    return shapes


def _twnet_options(state: State) -> Options:
    names = ("conv_init", *(f"down_layers.{level}.conv.0" for level in range(4)))
    return {
        "channels": [_size(state, f"{name}.weight", 0) for name in names],
        "scanning": math.isqrt(_size(state, "conv_init.weight", 1)),
    }


def _vsnet(nnum: int = 13, groups: int = 4, blocks: int = 4, channels: int = 64, factor: int = 3) -> Shapes:
    c, lens = channels, nnum * nnum
    sizes: dict[str, tuple[int, ...]] = {
        "AM_FE": (c, 1, nnum, nnum),
        "LF_FE": (c, 1, 3, 3),
        "SA_FE": (c, 1, 3, 3),
        "fusion.sa_fusion.0": (c, groups * c, 3, 3),
        "fusion.am_fusion.0": (c, groups * c, 1, 1),
        "fusion.am_fusion.2": (lens * c, c, 1, 1),
        "fusion.final_fusion.0": (c, (groups + 2) * c, 3, 3),
        "upsampling.PreConv": (factor**2 * c, c, 3, 3),
        "upsampling.FinalConv": (1, c, 1, 1),
    }
    block = {"sa_Conv": (c, c, 3, 3), "sa_Conv2": (c, 2 * c, 3, 3), "am_Conv": (c, c, 1, 1), "am_Conv2": (c, 2 * c, 1, 1)}
    block |= {"lf_Conv": (c, c, 3, 3), "lf_Conv2": (c, 3 * c, 3, 3)}
    block |= {"lf_am_conv": (c, c, nnum, nnum), "am_lf_conv.0": (lens * c, c, 1, 1)}
    for group in range(groups):
        for number in range(blocks):
            prefix = f"cas_interaction.body.{group}.chained_blocks.{number}"
            sizes |= {f"{prefix}.{name}": size for name, size in block.items()}
    return {f"{name}.weight": size for name, size in sizes.items()}


def _vsnet_options(state: State) -> Options:
    places = {tuple(name.split(".")[2:5:2]) for name in state if name.startswith("cas_interaction.body.")}
    channels = _size(state, "AM_FE.weight", 0)
    return {
        "nnum": _size(state, "AM_FE.weight", 2),
        "groups": 1 + max(int(group) for group, _ in places),
        "blocks": 1 + max(int(block) for _, block in places),
        "channels": channels,
        "factor": math.isqrt(_size(state, "upsampling.PreConv.weight", 0) // channels),
    }


def _size(state: State, name: str, axis: int) -> int:
    return int(state[name].shape[axis])


def _whole(options: Options) -> dict[str, Any]:
    """Return the contract of a network that takes all views."""
    views = int(options.get("views", 169))
    return {"views": views, "nnum": nnum_of(views), "scanning": 3, "intensity": "percentiles", "units": "relative"}


_NETWORKS: dict[str, _Network] = {
    "rlnet": _Network(
        "serenet.reconstruct",
        ("conv7.0.weight", "t1.0.weight", "conv15.0.weight"),
        lambda _: {},
        _rlnet,
        lambda _: "RL-Net of 49 views, Nnum 13: the number of views leaves no trace in its parameters",
        lambda _: {"views": 49, "nnum": 13, "scanning": 3, "intensity": "brightest", "units": "relative"},
    ),
    "vcdnet": _Network(
        "serenet.reconstruct",
        ("f1.weight", "f2.0.weight", "down0.conv.0.weight", "up0.conv.0.weight"),
        _vcdnet_options,
        _vcdnet,
        lambda o: f"VCD-Net of {o['views']} views and {o['planes']} planes, from f1.weight and up0.conv.0.weight",
        _whole,
    ),
    "hylfmnet": _Network(
        "serenet.reconstruct",
        ("res2d.0.conv.0.weight", "res2d.4.weight", "res3d.0.conv.0.weight"),
        _hylfmnet_options,
        _hylfmnet,
        lambda o: f"HyLFM-Net of {o['views']} views and {o['planes']} planes, from res2d.0.conv.0.weight and res2d.4.weight",
        _whole,
    ),
    "twnet": _Network(
        "serenet.twnet",
        ("conv_init.weight", "down_layers.0.conv.0.weight", "conv_final.3.weight"),
        _twnet_options,
        _twnet,
        lambda o: f"TW-Net of {o['scanning']} x {o['scanning']} scans, from conv_init.weight",
        lambda o: {"scanning": o.get("scanning", 3), "intensity": "each view", "units": "any"},
    ),
    "vsnet": _Network(
        "serenet.vsnet",
        ("AM_FE.weight", "LF_FE.weight", "upsampling.PreConv.weight"),
        _vsnet_options,
        _vsnet,
        lambda o: (
            f"VsNet of Nnum {o['nnum']}, {o['groups']} x {o['blocks']} blocks, {o['factor']} times finer, from AM_FE.weight"
        ),
        lambda o: {"views": o.get("nnum", 13) ** 2, "nnum": o.get("nnum", 13), "scanning": 1, "intensity": "maximum"},
    ),
}
