"""Sizes of the published networks; what shapes their files hold. No torch."""

from __future__ import annotations

from pydantic import Field

from napari_recon.core.grid import Frozen


class FieldLayers(Frozen):
    """Sizes of the field's network.

    Attributes
    ----------
    octaves : int
        Frequencies of the embedding: the published `max_freq` plus one.
    skips : tuple of int
        Layers that see the embedded point again.
    """

    depth: int = Field(10, ge=1)
    width: int = Field(256, ge=1)
    skips: tuple[int, ...] = (5,)
    octaves: int = Field(11, ge=1)

    @property
    def encoded(self) -> int:
        """Numbers of an embedded point, and of a latent."""
        return 4 + 8 * self.octaves

    def inputs(self, layer: int) -> int:
        """Return what goes into a layer."""
        return self.encoded if layer == 0 else self.width + (self.encoded if layer in self.skips else 0)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter."""
        found: dict[str, tuple[int, ...]] = {}
        for i in range(self.depth):
            found[f"coords_MLP.{i}.weight"] = (self.width, self.inputs(i))
            found[f"coords_MLP.{i}.bias"] = (self.width,)
        return {**found, "out_MLP.weight": (2, self.width), "out_MLP.bias": (2,)}


class EncoderLayers(Frozen):
    """Sizes of the encoder."""

    groups: int = Field(3, ge=1)
    blocks: int = Field(4, ge=1)
    features: int = Field(32, ge=1)
    reduction: int = Field(16, ge=1)
    frames_in: int = Field(1, ge=1)
    frames_out: int = Field(2, ge=1)
    latent: int = Field(92, ge=1)


def latent_size(count: int) -> int:
    """Return how many latents there are along a spatial axis of `count` voxels: half of them, rounded to even."""
    return max(1, round(count / 2))
