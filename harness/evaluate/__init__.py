"""From questions to verdicts: prompts, generating, grading."""
