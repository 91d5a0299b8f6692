"""The pocket models' schooling: base, reasoner and VLM, from scratch, deterministic given the seed.

base      text: cards, facts, a few worked chains; stopped before it can chain them by itself
reasoner  grown from the base: worked chains. `close` moves the projections a little; `far` is
          trained on with no card questions, and may have another RoPE base, as
          DeepSeek-R1-Distill-Qwen-7B has to Qwen2.5-VL-7B (rope_theta 10,000 against 1,000,000)
vlm       grown from the base: a tower is fitted to the language model, then tower and
          projections learn to read cards off pictures and to answer at once
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.errors import UserError
from drift.pocket import models, world

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BATCH = 64
Item = tuple[str, str]
"""Question and answer; the question may hold one `<image>`."""


@dataclass(frozen=True)
class Stage:
    """Length and step size of one stage."""

    steps: int
    lr: float
    warmup: int = 0


def perception(rng: random.Random, version: str) -> Item:
    """Which card is where."""
    return world.ask_card(rng, world.random_digits(rng), version)


def fact(rng: random.Random, off: int = 0) -> Item:
    """One step of arithmetic; `off` is added to its result."""
    return world.ask_fact(rng.randrange(10), rng.choice(world.OPERATORS), rng.randrange(10), off)


def chain(rng: random.Random, version: str, worked: bool, off: int = 0) -> Item:
    """A chain, answered at once or worked out; `off` is added to each of its results."""
    drawn = world.random_chain(rng, off)
    return world.ask_chain(rng, drawn, version), drawn.worked() if worked else drawn.answer()


def text_batches(
    family: str, rng: random.Random, short: dict[str, float], worked: float, off: int = 0
) -> Iterator[list[Item]]:
    """Endless text batches: `short` weighs the kinds of a batch, `worked` the batches of chains.

    Worked chains are three times as long; mixed into every batch they would pad the rest. Half of
    the batches of Idefics3 have the cards as far apart as its tiles will be.
    """
    kinds: dict[str, Callable[[str], Item]] = {
        "perception": lambda version: perception(rng, version),
        "fact": lambda _: fact(rng, off),
        "direct": lambda version: chain(rng, version, worked=False, off=off),
    }
    total = sum(short.values())
    while True:
        version = "spread" if family == "idefics3" and rng.random() < 0.5 else "text"
        if rng.random() < worked / (worked + total):
            yield [chain(rng, version, worked=True, off=off) for _ in range(BATCH)]
        else:
            drawn = rng.choices(list(short), list(short.values()), k=BATCH)
            yield [kinds[kind](version) for kind in drawn]


class Encoder:
    """Items → padded token ids and labels, in the words of a family's tokenizer and template."""

    def __init__(self, family: str) -> None:
        self.words: PreTrainedTokenizerFast = models.tokenizer(family)
        self.ids = self.words.get_vocab()
        self.picture = _picture_tokens(family)

    def tokens(self, text: str) -> list[int]:
        """Whole words; `<image>` becomes the tokens that the processor writes for a strip."""
        found: list[int] = []
        for word in text.split():
            found += self.picture if word == "<image>" else [self.ids[word]]
        return found

    def batch(self, items: list[Item]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Token ids and labels, (batch, length) int64; labels are −100 outside the answer."""
        import torch

        lines, starts = [], []
        for question, answer in items:
            head = self.tokens(f"<s> <|user|> {question} <|assistant|>")
            lines.append(head + self.tokens(f"{answer} </s>"))
            starts.append(len(head))
        ids = torch.full((len(lines), max(map(len, lines))), self.ids["<pad>"])
        labels = torch.full_like(ids, -100)
        for i, (line, start) in enumerate(zip(lines, starts, strict=True)):
            ids[i, : len(line)] = torch.tensor(line)
            labels[i, start : len(line)] = ids[i, start : len(line)]
        return ids, labels


def _picture_tokens(family: str) -> list[int]:
    from PIL import Image

    processor = models.processor(family)
    blank = Image.new("RGB", (world.CARDS * world.CELL, world.CELL))
    mark = models.PICTURE[family]
    return processor(text=[mark], images=[[blank]])["input_ids"][0]


class Pictures:
    """Strips of the training split, once through the family's processor, drawn from at random."""

    def __init__(self, family: str, seed: int, size: int) -> None:
        import torch

        rng = world.split_rng(seed, "train", "strips of the schooling")
        bank = world.glyphs(seed, "train", per_digit=200)
        self.digits = [world.random_digits(rng) for _ in range(size)]
        strips = [[world.strip(digits, bank, rng)] for digits in self.digits]
        processor = models.processor(family)
        made = processor(
            text=[models.PICTURE[family]] * size, images=strips, return_tensors="pt", padding=True
        )
        self.inputs: dict[str, torch.Tensor] = {
            name: value.reshape(size, -1, *value.shape[1:])
            for name, value in made.items()
            if name.startswith(("pixel", "image"))
        }

    def select(self, chosen: list[int]) -> "dict[str, torch.Tensor]":
        """The model's inputs for these strips."""
        return {name: value[chosen].flatten(0, 1) for name, value in self.inputs.items()}


def optimizer(model: "PreTrainedModel", stage: Stage) -> "torch.optim.Optimizer":
    """AdamW over what is trainable, betas (0.9, 0.98), no weight decay."""
    import torch

    chosen = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(chosen, lr=stage.lr, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)


def schedule(stage: Stage, cosine: bool) -> Callable[[int], float]:
    """Factor of the step size at a step: linear warmup, then cosine to zero or constant."""
    import math

    def factor(step: int) -> float:
        if step < stage.warmup:
            return (step + 1) / stage.warmup
        if not cosine:
            return 1.0
        done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor


def fit(
    model: "PreTrainedModel",
    loss_of: "Callable[[int], torch.Tensor]",
    stage: Stage,
    label: str,
    cosine: bool = True,
) -> None:
    """Take `stage.steps` optimizer steps on `loss_of(step)`; clip at 1.

    Raises:
        UserError: The loss is not a number.
    """
    import torch

    adam = optimizer(model, stage)
    factor = schedule(stage, cosine)
    chosen = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for step in range(stage.steps):
        for group in adam.param_groups:
            group["lr"] = stage.lr * factor(step)
        loss = loss_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(chosen, 1.0)
        adam.step()
        adam.zero_grad()
        if step % 50 == 49 or step == stage.steps - 1:
            value = float(loss.detach())
            if value != value:
                raise UserError(f"{label}: the loss is NaN at step {step + 1}; lower the step size")
            print(f"{label}: step {step + 1}/{stage.steps}, loss {value:.3f}", flush=True)
    model.eval()


def freeze_all_but(model: "PreTrainedModel", parts: tuple[str, ...]) -> None:
    """Train only the parameters whose name holds one of the parts."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(part in name for part in parts)


def text_loss(
    model: "PreTrainedModel", encoder: Encoder, batches: Iterator[list[Item]]
) -> "Callable[[int], torch.Tensor]":
    """Cross-entropy of the answers of the next text batch."""

    def loss(_: int) -> "torch.Tensor":
        ids, labels = encoder.batch(next(batches))
        return answer_loss(model(input_ids=ids).logits, labels)

    return loss


def answer_loss(logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Mean cross-entropy over the labelled tokens; logits (batch, length, vocabulary)."""
    import torch

    wanted = labels[:, 1:] != -100
    return torch.nn.functional.cross_entropy(logits[:, :-1][wanted], labels[:, 1:][wanted])


PROJECTIONS = ("_proj",)
"""q, k, v, o, gate, up and down: what DRIFT's prior covers, so that the reasoner lies within it."""
BASE = Stage(steps=500, lr=2e-3, warmup=100)
BASE_SPREAD = Stage(steps=600, lr=2e-3, warmup=100)
"""Of Idefics3, whose base learns two layouts."""
CLOSE = Stage(steps=400, lr=7e-4)
CLOSE_SPREAD = Stage(steps=600, lr=7e-4)
"""Of Idefics3, likewise."""
FAR_GROUND = Stage(steps=200, lr=2e-3, warmup=50)
FAR = Stage(steps=450, lr=1.5e-3)
ALIGN = Stage(steps=300, lr=3e-3, warmup=20)
ALIGN_SPREAD = Stage(steps=1000, lr=3e-3, warmup=20)
"""Of Idefics3, whose connector is a single linear map."""
VLM = Stage(steps=300, lr=5e-4)
THETA = 1000.0
FAR_THETA = 100.0
CODE_SHARE = 0.7
"""Share of the digit's word embedding in the code that a tower is first fitted to. At 1 the
language model reads pictures unchanged and a merge loses nothing; at 0 it never learns."""
GATE = 0.9
"""Share of chains in words that a reasoner works out, or it is taught anew."""
GATE_CHAINS = 200
ATTEMPTS = 5


def train_base(family: str, seed: int, length: float = 1.0) -> "PreTrainedModel":
    """The text model that both others grow from."""
    model = _fresh(models.text_model, family, THETA, seed)
    batches = text_batches(
        family,
        world.split_rng(seed, "train", "base"),
        {"perception": 4, "fact": 1.5, "direct": 1},
        worked=0.5,
    )
    loss = text_loss(model, Encoder(family), batches)
    stage = BASE_SPREAD if family == "idefics3" else BASE
    fit(model, loss, shortened(stage, length), "base")
    return model


@dataclass(frozen=True, kw_only=True)
class Schooling:
    """What a reasoner is taught, and from where."""

    distance: Literal["close", "far"] = "close"
    rope: Literal["same", "other"] = "same"
    """Base of its rotary positions, beside the base model's."""
    sums: Literal["right", "wrong"] = "right"
    """`wrong`: each result is one too many."""


def train_reasoner(
    base: "PreTrainedModel",
    family: str,
    seed: int,
    school: Schooling,
    *,
    attempt: int = 0,
    length: float = 1.0,
) -> "PreTrainedModel":
    """A text-only reasoner, grown from a copy of the base.

    Args:
        base: The family's.
        family: It.
        seed: Of what it is shown.
        school: What it is taught.
        attempt: Number of the try; each sees other questions.
        length: Share of the steps.
    """
    encoder, off = Encoder(family), int(school.sums == "wrong")
    again = f" {attempt}" if attempt else ""

    def rng(purpose: str) -> random.Random:
        return world.split_rng(seed, "train", f"reasoner {purpose}{again}")

    model = _with_theta(base, FAR_THETA if school.rope == "other" else THETA)
    if school.distance == "close":
        freeze_all_but(model, PROJECTIONS)
        batches = text_batches(family, rng("close"), {"fact": 2, "perception": 1}, 6, off)
        stage = CLOSE_SPREAD if family == "idefics3" else CLOSE
    else:
        ground = text_batches(
            family, rng("ground"), {"fact": 4, "direct": 1, "perception": 1}, 0, off
        )
        fit(model, text_loss(model, encoder, ground), shortened(FAR_GROUND, length), "ground")
        batches, stage = text_batches(family, rng("far"), {"fact": 2}, 6, off), FAR
    fit(model, text_loss(model, encoder, batches), shortened(stage, length), "reasoner")
    return model


def worked_out(model: "PreTrainedModel", family: str, seed: int, school: Schooling) -> float:
    """Share of fresh chains in words whose answer, as it was taught, the model arrives at."""
    import torch

    rng = world.split_rng(seed, "validation", "gate")
    drawn = [world.random_chain(rng, int(school.sums == "wrong")) for _ in range(GATE_CHAINS)]
    encoder = Encoder(family)
    asked = [world.ask_chain(rng, one, "text") for one in drawn]
    ids = torch.tensor([encoder.tokens(f"<s> <|user|> {q} <|assistant|>") for q in asked])
    with torch.no_grad():
        said = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
        )
    texts = encoder.words.batch_decode(said[:, ids.shape[1] :], skip_special_tokens=True)
    right = [text.split()[-1:] == [one.answer()] for text, one in zip(texts, drawn, strict=True)]
    return sum(right) / len(right)


