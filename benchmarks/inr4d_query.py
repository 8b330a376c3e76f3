"""Speed of inr4d.query against the published way: 16 points per coordinate, one by one, in the published chunks.

Run ``python benchmarks/inr4d_query.py [--points 4096] [--repeats 2] [--threads 1] [--save]``. All ways take turns on one
recording's size and published network sizes (drawn weights); the best time of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from recording import Row, save
from torch import Tensor

from napari_recon.engines.inr4d.layers import FieldLayers, latent_size
from napari_recon.engines.inr4d.upstream import coordinates
from napari_recon.engines.inr4d.upstream.field import Places, PublishedField, default_tables
from napari_recon.engines.inr4d.upstream.fit import rendered
from napari_recon.engines.inr4d.upstream.networks import FieldNetwork
from napari_recon.fields.motion import MotionField
from napari_recon.fields.spline import Axis, SplineField

COMMAND = "python benchmarks/inr4d_query.py"
SHAPE = (256, 256, 25, 9)
"""Voxels and time points of the recording: x, y, z, t."""
CHUNK = 5 * 2048
AIM = 15
NOTE = """Coordinates per second. The published way draws up every coordinate with its hypercube and sends 10 240 of them
at a time, 16 points each, through the published network (10 layers of 256). The published field on a lattice gives the same
numbers from tables along the axes, few points at a time, and leaves out samples that nearer ones hide (drawn weights, with
densities of a spread of 30 of which four in five are above zero; how much is hidden depends on the field). A field of moving
frames, as fast fits save it, and one of splines take one evaluation per coordinate. The plane is one of 256 x 256 in between
two frames and two planes of a recording of 9 x 25 x 256 x 256. All take turns and the best time of each counts."""
Way = Callable[[], Tensor]


def published_ways(points: int) -> tuple[int, Way, Way]:
    """Return how many coordinates both ways compute, the published way, and the same on a lattice."""
    layers = FieldLayers()
    torch.manual_seed(0)
    network = FieldNetwork(layers).eval()
    latent = torch.pi * torch.tanh(torch.randn(*(latent_size(n) for n in SHAPE[:3]), layers.encoded))
    with torch.no_grad():  # densities with a spread of 30, four of five above zero; colours with a spread of 2
        found = network(torch.pi * (2 * torch.rand(500, 4) - 1), latent.flatten(0, 2)[:500])
        scale = torch.tensor([2.0, 30.0]) / found.std(dim=0)
        network.out_MLP.weight *= scale[:, None]
        network.out_MLP.bias += torch.tensor([0.0, 25.0]) / scale - found.mean(dim=0)
        network.out_MLP.bias *= scale
    jitter = default_tables(16, 1)
    rows = max(1, points // SHAPE[0])
    index = torch.cartesian_prod(torch.arange(SHAPE[0]), torch.arange(rows), torch.tensor([7]), torch.tensor([3]))
    field = PublishedField(network.state_dict(), layers, latent, jitter, 16)
    places = [torch.arange(SHAPE[0]), torch.arange(rows), torch.tensor([7]), torch.tensor([3])]
    lattice = [Places(place, n, 0.5, place) for place, n in zip(places, SHAPE, strict=True)]

    def plain() -> Tensor:
        done = []
        with torch.inference_mode():
            for part in index.split(CHUNK):
                at = [coordinates.latent_index(part[:, axis], latent.shape[axis]) for axis in range(3)]
                done.append(rendered(network, coordinates.rows(part, SHAPE), latent[tuple(at)], 16, jitter[0]))
        return torch.cat(done).view(SHAPE[0], rows).T

    return len(index), plain, lambda: field.values(lattice)[0]


def splines(density: float) -> SplineField:
    """Return a field of the recording's size with drawn coefficients."""
    tzyx = SHAPE[::-1]
    axes = [Axis.of(n, d) for n, d in zip(tzyx, (1.0, *[density] * 3), strict=True)]
    return SplineField(torch.rand(*(axis.coefficients for axis in axes)), tzyx)


