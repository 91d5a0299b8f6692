"""Options of lm-eval, lmms-eval, VLMEvalKit and EvalScope, for who types them to `driftbench eval`.

Their names as in lm-eval 0.4.13 (lm_eval/_cli/run.py), lmms-eval 0.7.3 (lmms_eval/cli), VLMEvalKit
(run.py) and EvalScope 1.14.1 (evalscope/arguments.py).
"""

_MODEL = "the checkpoint has no option before it, as in `driftbench eval CKPT`"
_SAMPLING = "say it by --temperature, --top-p, --top-k, --max-tokens, --seed, --n"
_BATCH = "the engine fills its batches itself; --gpu-memory and --context say how much room it has"
_RESUME = "the same command into the same --out asks nothing twice"
_KEPT = "every answer is kept in the run folder, and `driftbench show RUN` prints it"
_CODE = "no code of a checkpoint runs, unless --trust-code names its digest"
_FILE = "give the file in the checkpoint's place, as in `driftbench eval RUN.yaml`"
_JUDGE = "a judge is asked afterwards, by `driftbench score RUN --judge URL --judge-model NAME`"
_PROMPT = "what is asked is the benchmark's, --protocol says whose prompts"
_WITHOUT = "answers are on disk before they are scored, `driftbench score RUN` scores them again"

HINTS = {
    "--model": f"{_MODEL}; --engine vllm, hf or server says what runs it",
    "--model-id": _MODEL,
    "--model-args": f"{_MODEL}; what vLLM gets is --tensor-parallel, --data-parallel, --context, "
    "--gpu-memory, and pictures have --min-pixels and --max-pixels",
    "--datasets": "benchmarks are named by --tasks",
    "--dataset-dir": "the folder of the benchmarks' rows is --data",
    "--gen-kwargs": _SAMPLING,
    "--generation-config": _SAMPLING,
    "--repeats": "answers per question are --n",
    "--num-samples": "answers per question are --n",
    "--batch-size": _BATCH,
    "--max-batch-size": _BATCH,
    "--eval-batch-size": _BATCH,
    "--device": "CUDA_VISIBLE_DEVICES says which GPUs, --tensor-parallel and --data-parallel how "
    "many",
    "--use-vllm": "choose --engine vllm",
    "--eval-type": "choose --engine vllm, hf or server",
    "--base-url": "servers are named by --endpoint",
    "--api-url": "servers are named by --endpoint",
    "--api-key": "name the environment variable that holds the key, --key-env NAME",
    "--api-nproc": "how many questions an endpoint bears at a time is found out",
    "--output-path": "the run folder is --out",
    "--work-dir": "the run folder is --out",
    "--use-cache": _RESUME,
    "--reuse": _RESUME,
    "--retry": "the same command asks again what the engine failed on, --retry-errors also what "
    "cannot but fail",
    "--log-samples": _KEPT,
    "--write-out": _KEPT,
    "--wandb-args": "--report-to wandb sends the scores there",
    "--wandb-config-args": "--report-to wandb sends the scores there",
    "--trackio-args": "--report-to trackio sends the scores there",
    "--show-config": "--dry-run tells what would be asked",
    "--num-fewshot": f"no examples are shown; {_PROMPT}",
    "--system-instruction": f"there is none; {_PROMPT}, and --chat-template can carry one",
    "--apply-chat-template": "it always is; --chat-template gives another than the checkpoint's",
    "--trust-remote-code": _CODE,
    "--include-path": "docs/adding_a_benchmark.md says where a benchmark of your own lies",
    "--predict-only": _WITHOUT,
    "--mode": _WITHOUT,
    "--judge": _JUDGE,
    "--judge-args": _JUDGE,
    "--config": _FILE,
    "--eval-config": _FILE,
    "--baseline": "runs are compared afterwards, by `driftbench compare BASE NEW`",
}
"""Option, with `-` for `_` → what to type here."""