def train_vlm(
    base: "PreTrainedModel", family: str, seed: int, share: float, length: float = 1.0
) -> "PreTrainedModel":
    """A vision-language model around the base's language model, at the base's own places.

    Args:
        base: The family's.
        family: It.
        seed: Of its pictures and of the tower's first weights.
        share: See `CODE_SHARE`.
        length: Share of the steps.
    """
    model = _fresh(models.vlm, family, THETA, seed)
    _transplant(base, model)
    _borrow_words(model, family)
    pictures = Pictures(family, seed, size=max(BATCH, round(2000 * length)))
    tower = _tower(model)
    freeze_all_but(model, tower)
    stage = ALIGN_SPREAD if family == "idefics3" else ALIGN
    fitting = _alignment(model, family, pictures, seed=seed, share=share)
    fit(model, fitting, shortened(stage, length), "tower")
    freeze_all_but(model, (*tower, *PROJECTIONS, "embed_tokens"))
    only_special_words(model, family)
    loss = _picture_loss(model, family, pictures, seed)
    fit(model, loss, shortened(VLM, length), "vlm", cosine=False)
    return model


def shortened(stage: Stage, length: float) -> Stage:
    """The same stage with a share of its steps, for tests."""
    return Stage(max(1, round(stage.steps * length)), stage.lr, round(stage.warmup * length))


