"""Time and memory of the prior and the merges, beside copying the same bytes and beside mergekit.

Makes a VLM, a reasoner and a base of random bfloat16 weights with the decoder layers of a
Qwen2.5-VL-7B, as many as fill the wanted size, and runs each method and the copies in turn, each
in a process of its own. Seconds are those of the work: the start of Python and the import of torch
are not counted, the hashing of the parents is. Memory is the process's peak: resident in all, and
private (anonymous) as sampled from outside. Medians over the rounds; core seconds beside them, as
other work on the machine moves what a clock says.

    python perf/checkpoints.py --gib 4 --rounds 5 --mergekit ENVIRONMENT/bin/python
"""

import argparse
import json
import math
import os
import shutil
import statistics
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
MERGES = ("linear", "slerp", *THREE)
WORK = (*COPIES, "fingerprints", "distance", "prior", *MERGES)
LIMITS = {"prior": 1.6, "linear": 0.6, "ties": 3.0}
"""Wanted multiples of the time of copying the files that are read."""
PEER = "mergekit "
PART = {
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.k_proj.weight": (KEYS, WIDTH),
    "self_attn.v_proj.weight": (KEYS, WIDTH),
    "self_attn.o_proj.weight": (WIDTH, WIDTH),
    "self_attn.q_proj.bias": (WIDTH,),
    "self_attn.k_proj.bias": (KEYS,),
    "self_attn.v_proj.bias": (KEYS,),
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


def run(what: str, folder: Path, mergekit: str | None) -> tuple[float, float, float, float]:
    """Of `work` in a process of its own: seconds, core seconds, peak MiB resident and private."""
    os.sync()
    command = [sys.executable, __file__, "--work", what, "--folder", str(folder)]
    if what.startswith(PEER):
        side = Path(__file__).with_name("mergekit_side.py")
        command = [str(mergekit), str(side), what.removeprefix(PEER), str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    resident = private = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        kinds = dict(line.split(":", 1) for line in status.splitlines())
        resident = max(resident, int(kinds.get("VmHWM", "0").split()[0]))
        private = max(private, int(kinds.get("RssAnon", "0").split()[0]))
        time.sleep(0.005)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{what} failed")
    shutil.rmtree(folder / "out", ignore_errors=True)
    seconds, cores = json.loads(said.splitlines()[-1])
    return seconds, cores, resident / 1024, private / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=float, default=4.0, help="size of VLM and reasoner together")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many is taken")
    parser.add_argument("--mergekit", help="Python of an environment that has mergekit")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--only", help="some of the rows, separated by commas")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(given.work, given.folder)))
        return
    rows = WORK if given.only is None else (*COPIES, *given.only.split(","))
    if given.mergekit:
        rows = (*rows, *(PEER + row for row in rows if row in MERGES))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        make(folder, given.gib)
        size = sum((folder / one / "model.safetensors").stat().st_size for one in ("vlm", "llm"))
        found: dict[str, list[tuple[float, ...]]] = {row: [] for row in rows}
        for _ in range(given.rounds):
            for row in rows:
                found[row].append(run(row, folder, given.mergekit))
    print(f"VLM and reasoner of {size / 2**30:.2f} GiB together, medians of {given.rounds} rounds;")
    print(f"load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores\n")
    show(found)


def show(found: dict[str, list[tuple[float, ...]]]) -> None:
    """Print a line for each of `found`: row → what `run` gave, round by round."""
    seconds, cores = (
        {row: statistics.median(one[i] for one in runs) for row, runs in found.items()}
        for i in (0, 1)
    )
    print(
        "| | seconds | / copy of what it reads | wanted | mergekit / ours | core seconds ", end=""
    )
    print("| / copy | mergekit / ours | MiB resident | private | rounds |\n|" + "---|" * 11)
    for row, runs in found.items():
        copy = row if row in COPIES else COPIES[2 if row.removeprefix(PEER) in THREE else 1]
        line = [row]
        for of, wanted in ((seconds, [f"≤ {LIMITS[row]}" if row in LIMITS else ""]), (cores, [])):
            peer = f"{of[PEER + row] / of[row]:.1f}" if PEER + row in of else ""
            line += [f"{of[row]:.2f}", f"{of[row] / of[copy]:.2f}", *wanted, peer]
        line += [f"{max(one[i] for one in runs):.0f}" for i in (2, 3)]
        line.append(", ".join(f"{one[0]:.2f}" for one in runs))
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
