"""The networks of `network`, computed plane by plane: the same function in constant memory and inside the cache (torch).

Every layer looks at one plane above and below, so a layer is a generator: it takes chunks of consecutive planes, keeps
the last two, and yields planes as soon as they are determined. Nothing is computed twice and nothing has the full depth.
Chunks are (1, channels, planes, y, x), stored channels last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F

from napari_recon.engines.serenet.networks.serenet import NEGATIVE_SLOPE, Conv, FSeReNet, LateralUp, SeReNet, UNet3d
from napari_recon.engines.serenet.polyphase import phase_bias, phase_weights, shuffled, up_convolved, up_weights

Chunks = Iterator[torch.Tensor]
Check = Callable[[], None]


def streamed(
    network: SeReNet | FSeReNet,
    features: Iterable[torch.Tensor],
    pads: tuple[int, int] = (0, 0),
    check: Check = lambda: None,
) -> Chunks:
    """Yield the network's output before the final resize, in chunks of planes.

    Parameters
    ----------
    network : SeReNet or FSeReNet
        In eval mode; its device and dtype are those of the features.
    features : iterable of torch.Tensor
        Consecutive chunks of refocused views, (1, views, planes, h, w).
    pads : (int, int), optional
        Zero planes that F-SeReNet's pooling puts in front of and behind the features; the sum must be a multiple of four.
        Networks without pooling ignore them.
    check : callable
        Called before each convolution; may raise to stop.

    Yields
    ------
    torch.Tensor
        (1, 1, planes, y, x); together as many planes as the features have.
    """
    chunks = iter(features)
    layers = [layer for layer in network.fusion if isinstance(layer, Conv | LateralUp)]
    if isinstance(network, FSeReNet):
        chunks = padded(_each(layers, chunks, check), *pads)
        chunks = trimmed(_unet(chunks, network.decoder, check), *pads)
        return convolved(chunks, network.final_conv[0], check)  # type: ignore[arg-type]
    last_up = max(n for n, layer in enumerate(layers) if isinstance(layer, LateralUp))
    chunks = _each(layers[:last_up], chunks, check)
    up, *tail = layers[last_up:]
    parameter = next(network.parameters())
    if parameter.device.type != "cpu" or getattr(up, "factor", 0) != 2:
        return _each([up, *tail], chunks, check)
    return _in_phases(chunks, [layer for layer in tail if isinstance(layer, Conv)], check)


def _each(layers: Sequence[Conv | LateralUp], chunks: Chunks, check: Check) -> Chunks:
    for layer in layers:
        chunks = convolved(chunks, layer, check) if isinstance(layer, Conv) else map(layer, chunks)
    return chunks


def _in_phases(chunks: Chunks, layers: Sequence[Conv], check: Check) -> Chunks:
    """Up-sample y and x by two and convolve, without ever storing channels at full sampling."""
    first, *others = layers
    fused, plain = up_weights(first.weight), _channels_last(first.weight)
    chunks = (up_convolved(x, fused, plain, first.bias, _conv) for x in neighbourhoods(chunks, check))
    for layer in others:
        chunks = _convolved(chunks, phase_weights(layer.weight), phase_bias(layer.bias), check)
    return map(shuffled, chunks)


def _conv_of(block: torch.nn.Module) -> Conv:
    layer = block.conv[0]  # type: ignore[index]
    assert isinstance(layer, Conv)
    return layer


def convolved(chunks: Chunks, layer: Conv, check: Check = lambda: None) -> Chunks:
    """Convolve and activate; zero planes lie before the first and behind the last chunk."""
    return _convolved(chunks, _channels_last(layer.weight), layer.bias, check)


def _convolved(chunks: Chunks, weight: torch.Tensor, bias: torch.Tensor | None, check: Check) -> Chunks:
    return (_conv(x, weight, bias) for x in neighbourhoods(chunks, check))


def neighbourhoods(chunks: Chunks, check: Check = lambda: None) -> Chunks:
    """Yield each chunk with one more plane in front and behind, zeros beyond the first and the last."""
    kept: torch.Tensor | None = None
    for chunk in chunks:
        check()
        kept = torch.cat([_zero_plane(chunk) if kept is None else kept, chunk], dim=2)
        if kept.shape[2] > 2:
            yield kept
            kept = kept[:, :, -2:]
    if kept is not None:
        yield torch.cat([kept, _zero_plane(kept)], dim=2)


def _channels_last(weight: torch.Tensor) -> torch.Tensor:
    return weight.contiguous(memory_format=torch.channels_last_3d)


def _zero_plane(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(like[:, :, :1])


def _conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if _use_onednn(x):
        y = torch.mkldnn_convolution(x, weight, bias, (0, 1, 1), (1, 1, 1), (1, 1, 1), 1)
    else:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            y = F.conv3d(x, weight, bias, padding=(0, 1, 1))
    return F.leaky_relu_(y, NEGATIVE_SLOPE)


def _use_onednn(x: torch.Tensor) -> bool:
    """Whether to name oneDNN: left to choose, torch takes a 10 times slower loop for few channels and planes."""
    return x.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _unet(chunks: Chunks, unet: UNet3d, check: Check) -> Chunks:
    """Compute a U-Net on a multiple of four planes."""
    skips: list[Chunks] = []
    for block in unet.down_layers:
        queue: deque[torch.Tensor] = deque()
        skips.append(_taken(queue))
        chunks = _noted(convolved(chunks, _conv_of(block), check), queue)
        chunks = (F.max_pool3d(pair, 2) for pair in in_multiples(chunks, 2))
    first, *others = unet.up_layers
    chunks = convolved(chunks, _conv_of(first), check)
    for block, skip in zip(others, reversed(skips), strict=True):
        joined = (torch.cat(pair, dim=1) for pair in aligned(doubled(chunks), skip))
        chunks = convolved(joined, _conv_of(block), check)
    return chunks


def _noted(chunks: Chunks, queue: deque[torch.Tensor]) -> Chunks:
    for chunk in chunks:
        queue.append(chunk)
        yield chunk


def _taken(queue: deque[torch.Tensor]) -> Chunks:
    """Yield what was noted, freeing it; never empty too early, because what it is joined with was made from more planes."""
    while queue:
        yield queue.popleft()


def padded(chunks: Chunks, front: int, behind: int) -> Chunks:
    """Put zero planes in front of and behind all chunks."""
    last: torch.Tensor | None = None
    for chunk in chunks:
        if last is None and front:
            chunk = F.pad(chunk, (0, 0, 0, 0, front, 0)).contiguous(memory_format=torch.channels_last_3d)
        last = chunk
        yield chunk
    if last is not None and behind:
        yield _zero_plane(last).expand(-1, -1, behind, -1, -1).contiguous(memory_format=torch.channels_last_3d)


def trimmed(chunks: Chunks, front: int, behind: int) -> Chunks:
    """Drop the first `front` and the last `behind` planes."""
    held: torch.Tensor | None = None
    for chunk in chunks:
        drop, front = min(front, chunk.shape[2]), max(0, front - chunk.shape[2])
        held = chunk[:, :, drop:] if held is None else torch.cat([held, chunk[:, :, drop:]], dim=2)
        if held.shape[2] > behind:
            yield held[:, :, : held.shape[2] - behind]
            held = held[:, :, held.shape[2] - behind :]


def in_multiples(chunks: Chunks, multiple: int) -> Chunks:
    """Regroup planes so that every chunk has a multiple of `multiple` of them; the total must be one too."""
    held: torch.Tensor | None = None
    for chunk in chunks:
        whole = chunk if held is None or not held.shape[2] else torch.cat([held, chunk], dim=2)
        ready = whole.shape[2] // multiple * multiple
        if ready:
            yield whole[:, :, :ready]
        held = whole[:, :, ready:]


def aligned(one: Chunks, other: Chunks) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the planes of two streams side by side, in chunks of equal size."""
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    while True:
        a = next(one, None) if a is None else a
        b = next(other, None) if b is None else b
        if a is None or b is None:
            return
        count = min(a.shape[2], b.shape[2])
        yield a[:, :, :count], b[:, :, :count]
        a = a[:, :, count:] if a.shape[2] > count else None
        b = b[:, :, count:] if b.shape[2] > count else None