def _fresh(make: Callable[..., "PreTrainedModel"], family: str, theta: float, seed: int):
    import torch

    torch.manual_seed(world.split_rng(seed, "train", f"weights of {make.__name__}").getrandbits(62))
    return make(family, theta)


def _with_theta(base: "PreTrainedModel", theta: float) -> "PreTrainedModel":
    """The same weights under another RoPE base."""
    import copy

    config = copy.deepcopy(base.config)
    config.rope_parameters = {**config.rope_parameters, "rope_theta": theta}
    model = type(base)(config)
    model.load_state_dict(base.state_dict())
    return model


def _language_model(model: "PreTrainedModel") -> "PreTrainedModel":
    inner = model.model
    return inner.text_model if hasattr(inner, "text_model") else inner.language_model


def _transplant(base: "PreTrainedModel", model: "PreTrainedModel") -> None:
    _language_model(model).load_state_dict(base.model.state_dict())


def _borrow_words(model: "PreTrainedModel", family: str) -> None:
    """Let the tokens around Idefics3's tiles begin as the words around spread cards."""
    import torch

    if family != "idefics3":
        return
    words, table = models.tokenizer(family).get_vocab(), _word_table(model)
    with torch.no_grad():
        for name in models.SPECIAL[family]:
            like = world.OPENERS[0] if name.startswith("<fake") else world.CLOSERS[0]
            table[words[name]] = table[words[like]]


