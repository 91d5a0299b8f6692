"""The pocket world: four digit cards, asked about in text, in an image, or in both.

A question shows four cards and asks either for one of them (perception) or for a chain of three
operations over all four, modulo 10, left to right (reasoning). The same chain can be asked with the
cards as words (`reasoning-text`), as a picture (`reasoning-image`), or as both (`reasoning-both`):
the idea of MathVerse's versions (arXiv 2403.14624). An answer is one digit, with or without the
steps in `<think>` before it. The picture is a strip of four 28 × 28 pixel cells.

Splits differ in the seed of everything: digits, programs, and the renders of the glyphs.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import written_aside

if TYPE_CHECKING:
    from PIL.Image import Image

Asked = tuple[dict[str, Any], tuple[int, ...] | None]
"""A row, and the digits on its picture, if it has one."""

CARDS = 4
CELL = 28
"""Pixels: one visual token of every family's tower (patch 14 merged 2 × 2, or patch 28)."""
OPERATORS = ("+", "-", "*")
# One word before the cards and one after, as their visual tokens have in Qwen2.5-VL and LLaVA-NeXT.
# Any will do, so that cards are found by their place and not by the word beside them.
OPENERS = ("cards", "hand", "row", "deck", "line", "table")
CLOSERS = (";", ".", ",", "!", ":", "so")
ORDINALS = ("first", "second", "third", "fourth")
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSansMono",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Bold",
)
SPLITS = ("train", "validation", "test")
MORE = (4, 16)
"""Times the rows of the fine-tuning set, in files of their own that begin with its rows."""
GROUPS = ("perception", "reasoning-image", "reasoning-both", "reasoning-text")
WORDS = (
    *"0123456789",
    *OPERATORS,
    *ORDINALS,
    "<think>",
    "</think>",
    *OPENERS,
    *CLOSERS,
    "which",
    "is",
    "compute",
    "=",
    "?",
)


@dataclass(frozen=True)
class Chain:
    """Four digits and the three operators between them."""

    digits: tuple[int, ...]
    operators: tuple[str, ...]
    off: int = 0
    """Added to every result: a chain taught wrong."""

    def steps(self) -> list[tuple[int, str, int, int]]:
        """`(left, operator, right, result)` of each step, modulo 10, left to right."""
        done, left = [], self.digits[0]
        for operator, right in zip(self.operators, self.digits[1:], strict=True):
            result = apply(left, operator, right, self.off)
            done.append((left, operator, right, result))
            left = result
        return done

    def answer(self) -> str:
        """The last result."""
        return str(self.steps()[-1][-1])

    def worked(self) -> str:
        """The answer with its steps: `<think> 3 + 4 = 7 ; 7 * 2 = 4 ; 4 - 1 = 3 </think> 3`."""
        thoughts = " ; ".join(f"{a} {op} {b} = {c}" for a, op, b, c in self.steps())
        return f"<think> {thoughts} </think> {self.answer()}"


def apply(left: int, operator: str, right: int, off: int = 0) -> int:
    """One operation modulo 10, and `off` more."""
    value = {"+": left + right, "-": left - right, "*": left * right}[operator]
    return (value + off) % 10


def cards(rng: random.Random, digits: tuple[int, ...], version: str) -> str:
    """How the cards are shown: `text`, `image`, `both`, or `spread` out in text.

    `spread` has a word wherever Idefics3 has a token around its tiles and thumbnail.
    """
    if version == "spread":
        shown = [f"{rng.choice(OPENERS)} {rng.choice(CLOSERS)} {digit}" for digit in digits]
        return " ".join([*shown, *(rng.choice(OPENERS + CLOSERS) for _ in range(4))])
    words = f"{rng.choice(OPENERS)} {' '.join(map(str, digits))} {rng.choice(CLOSERS)}"
    return {"text": words, "image": "<image>", "both": f"<image> {words}"}[version]


def ask_card(rng: random.Random, digits: tuple[int, ...], version: str) -> tuple[str, str]:
    """A perception question and its answer."""
    place = rng.randrange(CARDS)
    return f"{cards(rng, digits, version)} which is {ORDINALS[place]} ?", str(digits[place])


def ask_chain(rng: random.Random, chain: Chain, version: str) -> str:
    """A reasoning question."""
    return f"{cards(rng, chain.digits, version)} compute {' '.join(chain.operators)} ?"


def ask_fact(left: int, operator: str, right: int, off: int = 0) -> tuple[str, str]:
    """One step of arithmetic in bare text."""
    return f"{left} {operator} {right} =", str(apply(left, operator, right, off))


def random_digits(rng: random.Random) -> tuple[int, ...]:
    """Four cards."""
    return tuple(rng.randrange(10) for _ in range(CARDS))


def random_chain(rng: random.Random, off: int = 0) -> Chain:
    """Four cards and three operators."""
    return Chain(random_digits(rng), tuple(rng.choice(OPERATORS) for _ in range(CARDS - 1)), off)


def split_rng(seed: int, split: str, purpose: str) -> random.Random:
    """A generator of its own for every split and purpose of a seed."""
    return random.Random(f"{seed}/{split}/{purpose}")


