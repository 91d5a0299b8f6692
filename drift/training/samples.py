"""Training rows that fit the context, prepared on demand, and the batches made of them."""

from typing import Any

from common.errors import UserError
from common.progress import counted
from drift.training.encode import IGNORED, KINDS, Sample, encode, join
from drift.training.rows import Row

CACHE_BYTES = 2 << 30
"""Prepared samples are kept in memory up to this much; the rest is prepared anew each epoch."""


def prompt_length(sample: Sample) -> int:
    """How many tokens of a sample stand before its last answer."""
    return int((sample["labels"] == IGNORED).nonzero()[-1]) + 1


def prompt(sample: Sample) -> Sample:
    """A sample without its last answer, as `encode` makes them; pictures are before it."""
    count = prompt_length(sample)
    parts = {key: value for key, value in sample.items() if key != "labels"}
    rows = ("input_ids", *KINDS)
    return {key: value[:count] if key in rows else value for key, value in parts.items()}


def collate(samples: list[Sample], pad: int, per_row: bool = False) -> Sample:
    """Samples → one batch, padded on the right.

    Args:
        samples: As `encode` gives them; each may have its number as `row`.
        pad: Token id of the padding.
        per_row: `Family.pixels_per_row`: rows without pictures then get blank ones, which these
            models leave out, when another row of the batch has some.

    Returns:
        Token-level tensors of shape (rows, tokens), pixel tensors of all rows one after the other,
        and the numbers as `rows`, if given.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    fill = {"input_ids": pad, "labels": IGNORED} | dict.fromkeys(KINDS, 0)
    batch: Sample = {}
    for key in sorted({key for sample in samples for key in sample}):
        if key == "row":
            batch["rows"] = torch.stack([sample[key] for sample in samples])
        elif key in fill:
            values = [
                sample.get(key, sample["input_ids"].new_zeros(len(sample["input_ids"])))
                for sample in samples
            ]
            batch[key] = pad_sequence(values, batch_first=True, padding_value=fill[key])
        else:
            values = [sample[key] for sample in samples if key in sample]
            if per_row:
                blank = values[0].new_zeros([1] * values[0].ndim)
                values = [sample.get(key, blank) for sample in samples]
            batch[key] = join(values)
    lengths = [len(sample["input_ids"]) for sample in samples]
    ones = [batch["input_ids"].new_ones(length) for length in lengths]
    batch["attention_mask"] = pad_sequence(ones, batch_first=True, padding_value=0)
    return batch


class Samples:
    """The rows of a data file that fit the context, prepared on demand, for a data loader."""

    def __init__(
        self,
        rows: list[Row],
        processor: Any,
        ends: frozenset[int],
        max_tokens: int,
        per_row: bool = False,
        *,
        max_pixels: int | None = None,
        day: str = "",
        bad: list[str] | None = None,
        sampled: int | None = None,
    ) -> None:
        """Prepare every row once, to know its length; keep what the cache holds.

        Args:
            rows: As `read_rows` gives them.
            processor: The checkpoint's own.
            ends: See `encode`.
            max_tokens: Longest sample that may be learnt from.
            per_row: See `encode`.
            max_pixels: See `open_image`.
            day: See `stretches`.
            bad: As of `read_rows`.
            sampled: Tokens of an answer that is sampled in place of the row's last one, where one
                is; what must fit is then the question and so many.

        Raises:
            UserError: no row fits, or, without `bad`, one cannot be used.
        """
        self._encode = lambda row: encode(
            row, processor, ends, per_row, max_pixels=max_pixels, day=day
        )
        self.per_row = per_row
        self._cache: dict[int, Sample] = {}
        self.rows: list[Row] = []
        self.longest = 0
        self.dropped: list[str] = []
        room = CACHE_BYTES
        for row in counted("preparing samples", rows, len(rows)):
            try:
                sample = self._encode(row)
            except UserError as error:
                if bad is None:
                    raise
                bad.append(str(error))
                continue
            length = (
                len(sample["input_ids"]) if sampled is None else prompt_length(sample) + sampled
            )
            if length > max_tokens:
                self.dropped.append(f"{row.where} ({length} tokens)")
                continue
            self.longest = max(self.longest, length)
            room -= sum(tensor.nbytes for tensor in sample.values())
            if room >= 0:
                self._cache[len(self.rows)] = sample
            self.rows.append(row)
        if not self.rows and self.dropped:
            raise UserError(
                f"none of {len(rows)} rows fits into {max_tokens} tokens (the first: "
                f"{self.dropped[0]}); raise max_tokens or lower image_max_pixels"
            )
        if not self.rows:
            raise UserError(f"none of {len(rows)} rows can be used{f' ({bad[0]})' if bad else ''}")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The sample, and its number in `rows` as `row`."""
        import torch

        found = self._cache.get(index)
        made = self._encode(self.rows[index]) if found is None else found
        return made | {"row": torch.tensor(index)}
