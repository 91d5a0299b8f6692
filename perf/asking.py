"""How many questions a second `driftbench eval` asks, beside vLLM by itself and beside its peers.

    python perf/asking.py
    python perf/asking.py --checkpoint CKPT --tasks mathvision --data FOLDER

Without a checkpoint a random pocket VLM is asked pocket questions, three of four with a picture.
All ways get the same rendered prompts, the same picture files (decoding them is counted) and the
same greedy sampling; the start of an engine is not counted. `vLLM by itself` is one call of
`LLM.generate` with all requests, in the same engine as `driftbench eval`; its caches are emptied
before each. The two take turns, and turns at being first: what a round's figure is worth is told by
the others beside it. The ways that ask one question at a time (VLMEvalKit's loop, and lm-eval's
`hf-multimodal` at batch size 1) get the first questions only; lm-eval's `vllm-vlm` gets all. Both
models of lm-eval take questions with pictures alone. What does not run says why. `hf-multimodal`
calls `gc.collect` after each batch, which goes through all that is loaded: it is run once more with
that frozen beforehand, so that nothing is left to go through.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEER_QUESTIONS = 100


def main() -> None:
    """Print questions a second of each way, and the ratios."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--checkpoint", type=Path, help="instead of a random pocket VLM")
    options.add_argument("--tasks", default="pocket")
    options.add_argument("--data", type=Path, help="folder of the tasks' rows and pictures")
    options.add_argument("--questions", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--family", default="qwen2_5_vl", help="of the random pocket VLM")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if given.checkpoint is None:
            given.checkpoint, given.data = _pocket(folder, given.family, given.questions)
        measure(given, folder)


def measure(given: argparse.Namespace, folder: Path) -> None:
    """Time all ways on one checkpoint."""
    import tasks
    from harness.checkpoints.preflight import open_checkpoint
    from harness.engines.vllm import VllmEngine
    from harness.evaluate.run import EvalConfig, run
    from harness.runs.folder import image_path, read_questions

    checkpoint = open_checkpoint(given.checkpoint)
    wanted = [tasks.load(name) for name in tasks.expand(given.tasks.split(","))]
    engine = VllmEngine(checkpoint)
    engine.start()
    close, engine.close = engine.close, lambda: None  # type: ignore[method-assign]

    places = (folder / f"round-{i}" for i in count())

    def ours() -> None:
        asked = EvalConfig(data=given.data)
        run([checkpoint], wanted, next(places) / "run", asked, engine=lambda _: engine)

    def raw() -> None:
        engine._llm.generate(_requests(prompts, pictures), sampling, use_tqdm=False)

    ours()  # the first questions of an engine take longer
    first = folder / "round-0"
    questions = read_questions(first / "run")
    prompts = [engine.render(question) for question in questions]
    pictures = [
        [image_path(first / "run", image) for image in question.images] for question in questions
    ]
    sampling = _sampling(wanted[0].max_tokens)
    times: dict[str, list[float]] = {"vLLM by itself": [], "driftbench eval": []}
    turn = [("vLLM by itself", raw), ("driftbench eval", ours)]
    for _ in range(given.rounds):
        for name, call in turn:
            _forget(engine._llm)
            times[name].append(_seconds(call))
        turn.reverse()
    medians = {name: statistics.median(found) for name, found in times.items()}
    rates: dict[str, float | str] = {n: len(questions) / m for n, m in medians.items()}
    alone = len(questions) / medians["vLLM by itself"]
    some = range(min(PEER_QUESTIONS, len(questions)))

    def serial() -> None:
        for i in some:
            (request,) = _requests(prompts[i : i + 1], pictures[i : i + 1])
            engine._llm.generate(request, sampling, use_tqdm=False)

    _forget(engine._llm)
    rates["vLLM, one question at a time"] = len(some) / _seconds(serial)
    close()
    rates["transformers, one question at a time"] = _transformers(checkpoint, questions, folder)
    task = wanted[0].name
    for name, frozen in (("", False), (", no garbage to look for", True)):
        rates[f"lm-eval, hf-multimodal{name}"] = _lm_eval(
            given, task, "hf-multimodal", PEER_QUESTIONS, frozen=frozen
        )
    rates["lm-eval, vllm-vlm"] = _lm_eval(given, task, "vllm-vlm", len(questions))
    for name, rate in rates.items():
        if isinstance(rate, str):
            print(f"{name:46} does not run: {rate}")
        else:
            print(f"{name:46} {rate:9.1f} questions/s {rate / alone:8.3f}")
    each = zip(times["vLLM by itself"], times["driftbench eval"], strict=True)
    ratios = [raw / ours for raw, ours in each]
    listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"time of vLLM by itself / time of driftbench eval, round by round: {listed}")
    print(f"their median: {statistics.median(ratios):.3f}")


