"""Motion maps beside plain decoding of the same clips. Prints tables and writes nothing.

Without arguments the clips are filmed by this library; name video files of your own to measure those. Times are
CPU time of the process, best of several, per frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from thesislib.datasets.moving import CODEC, PRESETS, QUANTISER, film
from thesislib.datasets.video import decode, encode, pictures
from thesislib.motion_sampler.codec import BEST, GROUP, motion_vectors
from thesislib.motion_sampler.improved_map import improved_maps
from thesislib.motion_sampler.motion_map import accumulate, motion_maps

FRAMES = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tvl1", action="store_true", help="TV-L1 as well, which takes seconds a clip")
    a = parser.parse_args()
    for file in a.files:
        compare(file.name, file, a.repeats, a.tvl1)
    for name in [] if a.files else PRESETS:
        compare(name, encode(film(PRESETS[name], "test", 0).frames, CODEC, {}, QUANTISER), a.repeats, a.tvl1)


def compare(name: str, source: bytes | Path, repeats: int, tvl1: bool) -> None:
    clip = decode(source, 0, FRAMES)
    count, height, width = clip.shape[:3]
    vectors = motion_vectors(clip)
    stream = encode(clip, "mpeg4", {"g": str(GROUP), "bf": "0"}, BEST)

    def again() -> bytes:
        return encode(clip, "mpeg4", {"g": str(GROUP), "bf": "0"}, BEST)

    def read() -> None:
        for frame in pictures(stream, motion=True):
            frame.side_data.get("MOTION_VECTORS")

    def follow() -> None:
        for start in range(0, count - GROUP + 1, GROUP):
            accumulate(vectors[start + 1 : start + GROUP], height, width)

    tables: list[dict[str, Callable]] = [
        {
            "decode the file": lambda: decode(source, 0, FRAMES),
            "maps": lambda: motion_maps(clip),
            "  of that, encode again": again,
            "maps by H.264": lambda: motion_maps(clip, "mv_h264"),
            "improved maps": lambda: improved_maps(clip),
            "maps by optical flow, DIS": lambda: motion_maps(clip, "flow"),
        },
        {
            "decode the stream encoded again": lambda: decode(stream),
            "  read its vectors": read,
            "  follow them": follow,
            "  both": lambda: (read(), follow()),
        },
    ]
    if tvl1:
        tables[0]["maps by optical flow, TV-L1"] = lambda: motion_maps(clip, "flow_tvl1")
    print(f"\n{name}: {count} frames of {width} × {height}")
    for table in tables:
        plain = None
        for label, step in table.items():
            took = best(step, 1 if "TV-L1" in label else repeats) / count
            plain = plain or took
            print(f"  {label:32} {1e3 * took:8.3f} ms a frame {took / plain:6.1f}")


def best(step: Callable, repeats: int) -> float:
    step()
    took = []
    for _ in range(repeats):
        began = time.process_time()
        step()
        took.append(time.process_time() - began)
    return min(took)


if __name__ == "__main__":
    main()