def glyphs(seed: int, split: str, per_digit: int) -> list[list["Image"]]:
    """Cells for the ten digits, `per_digit` renders each: grey 28 × 28 RGB images.

    Fonts, size, place, tilt, ink, paper and noise vary; no render is shared between splits.
    """
    import matplotlib
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = split_rng(seed, split, "glyphs")
    noise = np.random.default_rng(rng.getrandbits(64))
    fonts = {
        (name, size): ImageFont.truetype(folder / f"{name}.ttf", size)
        for name in FONTS
        for size in range(17, 25)
    }

    def render(digit: int) -> "Image.Image":
        ink, paper = rng.randrange(0, 90), rng.randrange(180, 256)
        cell = Image.new("L", (CELL, CELL), paper)
        font = fonts[rng.choice(FONTS), rng.randrange(17, 25)]
        place = (CELL / 2 + rng.uniform(-2.5, 2.5), CELL / 2 + rng.uniform(-2.5, 2.5))
        ImageDraw.Draw(cell).text(place, str(digit), fill=ink, font=font, anchor="mm")
        cell = cell.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=paper)
        grey = np.asarray(cell, dtype=np.float32) + noise.normal(0, 6, (CELL, CELL))
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")

    return [[render(digit) for _ in range(per_digit)] for digit in range(10)]


def strip(digits: tuple[int, ...], bank: list[list["Image"]], rng: random.Random) -> "Image":
    """The four cards side by side: a 112 × 28 pixel RGB image."""
    from PIL import Image

    picture = Image.new("RGB", (CARDS * CELL, CELL))
    for place, digit in enumerate(digits):
        picture.paste(rng.choice(bank[digit]), (place * CELL, 0))
    return picture


def rows(split: str, seed: int, per_group: int) -> Iterator[Asked]:
    """Evaluation questions of a split, with the cards to draw (None without a picture).

    The reasoning groups ask the same chains in their three versions, so they can be compared
    question by question.
    """
    rng = split_rng(seed, split, "rows")
    for number in range(per_group):
        digits = random_digits(rng)
        question, answer = ask_card(rng, digits, "image")
        yield _row(split, "perception", number, question, answer), digits
    for number in range(per_group):
        chain = random_chain(rng)
        for version in ("image", "both", "text"):
            row = _row(
                split,
                f"reasoning-{version}",
                number,
                ask_chain(rng, chain, version),
                chain.answer(),
            )
            yield row, None if version == "text" else chain.digits


def _row(split: str, group: str, number: int, question: str, answer: str) -> dict[str, Any]:
    return {
        "id": f"{split}-{group}-{number:04d}",
        "question": question,
        "answer": answer,
        "group": group,
    }


def _guess_floors(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Group → score of always giving the answer that is the most frequent in it."""
    answers: dict[str, Counter[str]] = {}
    for row in rows:
        answers.setdefault(row["group"], Counter())[row["answer"]] += 1
    return {group: max(found.values()) / found.total() for group, found in answers.items()}


def training_rows(seed: int, size: int) -> Iterator[Asked]:
    """The small set for fine-tuning: worked chains over pictures, every third with words beside."""
    rng = split_rng(seed, "train", "rows")
    for number in range(size):
        chain = random_chain(rng)
        version = "both" if number % 3 == 2 else "image"
        question = ask_chain(rng, chain, version)
        row = _row("train", f"reasoning-{version}", number, question, chain.worked())
        yield row, chain.digits


def text_rows(seed: int, size: int) -> Iterator[Asked]:
    """Chains in words alone, for a reasoner to answer: what it gets right can be learnt from."""
    rng = split_rng(seed, "text", "rows")
    for number in range(size):
        chain = random_chain(rng)
        question = ask_chain(rng, chain, "text")
        yield _row("text", "reasoning-text", number, question, chain.answer()), None


def write(folder: Path, seed: int, train: int, validation: int, test: int) -> None:
    """Write the splits and `images/` into a new folder, aside and renamed.

    `train.jsonl` and larger sets that begin with it (`train-x4.jsonl`, …), `text.jsonl`,
    `validation.jsonl`, `test.jsonl`.

    Args:
        folder: Where the world goes; one that is there is replaced.
        seed: Of everything.
        train: Rows of the fine-tuning set.
        validation: Questions a group.
        test: Questions a group.

    Raises:
        UserError: A size is not positive, or something other than a world is at `folder`.
    """
    for name, size in (("train", train), ("validation", validation), ("test", test)):
        if size < 1:
            raise UserError(f"the {name} split has {size} rows, expected at least 1")
    with written_aside(folder, overwrite=(folder / "test.jsonl").is_file() or None) as aside:
        (aside / "images").mkdir()
        _write_split(aside, "train", seed, training_rows(seed, max(MORE) * train))
        lines = (aside / "train.jsonl").read_text().splitlines(keepends=True)
        for times in (*MORE, 1):
            name = f"train-x{times}.jsonl" if times > 1 else "train.jsonl"
            (aside / name).write_text("".join(lines[: times * train]))
        _write_split(aside, "text", seed, text_rows(seed, min(MORE) * train))
        _write_split(aside, "validation", seed, rows("validation", seed, validation))
        _write_split(aside, "test", seed, rows("test", seed, test))


def _write_split(folder: Path, split: str, seed: int, items: Iterable[Asked]) -> None:
    bank = glyphs(seed, split, per_digit=50)
    rng = split_rng(seed, split, "strips")
    drawn: dict[tuple[str, tuple[int, ...]], str] = {}
    drawn_rows = list(items)
    floors = _guess_floors([row for row, _ in drawn_rows])
    for row, digits in drawn_rows:
        row["floor"] = floors[row["group"]]
        row["images"] = []
        if digits is not None:
            # The versions of one chain show the same picture.
            problem = (row["id"].rsplit("-", 1)[1] + row["group"][:6], digits)
            if problem not in drawn:
                drawn[problem] = f"images/{row['id']}.png"
                strip(digits, bank, rng).save(folder / drawn[problem])
            row["images"] = [drawn[problem]]
    lines = "".join(json.dumps(row) + "\n" for row, _ in drawn_rows)
    (folder / f"{split}.jsonl").write_text(lines)
