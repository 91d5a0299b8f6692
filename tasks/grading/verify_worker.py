"""math-verify as a process: pairs of formulas in, verdicts out, one JSON line each.

Started and, when it takes too long, killed by `equivalence.py`; imports nothing of ours. It
never uses math-verify's reader of Python expressions, which evaluates them.
"""

import json
import logging
import sys
import warnings
from typing import Any


def serve() -> None:
    """Answer until standard input closes."""
    warnings.simplefilter("ignore")
    logging.disable()
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[Any]:
        return parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )

    # Build the parser's tables, and load what sympy loads late.
    read(r"\frac{1}{2} x^2 \in [1, 2)")
    verify(read("x^2-3<0"), read("x^2<3"), timeout_seconds=None)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    except (ImportError, ValueError, OSError):
        pass
    out = sys.stdout
    sys.stdout = sys.stderr
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        try:
            first, second = (read(text) for text in json.loads(line))
            verdict = verify(first, second, timeout_seconds=None) if first and second else None
        except Exception:
            verdict = None
        print(json.dumps(verdict), file=out, flush=True)


if __name__ == "__main__":
    serve()
