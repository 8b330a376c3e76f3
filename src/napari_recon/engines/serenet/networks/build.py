"""Building a network by the name its checkpoint was recognised under (torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from napari_recon.engines.serenet.networks.hylfmnet import HyLFMNet
from napari_recon.engines.serenet.networks.rlnet import RLNet
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.engines.serenet.networks.twnet import TWNet
from napari_recon.engines.serenet.networks.vcdnet import VCDNet
from napari_recon.engines.serenet.networks.vsnet import VsNet

ARCHITECTURES: Mapping[str, type[nn.Module]] = {
    "serenet": SeReNet,
    "fserenet": FSeReNet,
    "rlnet": RLNet,
    "vcdnet": VCDNet,
    "hylfmnet": HyLFMNet,
    "twnet": TWNet,
    "vsnet": VsNet,
}


def build(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """Return an untrained network, in eval mode; `options` are those of its constructor."""
    return ARCHITECTURES[architecture](**options).eval()