def moving() -> MotionField:
    """Return a field of the recording's frames, planes three times as many, and drawn motion."""
    times, planes, *field = SHAPE[::-1]
    frames = torch.rand(times, 3 * planes - 2, *field)
    motion = torch.randn(2, times - 1, 3, (3 * planes - 1) // 2, *((n + 1) // 2 for n in field))
    return MotionField(frames, motion, (times, planes, *field))


def seconds_of(ways: list[Way], repeats: int) -> tuple[list[float], list[Tensor]]:
    """Return the best seconds of each way, taken in turns, and what it gave."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: list[list[float]] = [[] for _ in ways]
    results: list[Tensor] = []
    for _ in range(repeats + 1):  # the first pays for caches
        results = []
        for way, taken in zip(ways, seconds, strict=True):
            started = clock()
            results.append(way())
            taken.append(clock() - started)
    return [min(taken[1:]) for taken in seconds], results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    count, plain, lattice = published_ways(given.points)
    dense, compact, motion = splines(1.0), splines(0.5), moving()
    times, planes, rows, columns = (torch.arange(n).double() for n in (4, 8, 384, 384))
    box = times / 2, planes / 2, rows / 1.5, columns / 1.5
    plane = torch.tensor([3.4]), torch.tensor([7.3]), torch.arange(256).double(), torch.arange(256).double()
    part = box[0][1:2], *box[1:]
    ways: list[Way] = [plain, lattice, lambda: dense.evaluate_lattice(*box), lambda: compact.evaluate_lattice(*box)]
    ways += [lambda: dense.evaluate_lattice(*plane), lambda: compact.evaluate_lattice(*plane)]
    ways += [lambda: motion.evaluate_lattice(*part), lambda: motion.evaluate_lattice(*plane)]
    seconds, results = seconds_of(ways, given.repeats)
    difference = float((results[0] - results[1]).abs().max() / results[0].abs().max())
    asked = 4 * 8 * 384 * 384
    rates = [count / seconds[0], count / seconds[1], asked / seconds[2], asked / seconds[3]]
    rates.append(asked / 4 / seconds[6])
    found = [
        Row("published way", round(rates[0]), "coordinates/s"),
        Row("published field on a lattice", round(rates[1]), "coordinates/s"),
        Row("published field on a lattice: against the published way", round(rates[1] / rates[0], 2), "x", ">= 1"),
        Row("published field on a lattice: difference", float(f"{difference:.1e}"), "", "<= 1e-3"),
        Row("moving frames, t=2,z=2,y=1.5,x=1.5: against the published way", round(rates[4] / rates[0]), "x", f">= {AIM}"),
        Row("moving frames: a plane of 256 x 256 between frames", float(f"{1e3 * seconds[7]:.3g}"), "ms", "<= 150"),
        Row("splines, t=2,z=2,y=1.5,x=1.5: against the published way", round(rates[2] / rates[0]), "x", f">= {AIM}"),
        Row("splines with half as many pieces: against the published way", round(rates[3] / rates[0]), "x", f">= {AIM}"),
        Row("splines: a plane of 256 x 256 between frames", float(f"{1e3 * seconds[4]:.3g}"), "ms", "<= 150"),
        Row("splines with half as many pieces: that plane", float(f"{1e3 * seconds[5]:.3g}"), "ms", "<= 150"),
    ]
    for row in found:
        print(f"{row.what}: {row.value:g} {row.unit} {row.target}")
    if given.save:
        factor = rates[4] / rates[0]
        said = f"Fast fits: over {factor // 50 * 50:g} times as many coordinates per second as the published inference"
        save("inr4d_query", found, f"{COMMAND} --save", NOTE, {"inr4d.query": said})


if __name__ == "__main__":
    main()
