"""Time and memory of the prior and the merges, beside copying the same bytes.

Makes a VLM, a reasoner and a base of random bfloat16 weights with the decoder layers of a
Qwen2.5-VL-7B, as many as fill the wanted size, and runs each method and the copies in turn, each
in a process of its own. Seconds are those of the work: the start of Python and the import of torch
are not counted, the hashing of the parents is. Memory is the process's peak: resident in all, and
private (anonymous) as sampled from outside.

    python perf/checkpoints.py --gib 4 --rounds 3
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, INNER, KEYS = 3584, 18944, 512
COPIES = ("copy of the VLM", "copy of the pair", "copy of all three")
"""As many checkpoints as the place says."""
THREE = ("task_arithmetic", "ties", "dare_linear", "dare_ties")
"""Also read the base."""
WORK = (*COPIES, "fingerprints", "distance", "prior", "linear", "slerp", "ties", "dare_ties")
LIMITS = {"prior": 1.6, "linear": 1.6, "ties": 4.0}
"""Wanted multiples of the time of copying the files that are read."""
PART = {
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.k_proj.weight": (KEYS, WIDTH),
    "self_attn.v_proj.weight": (KEYS, WIDTH),
    "self_attn.o_proj.weight": (WIDTH, WIDTH),
    "mlp.gate_proj.weight": (INNER, WIDTH),
    "mlp.up_proj.weight": (INNER, WIDTH),
    "mlp.down_proj.weight": (WIDTH, INNER),
    "input_layernorm.weight": (WIDTH,),
    "post_attention_layernorm.weight": (WIDTH,),
}


def make(folder: Path, gib: float) -> None:
    """Write the VLM, the reasoner and their base into `folder`; the first two are `gib` GiB."""
    import torch

    from drift.checkpoints import write_stream

    layer = 2 * sum(map(math.prod, PART.values()))
    layers = max(1, math.ceil(gib * 2**30 / 2 / layer))
    names = {
        f"model.layers.{i}.{part}": shape for i in range(layers) for part, shape in PART.items()
    }
    names |= {"model.norm.weight": (WIDTH,), "model.embed_tokens.weight": (4096, WIDTH)}
    common = torch.randn((1 << 24) + 1, generator=torch.Generator().manual_seed(0)) * 0.02

    for seed, name in enumerate(("vlm", "llm", "base")):
        numbers = torch.Generator().manual_seed(1 + seed)
        pool = (common + 0.002 * torch.randn(len(common), generator=numbers)).bfloat16()
        tower = {"visual.tower.weight": (4096, 4096)} if name == "vlm" else {}
        (folder / name).mkdir()
        kind = "qwen2_5_vl" if name == "vlm" else "qwen2"
        heads = {"num_attention_heads": 28, "num_key_value_heads": 4}
        (folder / name / "config.json").write_text(json.dumps({"model_type": kind, **heads}))

        def blocks(key: str, pool: torch.Tensor = pool, names: dict = names | tower) -> list:
            times, rest = divmod(math.prod(names[key]), len(pool))
            return [pool] * times + [pool[:rest]]

        path = folder / name / "model.safetensors"
        write_stream(path, (names | tower).items(), "bfloat16", blocks, {"format": "pt"}, 1)


def work(what: str, folder: Path) -> tuple[float, float]:
    """Do one thing; the seconds that it took, and those that the cores worked."""
    import torch  # noqa: F401  (not part of the time)

    from drift import delta, distance, merge, merge_methods
    from drift.fingerprints import fingerprint

    vlm, llm, base, out = (folder / name for name in ("vlm", "llm", "base", "out"))
    shutil.rmtree(folder / "cache", ignore_errors=True)  # nothing is known beforehand
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    started, worked = time.perf_counter(), time.process_time()
    if what in COPIES:
        out.mkdir()
        for one in (vlm, llm, base)[: 1 + COPIES.index(what)]:
            shutil.copyfile(one / "model.safetensors", out / one.name)
    elif what == "fingerprints":
        fingerprint(vlm), fingerprint(llm)
    elif what == "distance":
        distance.measure(vlm, llm)
    elif what == "prior":
        delta.save(delta.build(vlm, llm), out)
    else:
        needed = base if what in merge_methods.NEEDS_BASE else None
        recipe = merge_methods.Recipe(method=what, alpha=0.1)  # type: ignore[arg-type]
        list(merge.merge(vlm, llm, {out: recipe}, needed))
    return time.perf_counter() - started, time.process_time() - worked


def run(what: str, folder: Path) -> tuple[float, float, float, float]:
    """Of `work` in a process of its own: seconds, core seconds, peak MiB resident and private."""
    os.sync()
    command = [sys.executable, __file__, "--work", what, "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    private = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        private = max(private, *map(int, found), 0)
        time.sleep(0.005)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{what} failed")
    shutil.rmtree(folder / "out", ignore_errors=True)
    seconds, cores, resident = json.loads(said.splitlines()[-1])
    return seconds, cores, resident / 1024, private / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=float, default=4.0, help="size of VLM and reasoner together")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many is taken")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--only", help="some of the rows, separated by commas")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        seconds = work(given.work, given.folder)
        status = Path("/proc/self/status").read_text()
        print(json.dumps([*seconds, int(status.split("VmHWM:")[1].split()[0])]))
        return
    rows = WORK if given.only is None else (*COPIES, *given.only.split(","))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        make(folder, given.gib)
        size = sum((folder / one / "model.safetensors").stat().st_size for one in ("vlm", "llm"))
        found: dict[str, list[tuple[float, ...]]] = {row: [] for row in rows}
        for _ in range(given.rounds):
            for row in rows:
                found[row].append(run(row, folder))
    best = {row: min(one[0] for one in runs) for row, runs in found.items()}
    print(f"VLM and reasoner of {size / 2**30:.2f} GiB together, best of {given.rounds} rounds\n")
    print("| | seconds | / copy of what it reads | / copy of the VLM | wanted ", end="")
    print("| core seconds | MiB resident | private |\n|" + "---|" * 8)
    for row, runs in found.items():
        same = row if row in COPIES else COPIES[2 if row in THREE else 1]
        ratios = " | ".join(f"{best[row] / best[copy]:.2f}" for copy in (same, COPIES[0]))
        cores = min(one[1] for one in runs)
        memory = " | ".join(f"{max(one[i] for one in runs):.0f}" for i in (2, 3))
        wanted = f"≤ {LIMITS[row]}" if row in LIMITS else ""
        print(f"| {row} | {best[row]:.2f} | {ratios} | {wanted} | {cores:.1f} | {memory} |")


if __name__ == "__main__":
    main()
