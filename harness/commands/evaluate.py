"""`driftbench eval`: ask checkpoints the questions of tasks."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from common.errors import UserError
from harness.commands import run_file, serve_check
from harness.commands.options import Chosen, RunOptions, chosen, with_run_options

if TYPE_CHECKING:
    from harness.checkpoints.kinds import Checkpoint

ANSWER_SECONDS = 1800.0
"""That an endpoint may take, unless the user says otherwise."""


@with_run_options
def evaluate(
    checkpoints: Annotated[
        list[str],
        Argument(
            metavar="CKPT...",
            help="Folders or hub ids of models or adapters, or names that are served; or a file "
            "RUN.yaml with options, as each run folder has one.",
            callback=run_file.expand,
            is_eager=True,
        ),
    ],
    options: RunOptions,
    endpoint: Annotated[
        list[str] | None,
        Option(metavar="URL[,URL]", help="OpenAI-compatible servers to ask, for --engine server."),
    ] = None,
    key_env: Annotated[
        str | None, Option(metavar="NAME", help="Environment variable with the endpoints' key.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        Option(
            metavar="CKPT", help="The weights that the endpoints serve, where they are at hand."
        ),
    ] = None,
    timeout: Annotated[
        float,
        Option(min=1.0, metavar="SECONDS", help="How long an endpoint may take for one answer."),
    ] = ANSWER_SECONDS,
    base: Annotated[
        str | None,
        Option(metavar="CKPT", help="Model under an adapter, instead of the one that it names."),
    ] = None,
    trust_code: Annotated[
        str | None,
        Option(metavar="DIGEST", help="Run the checkpoint's own code, which is just this."),
    ] = None,
) -> None:
    """Ask checkpoints the questions of tasks; grade the answers.

    The same command again goes on where the last one stopped, and asks nothing twice but what the
    engine failed on.
    """
    given = {**locals(), **vars(options)}  # every option, by its name
    del given["options"]
    if endpoint and options.engine == "auto":
        options = replace(options, engine="server")
    what = chosen(options)
    if options.engine == "server":
        if options.force_answer:
            raise UserError("--force-answer goes on from inside an answer, which no endpoint does")
        if base or options.chat_template or trust_code:
            raise UserError(
                "--base, --chat-template and --trust-code are for weights, not for endpoints"
            )
        opened, maker = serve_check.at_endpoints(
            checkpoints, endpoint or [], key_env, checkpoint, timeout
        )
        what = replace(what, engine=maker)
    elif endpoint or key_env or checkpoint or timeout != ANSWER_SECONDS:
        raise UserError("--endpoint, --key-env, --checkpoint and --timeout are for --engine server")
    else:
        from harness.checkpoints.preflight import open_checkpoint

        opened = [
            open_checkpoint(where, base, options.chat_template, trust_code) for where in checkpoints
        ]
    repeats = run_file.texts(given, opened, options.out)
    what = replace(what, config=replace(what.config, repeats=repeats))
    carry_out(opened, options.out, options, what)


def carry_out(
    checkpoints: "Sequence[Checkpoint]",
    out: Path,
    options: RunOptions,
    what: Chosen,
    dropped: Sequence[str] = (),
) -> None:
    """Tell what would be asked, or ask it, in as many processes as are wanted, and print cells.

    Args:
        checkpoints: To be asked.
        out: The run folder of one, the folder of those of several.
        options: As they were typed.
        what: What they choose.
        dropped: Options of the command that its replicas are not given.
    """
    from harness.commands.cells import print_cells
    from harness.commands.dry_run import print_plans
    from harness.evaluate import data_parallel, scores_told
    from harness.evaluate.run import plans, run

    if options.dry_run:
        print_plans(plans(checkpoints, what.tasks, out, what.config, engine=what.engine))
        return
    if options.data_parallel > 1:
        words = data_parallel.without(sys.argv[1:], (*dropped, "--report-to"))
        data_parallel.run(words, options.data_parallel, options.tensor_parallel)
    else:
        run(checkpoints, what.tasks, out, what.config, engine=what.engine, shard=what.shard)
    folders = [out] if len(checkpoints) == 1 else [out / one.name for one in checkpoints]
    print_cells(folders)
    for folder in folders:
        scores_told.tell(what.report_to, folder)