def doubled(chunks: Chunks) -> Chunks:
    """Up-sample z, y and x trilinearly by two, pixel edges aligned, the outermost planes repeated."""
    kept: torch.Tensor | None = None
    for chunk in chunks:
        wide = F.interpolate(chunk, scale_factor=(1, 2, 2), mode="trilinear", align_corners=False)
        if kept is None:
            yield wide[:, :, :1]
            kept = wide
        else:
            kept = torch.cat([kept, wide], dim=2)
        if kept.shape[2] > 1:
            yield _between(kept)
            kept = kept[:, :, -1:]
    if kept is not None:
        yield kept[:, :, -1:]


def _between(x: torch.Tensor) -> torch.Tensor:
    """Return the planes a quarter and three quarters of the way between neighbouring planes."""
    lower, upper = x[:, :, :-1], x[:, :, 1:]
    n, channels, gaps, h, w = lower.shape
    out = torch.empty((n, channels, 2 * gaps, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    torch.lerp(lower, upper, 0.25, out=out[:, :, 0::2])
    torch.lerp(lower, upper, 0.75, out=out[:, :, 1::2])
    return out


def chunk_starts(start: int, stop: int, size: int) -> Sequence[tuple[int, int]]:
    """Cut ``start:stop`` into consecutive ranges of at most `size` planes."""
    return [(a, min(a + size, stop)) for a in range(start, stop, size)]