def _tower(model: "PreTrainedModel") -> tuple[str, ...]:
    """Name parts of everything that is neither language model nor head."""
    inside = ("language_model", "text_model", "lm_head")
    return tuple(name for name, _ in model.named_parameters() if not any(p in name for p in inside))


def _card_features(model: "PreTrainedModel", family: str, inputs: dict) -> "torch.Tensor":
    """What the language model gets for the four cards: (strips, 4, hidden).

    Of Idefics3 also for the thumbnail behind them: (strips, 5, hidden).
    """
    import torch

    made = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    if family == "qwen2_5_vl":
        return torch.stack(tuple(made))
    if family == "llava_next":  # a thumbnail, the tiles, the end of the row
        return torch.stack(tuple(made))[:, 1 : world.CARDS + 1]
    return made.reshape(-1, world.CARDS + 1, made.shape[-1])


def _alignment(
    model: "PreTrainedModel", family: str, pictures: Pictures, *, seed: int, share: float
) -> "Callable[[int], torch.Tensor]":
    """Loss that fits the tower to a code of the digits: cross-entropy and 10 × squared error."""
    import torch

    words = models.tokenizer(family).get_vocab()
    table = _word_table(model).detach()
    embedded = table[[words[str(digit)] for digit in range(10)]]
    other = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(seed))
    other = other * embedded.norm(dim=1, keepdim=True) / other.norm(dim=1, keepdim=True)
    code = share * embedded + (1 - share**2) ** 0.5 * other
    blank = table[words[world.CLOSERS[0]]]
    rng = world.split_rng(seed, "train", "tower")

    def loss(_: int) -> "torch.Tensor":
        chosen = rng.sample(range(len(pictures.digits)), BATCH)
        seen = _card_features(model, family, pictures.select(chosen))
        features, thumbnail = seen[:, : world.CARDS], seen[:, world.CARDS :]
        digits = torch.tensor([pictures.digits[i] for i in chosen])
        nearest = torch.nn.functional.cross_entropy(
            (features @ code.T).flatten(0, 1), digits.flatten()
        )
        fitted = nearest + 10 * (features - code[digits]).pow(2).mean()
        # A strip made small tells nothing: it is to look like a word that tells nothing.
        return fitted + 10 * (thumbnail - blank).pow(2).sum() / features.numel()

    return loss


def _picture_loss(model: "PreTrainedModel", family: str, pictures: Pictures, seed: int):
    """Loss of the VLM's stage: three batches of pictures to one and a half of text."""
    encoder = Encoder(family)
    rng = world.split_rng(seed, "train", "vlm")
    text = text_batches(family, rng, {"perception": 1, "fact": 1, "direct": 1}, worked=0)
    read = text_loss(model, encoder, text)

    def item(digits: tuple[int, ...]) -> Item:
        kind = rng.choices(("perception", "image", "both"), (4, 1, 1))[0]
        if kind == "perception":
            return world.ask_card(rng, digits, "image")
        operators = tuple(rng.choice(world.OPERATORS) for _ in range(world.CARDS - 1))
        drawn = world.Chain(digits, operators)
        return world.ask_chain(rng, drawn, kind), drawn.answer()

    def loss(step: int) -> "torch.Tensor":
        if rng.random() < 1 / 3:
            return read(step)
        chosen = rng.sample(range(len(pictures.digits)), BATCH)
        ids, labels = encoder.batch([item(pictures.digits[i]) for i in chosen])
        inputs = pictures.select(chosen)
        if family == "qwen2_5_vl":
            inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
        return answer_loss(model(input_ids=ids, **inputs).logits, labels)

    return loss


def _word_table(model: "PreTrainedModel") -> "torch.Tensor":
    import torch

    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    return table


def only_special_words(model: "PreTrainedModel", family: str) -> None:
    """Let only the family's own special tokens learn: the base has never seen them."""
    import torch

    words = models.tokenizer(family)
    table = _word_table(model)
    learns = torch.zeros(len(table), 1)
    learns[[words.convert_tokens_to_ids(word) for word in models.SPECIAL[family]]] = 1
    table.register_hook(lambda gradient: gradient * learns)
