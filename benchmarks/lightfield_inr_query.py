"""Speed of lightfield_inr.query against encoding points and running them through the network in large chunks.

Run ``python benchmarks/lightfield_inr_query.py [--points 300000] [--repeats 3] [--threads 1] [--device cpu] [--save]``. Both
ways take turns on the same weights (drawn), the best time of each counts, and the largest difference of values is shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from recording import Row, save
from torch import Tensor

from napari_recon.engines.lightfield_inr.dense import DenseField
from napari_recon.engines.lightfield_inr.dense_shape import lattice_of, output_zyx, shapes
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates, lattice_coordinates
from napari_recon.engines.lightfield_inr.field import PRESETS, Layers, Preset
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork, post_processed

COMMAND = "python benchmarks/lightfield_inr_query.py"
CHUNK = 65536
TABLE = (204, 204, 60, 3)
Way = Callable[[], Tensor]
AIMS = {"mito": 3.0, "lf_t": 3.0}
OTHER_AIM = 2.2
NOTE = """Points per second of evaluating a whole lattice by axis tables, a cache-sized number of points at a time, against
encoding every point and running 65 536 points at a time through the network (the published way). The two take turns on the
same weights and the best time of each counts; differences are the largest ones, relative to the largest value."""


def drawn(wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=make) * (2 / shape[-1]) ** 0.5 for name, shape in wanted.items()}


def network_ways(preset: Preset, points: int, device: str) -> tuple[int, Way, Way]:
    """Return the number of points and the two ways for a published network, on a box of the published lattice."""
    layers = Layers(depth=preset.depth, width=preset.width, skips=preset.skips, encoded=preset.encoding.length)
    state = drawn(layers.shapes())
    height, width, planes = preset.render_size
    rows = max(1, min(height, points // (8 * width)))
    axes = [
        axis_coordinates(axis, np.arange(count), (planes, height, width)).to(device)
        for axis, count in zip("xyz", (width, rows, 8), strict=True)
    ]
    network = FieldNetwork(layers, preset.encoding).to(device)
    network.load_state_dict(state)
    field = LatticeField(state, layers, preset.encoding, "relu", device)

    def plain() -> Tensor:
        every = lattice_coordinates(*axes).view(-1, 3)
        with torch.inference_mode():
            return torch.cat([post_processed(network(part), "relu") for part in every.split(CHUNK)])

    return width * rows * 8, plain, lambda: field.values(*axes).reshape(-1)


def dense_ways(device: str) -> tuple[int, int, Way, Way]:
    """Return the points of each way and the two ways for the ptychography field, which is always a whole volume."""
    state = {name: tensor.to(device) for name, tensor in drawn(shapes(TABLE)).items()}
    lattice, output = lattice_of(TABLE), output_zyx(TABLE)
    field = DenseField(state, device)

    def plain() -> Tensor:
        linear, relu = torch.nn.functional.linear, torch.nn.functional.leaky_relu
        table = state["table"].permute(3, 0, 1, 2)[None]
        with torch.inference_mode():
            features = torch.nn.functional.interpolate(table, size=lattice, mode="trilinear", align_corners=True)
            done = []
            for part in features[0].permute(1, 2, 3, 0).reshape(-1, TABLE[-1]).split(CHUNK):
                hidden = part
                for i in range(4):
                    hidden = torch.cat([part, hidden], dim=1) if i == 3 else hidden
                    hidden = relu(linear(hidden, state[f"net_real.{i}.linear.weight"], state[f"net_real.{i}.linear.bias"]))
                done.append(torch.tanh(linear(hidden, state["output_layer_real.weight"], state["output_layer_real.bias"])))
            volume = torch.cat(done).view(lattice)[20:-20, 20:-20].permute(2, 0, 1) + 1.33
        return volume.reshape(-1)

    axes = [torch.arange(n, dtype=torch.float32) for n in output[::-1]]
    return int(np.prod(lattice)), int(np.prod(output)), plain, lambda: field.values(*axes).reshape(-1)


def best(ways: tuple[Way, Way], repeats: int, device: str) -> tuple[list[float], float]:
    """Return the best seconds of each way, taken in turns, and the largest difference of their values."""
    # one thread's processor time does not count what else the machine does
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds = [[], []]
    for _ in range(repeats + 1):  # the first pays for caches
        results = []
        for way, taken in zip(ways, seconds, strict=True):
            started = clock()
            results.append(way())
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            taken.append(clock() - started)
    return [min(taken[1:]) for taken in seconds], float((results[0] - results[1]).abs().max() / results[0].abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print("| field | network | chunks, points/s | lattice, points/s | factor | largest difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows, factors = [], []
    for name, preset in PRESETS.items():
        if name == "fpm":
            before, count, *ways = dense_ways(given.device)
            about = "feature table"
        else:
            count, *ways = network_ways(preset, given.points, given.device)
            before, about = count, f"{preset.depth} x {preset.width}{', skip' if preset.skips else ''}"
        (plain, fast), difference = best((ways[0], ways[1]), given.repeats, given.device)
        rates = before / plain, count / fast
        factor = rates[1] / rates[0]
        factors.append(factor)
        print(
            f"| {name} | {about} | {rates[0] / 1e3:,.0f} k | {rates[1] / 1e3:,.0f} k | {factor:.1f} | {difference:.0e} |",
            flush=True,
        )
        rows += [
            Row(f"{name} ({about}): lattice", round(rates[1] / 1e3), "thousand points/s"),
            Row(f"{name}: against chunks of points", round(factor, 2), "x", f">= {AIMS.get(name, OTHER_AIM)}"),
            Row(f"{name}: difference", float(f"{difference:.1e}"), "", "<= 1e-5"),
        ]
    if given.save:
        said = f"Queries {min(factors):.1f} to {max(factors):.1f} times as fast as point by point, same numbers"
        save("lightfield_inr_query", rows, f"{COMMAND} --save", NOTE, {"lightfield_inr.query": said})


if __name__ == "__main__":
    main()
