"""New words in a VLM's vocabulary (`<think>`, `</think>`), with embeddings to start from.

The embeddings of a new word, and its row of the head, are the mean of those of the pieces it was
read as before, so that the model meets what it knows. Most checkpoints have more rows than
their tokenizer has words; such a row is used, and nothing is resized, if there is one.
"""

import json
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import read_json


def to_tokenizer(processor: Any, words: tuple[str, ...]) -> dict[str, list[int]]:
    """Add `words` to the tokenizer, in place.

    They are no special tokens: an engine that leaves special tokens out of an answer shows them.

    Returns:
        Word → what it was read as before; words that the tokenizer had already are left out.

    Raises:
        UserError: a word is empty or is there twice.
    """
    from tokenizers import AddedToken

    if len(set(words)) < len(words) or not all(word.strip() for word in words):
        raise UserError(f"add_tokens takes words, each once, not {list(words)}")
    tokenizer = processor.tokenizer
    known = tokenizer.get_vocab()
    new = [word for word in words if word not in known]
    pieces = {
        word: [
            piece
            for piece in tokenizer(word, add_special_tokens=False)["input_ids"]
            if piece != tokenizer.unk_token_id
        ]
        for word in new
    }
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in new])
    return pieces


def to_model(model: Any, processor: Any, pieces: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """Add words that `to_tokenizer` added to the embedding and the head, in place.

    Returns:
        Word → `id`, `pieces` (by whose mean it starts) and `rows` (of the embedding, afterwards).
    """
    import torch

    tokenizer = processor.tokenizer
    rows = len(model.get_input_embeddings().weight)
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None:
        # A head that is tied is the embedding, and a bias is a table of one column.
        tables += [
            one for one in (head.weight, head.bias) if one is not None and one is not tables[0]
        ]
    added = {}
    with torch.no_grad():
        for word, parts in pieces.items():
            number = tokenizer.convert_tokens_to_ids(word)
            # Nothing known in it: the mean of all words.
            like = parts or [id for word, id in tokenizer.get_vocab().items() if word not in pieces]
            for table in tables:
                table[number] = table[torch.tensor(like, device=table.device)].mean(0)
            added[word] = {"id": number, "pieces": parts, "rows": len(tables[0])}
    return added


def save(folder: Path, processor: Any, rows: int) -> None:
    """Put the tokenizer, and the number of `rows` of the embedding, into a checkpoint's papers."""
    processor.tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = read_json(path)
    for part in (config, config.get("text_config", {})):
        if "vocab_size" in part:
            part["vocab_size"] = rows
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
