"""What a neural field is made of: network, encoder, size; the published presets; and what tensor shapes tell of it.

A field is a small network that turns a coordinate into an intensity. Its weights say everything about it but how
coordinates are encoded: several encoders give vectors of the same length. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen

Encoder = Literal["positional", "anisotropic", "radial", "none"]
PostProcessor = Literal["relu", "leakyrelu", "linear"]
OCTAVES = range(1, 13)
"""Numbers of octaves considered when an encoder is guessed from the length of its vector."""
AMBIGUOUS = 39
"""Length that 6 octaves for all axes and 6 octaves with z apart share; both were published."""


class Encoding(Frozen):
    """How a coordinate (x, y, z) becomes a vector.

    Attributes
    ----------
    encoder : str
        ``"positional"``: the coordinate and sines and cosines of its octaves; ``"anisotropic"``: the same with x and y
        in one block and z, with octaves of its own, in another; ``"radial"``: the xy block along four directions;
        ``"none"``: the coordinate itself.
    octaves, octaves_z : int
        `octaves_z` only where z has its own.
    """

    encoder: Encoder
    octaves: int = 0
    octaves_z: int = 0

    @property
    def length(self) -> int:
        """Numbers per point."""
        if self.encoder == "positional":
            return 3 + 6 * self.octaves
        if self.encoder == "none":
            return 3
        return 3 + (4 if self.encoder == "anisotropic" else 8) * self.octaves + 2 * self.octaves_z

    def __str__(self) -> str:
        if self.encoder == "none":
            return "no encoder"
        octaves = f"{self.octaves} octaves" + (f" and {self.octaves_z} along z" if self.encoder != "positional" else "")
        return f"{self.encoder} encoder of {octaves}"


class Preset(Frozen):
    """A published kind of field; `render_size` is height, width, planes of its lattice."""

    title: str
    encoding: Encoding
    depth: int = 0
    width: int = 0
    skips: tuple[int, ...] = ()
    render_size: tuple[int, int, int]
    post_processor: PostProcessor = "relu"


_ISO8 = Encoding(encoder="positional", octaves=8)
PRESETS: dict[str, Preset] = {
    "mito": Preset(title="light field", encoding=_ISO8, depth=4, width=128, skips=(2,), render_size=(499, 499, 51)),
    "lf_t": Preset(title="light-field sequence", encoding=_ISO8, depth=4, width=128, render_size=(499, 499, 51)),
    "tube": Preset(title="microtubules", encoding=_ISO8, depth=8, width=128, skips=(4,), render_size=(499, 499, 41)),
    "opt": Preset(
        title="optical projection tomography",
        encoding=Encoding(encoder="anisotropic", octaves=8, octaves_z=6),
        depth=6,
        width=128,
        render_size=(175, 175, 175),
    ),
    "cryo_et": Preset(
        title="cryo-electron tomography",
        encoding=Encoding(encoder="anisotropic", octaves=6, octaves_z=6),
        depth=6,
        width=64,
        render_size=(95, 95, 95),
    ),
    "fpm": Preset(
        title="Fourier ptychography",
        encoding=Encoding(encoder="none"),
        render_size=(340, 340, 120),
        post_processor="linear",
    ),
}


class Layers(Frozen):
    """The network as its weights tell it: `skips` are the layers after which the encoded point is put in front again."""

    depth: int
    width: int
    skips: tuple[int, ...] = ()
    encoded: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return parameter name -> shape."""
        found: dict[str, tuple[int, ...]] = {}
        for i in range(self.depth):
            inputs = self.encoded if i == 0 else self.width + (self.encoded if i - 1 in self.skips else 0)
            found |= {f"pts_linear.{i}.weight": (self.width, inputs), f"pts_linear.{i}.bias": (self.width,)}
        return found | {"output_linear.weight": (1, self.width), "output_linear.bias": (1,)}


def guessed(layers: Layers) -> Encoding | None:
    """Return the encoder that a network's shapes stand for, None when several are as likely.

    A network with all sizes of a published one has its encoder; otherwise the plain encoders come first.
    """
    if layers.encoded == 3:
        return Encoding(encoder="none")
    for preset in PRESETS.values():
        if (preset.depth, preset.width, preset.skips) == (layers.depth, layers.width, layers.skips):
            if preset.encoding.length == layers.encoded:
                return preset.encoding
    if layers.encoded == AMBIGUOUS:
        return None
    octaves, rest = divmod(layers.encoded - 3, 6)
    if not rest and octaves in OCTAVES:
        return Encoding(encoder="positional", octaves=octaves)
    opt = PRESETS["opt"].encoding
    return opt if layers.encoded == opt.length else None


def possible(length: int) -> Iterator[Encoding]:
    """Yield every encoding with vectors of `length`."""
    if length == 3:
        yield Encoding(encoder="none")
    for octaves in OCTAVES:
        if 3 + 6 * octaves == length:
            yield Encoding(encoder="positional", octaves=octaves)
    kinds: tuple[Encoder, ...] = ("anisotropic", "radial")
    for kind in kinds:
        found = [
            each
            for octaves in OCTAVES
            for octaves_z in OCTAVES
            if (each := Encoding(encoder=kind, octaves=octaves, octaves_z=octaves_z)).length == length
        ]
        # the most alike octaves first, as one would choose them
        yield from sorted(found, key=lambda each: abs(each.octaves - each.octaves_z))


def checked(encoding: Encoding, length: int, what: str) -> Encoding:
    """Return `encoding` after checking that it gives vectors as long as the network takes (InputError otherwise)."""
    if encoding.length != length:
        fitting = "; ".join(str(each) for each in list(possible(length))[:3]) or "none of the known ones"
        raise InputError(
            f"{what} takes {length} numbers per point, a {encoding} gives {encoding.length}; choose an encoder that fits "
            f"({fitting})"
        )
    return encoding


def unclear(length: int, what: str) -> InputError:
    """Return the error for a checkpoint whose encoder can't be told, offering what can be chosen."""
    fitting = "; ".join(str(each) for each in list(possible(length))[:3])
    presets = ", ".join(name for name, preset in PRESETS.items() if preset.encoding.length == length)
    return InputError(
        f"{what} takes {length} numbers per point, which does not say how points are encoded"
        f"{f' (it could be a {fitting})' if fitting else ''}; "
        f"choose a preset ({presets or ', '.join(PRESETS)}), name the training run's config.cfg, or set encoder, octaves "
        "and octaves_z"
    )


def options_of(values: dict[str, Any]) -> Layers:
    """Return the layers in a model's options."""
    return Layers.model_validate({name: values[name] for name in ("depth", "width", "skips", "encoded")})
