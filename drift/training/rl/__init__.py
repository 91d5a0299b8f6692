"""GRPO: learning from verdicts on answers of one's own."""