def _pocket(folder: Path, family: str, questions: int) -> tuple[Path, Path]:
    import torch

    from drift.pocket import models, world

    world.write(folder / "world", seed=0, train=1, validation=1, test=questions // 4)
    torch.manual_seed(0)
    models.save(models.vlm(family, 1000.0), family, folder / "vlm")
    return folder / "vlm", folder / "world"


def _requests(prompts: list[str], pictures: list[list[Path]]) -> list[dict[str, Any]]:
    from common.pictures import decoded

    found: list[dict[str, Any]] = []
    for prompt, paths in zip(prompts, pictures, strict=True):
        found.append({"prompt": prompt})
        if paths:
            shown = [decoded(path) for path in paths]
            found[-1]["multi_modal_data"] = {"image": shown}
    return found


def _sampling(max_tokens: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, max_tokens=max_tokens)


def _forget(llm: Any) -> None:
    llm.reset_mm_cache()
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()
    gc.collect()


def _transformers(checkpoint: Any, questions: list[Any], folder: Path) -> float:
    from harness.engines import Request
    from harness.engines.hf import HfEngine
    from harness.runs.folder import image_path
    from harness.runs.schema import Sampling

    engine = HfEngine(checkpoint)
    engine.start()
    requests = []
    for question in questions[:PEER_QUESTIONS]:
        images = tuple(
            replace(image, data=image_path(folder / "round-0" / "run", image).read_bytes())
            for image in question.images
        )
        whole = replace(question, images=images)
        requests.append(
            Request(
                question=whole,
                prompt=engine.render(whole),
                sampling=Sampling(max_tokens=40),
                key=question.id,
            )
        )
    seconds = _seconds(lambda: [list(engine.generate([request])) for request in requests])
    engine.close()
    return len(requests) / seconds


LM_EVAL = """
import gc, sys, time, warnings
warnings.simplefilter("ignore")
from common import torch_guard
torch_guard.install()
import lm_eval
from lm_eval.tasks import TaskManager
name, device, batch, checkpoint, data, task, limit, include, frozen = sys.argv[1:]
metadata = {"data": data}
manager = TaskManager(include_defaults=False, include_path=include, metadata=metadata)
model = lm_eval.api.registry.get_model(name).create_from_arg_string(
    f"pretrained={checkpoint}",
    {"batch_size": batch if batch == "auto" else int(batch), "device": device})
if frozen == "True":
    gc.freeze()
began = time.perf_counter()
found = lm_eval.simple_evaluate(model=model, tasks=[task], task_manager=manager,
    metadata=metadata, apply_chat_template=True, limit=int(limit), bootstrap_iters=0)
print("seconds", time.perf_counter() - began, "of", found["n-samples"][task]["effective"])
"""


def _lm_eval(
    given: argparse.Namespace, task: str, model: str, limit: int, *, frozen: bool = False
) -> float | str:
    """Questions a second of a model of stock lm-eval, in a process of its own; or why none.

    Args:
        given: The command line.
        task: Of which the first questions are asked.
        model: `hf-multimodal` or `vllm-vlm`.
        limit: Questions.
        frozen: What is loaded is no garbage to look for.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = "auto" if model.startswith("vllm") else 1
    words = [model, device, batch, given.checkpoint, given.data, task, limit, ROOT / "tasks"]
    words.append(frozen)
    done = subprocess.run(
        [sys.executable, "-c", LM_EVAL, *map(str, words)], capture_output=True, text=True, cwd=ROOT
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("seconds ")]
    if done.returncode or not said:
        return (done.stderr.strip().splitlines() or ["nothing is said"])[-1]
    _, seconds, _, count = said[0].split()
    return int(count) / float(seconds)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
