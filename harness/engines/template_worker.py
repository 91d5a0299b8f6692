"""Renders a chat template in a process that has little time and memory, and tells what came of it.

    echo '{"template": …, "messages": […], "variables": {…}, "told": […]}' \
        | python -P template_worker.py

The answer is `{"text": …, "reads": […], "unread": […]}` or `{"error": …}`: the prompt, the names
that the template reads and nobody else sets, and those of `told` that it does not read. The
environment is that of transformers 5.19
(utils/chat_template_utils.py, `_cached_compile_jinja_template`). Imports nothing of ours.
"""

import json
import sys
from datetime import datetime
from typing import Any

SECONDS = 3
BYTES = 1 << 30
LONGEST = 1_000_000
"""Characters of a prompt."""
GIVEN = ("messages", "tools", "documents", "add_generation_prompt")
"""What every template is given."""


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    except (ImportError, ValueError, OSError):
        pass
    try:
        wanted = request.pop("told", [])
        reads = names(request["template"]) - {*request["variables"]} | {*wanted}
        unread = sorted({*wanted} - names(request["template"]))
        told = {"text": render(**request), "reads": sorted(reads - {*unread}), "unread": unread}
    except MemoryError:
        told = {"error": f"it takes more than {BYTES >> 30} GiB of memory"}
    except Exception as error:
        told = {"error": str(error)[:LONGEST] or type(error).__name__}
    json.dump(told, sys.stdout)


def names(template: str) -> set[str]:
    """Return the variables that a template reads, but for those that are always set."""
    from jinja2 import meta

    world = environment()
    return meta.find_undeclared_variables(world.parse(template)) - {*GIVEN, *world.globals}


def render(template: str, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
    """Return the prompt that a template makes.

    Raises:
        ValueError: It is longer than any.
        Exception: Whatever the template raises.
    """
    made, size = [], 0
    for piece in (
        environment()
        .from_string(template)
        .generate(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **variables
        )
    ):
        made.append(piece)
        size += len(piece)
        if size > LONGEST:
            raise ValueError(f"it makes a prompt of more than {LONGEST:,} characters")
    return "".join(made)


def environment() -> Any:
    """Return the sandbox that templates are rendered in."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant said; here it changes nothing."""

        tags = {"generation"}

        def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **settings: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **settings)

    world = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    world.filters["tojson"] = tojson
    world.globals["raise_exception"] = refuse
    world.globals["strftime_now"] = datetime.now().strftime
    return world


if __name__ == "__main__":
    main()
