"""What Python makes of a text of numbers, without `eval`: nothing else is computed, no name called.

Bounded by shape: `LENGTH` characters, integers of `BITS` bits.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

LENGTH = 20_000
BITS = 100_000

Number = int | float


def worth(text: str, names: Mapping[str, Any] | None = None) -> Number:
    """Return what an expression of numbers is worth.

    Args:
        text: Python.
        names: Functions and constants that it may use.

    Raises:
        ValueError: It is none, too large, complex, or has no value.

    >>> worth("2**3 / 4"), worth("sqrt(9)", MATH), worth("1 < 2")
    (2.0, 3.0, 1)
    """
    if len(text) > LENGTH:
        raise ValueError("too long")
    try:
        found = _computed(ast.parse(text.strip(), mode="eval").body, names or {})
        if type(found) not in (int, float, bool):
            raise ValueError("not a number")
    except (
        SyntaxError,
        ArithmeticError,
        TypeError,
        KeyError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ValueError(str(error)) from error
    return int(found) if isinstance(found, bool) else found


def power(base: Number, to: Number) -> Any:
    """Raise a number to another; ValueError where the integer is too large."""
    if isinstance(base, int) and isinstance(to, int) and base.bit_length() * abs(to) > BITS:
        raise ValueError("too large")
    return base**to


def factorial(number: Number) -> int:
    """Return the factorial of an integer; ValueError where that is too large."""
    if number > 2000:
        raise ValueError("too large")
    return math.factorial(number)  # type: ignore[arg-type]


MATH: dict[str, Any] = {
    name: getattr(math, name)
    for name in (
        "sqrt exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor pi".split()
    )
} | {"factorial": factorial}
"""Names of Python's `math`."""

_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitXor: operator.xor,
    ast.Pow: power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
}


def _computed(node: ast.AST, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return names[node.func.id](*(_computed(part, names) for part in node.args))
    if isinstance(node, ast.UnaryOp):
        return _OPERATIONS[type(node.op)](_computed(node.operand, names))
    if isinstance(node, ast.BinOp):
        left, right = _computed(node.left, names), _computed(node.right, names)
        found = _OPERATIONS[type(node.op)](left, right)
        if isinstance(found, int) and found.bit_length() > BITS:
            raise ValueError("too large")
        return found
    if isinstance(node, ast.Compare):
        parts = [_computed(part, names) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, parts, parts[1:], strict=False)
        return all(_OPERATIONS[type(op)](a, b) for op, a, b in pairs)
    raise ValueError("not arithmetic")
