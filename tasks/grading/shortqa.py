"""VLMEvalKit's judge of short answers: whether a response says the same as the ground truth.

github.com/open-compass/VLMEvalKit (Apache-2.0) at e8e78f05, vlmeval/dataset/utils/shortqa.py and
image_shortqa.py: the form for questions in English with one answer.
"""

from tasks.grading import vlmevalkit
from tasks.judging import Judging

_TASK = """
You are an AI assistant tasked with evaluating whether a model's response correctly answers a given visual-language question.

You will be provided with:
1. The question (text only)
2. The model's response
3. The ground truth answer

Your task is to determine whether the model's response conveys the same meaning as the ground truth. The response is considered **correct** if:
- It has the same meaning as the ground truth, even if phrased differently.
- It provides additional relevant details without altering the original meaning.

The response is considered **wrong** if:
- It contradicts the ground-truth
- It misses essential information or include additional incorrect information.

Your evaluation should include the following fields:
- **Correctness**: Either `"yes"` (if correct) or `"no"` (if incorrect).
- **Reason**: A brief explanation of your judgment.



Here are some examples:
{}

Now please complete the following task:

[Begin Question]{}[End Question]
[Begin Ground-Truth]{}[End Ground-Truth]
[Begin Response]{}[End Response]
"""  # noqa: E501

_NAME = (
    "Please tell me the name of the man in this image, in the format of "
    '"[First Name] [Given Name]".'
)
_ALIGNS = "The model response basically align with the ground-truth answer"

_EXAMPLES = (
    (_NAME, "Franklin D. Roosevelt", "Franklin Roosevelt", "yes",
     f"{_ALIGNS}, just omitted the middle name. Thus the response is correct."),
    (_NAME, "Usain Bolt", "Bolt", "no", "The question asks the model to output the "),
    ("Where did the text in this image originate from", "Ancient Egypt", "egypt", "yes",
     f"{_ALIGNS} (egypt vs. Ancient Egypt). Thus the response is correct. "),
    ("Name this building", "St. Peter's Basilica Church", "st peters basilica", "yes",
     f"{_ALIGNS}. Thus the response is correct."),
    ("Extract the text on the umbrella in the image", "keter", "ketter", "no",
     "The question requires the model to exactly extract the text on the umbrella. The model "
     "response does not contain the exact text on the umbrella (keter). Thus the response is "
     "incorrect. "),
)  # fmt: skip
"""Question, answer, response, whether it is correct, and why; the second breaks off there too."""

_SHOWN = "".join(
    f"Example {number}:\n[Begin Question]{question}[End Question]\n"
    f"[Begin Ground-Truth]{answer}[End Ground-Truth]\n[Begin Response]{said}[End Response]\n"
    f"[Begin Correctness]{correct}[End Correctness]\n[Begin Reason]{reason}[End Reason]\n\n"
    for number, (question, answer, said, correct, reason) in enumerate(_EXAMPLES, start=1)
)


def compare(question: str, truth: str, text: str) -> Judging:
    """Let the judge say whether a response is correct, in up to three tries; else it is wrong."""
    prompt = _TASK.format(_SHOWN, question, truth, text)
    said = yield from vlmevalkit.ask(prompt, correctness, 3)
    return said, said == "yes"


def correctness(reply: str) -> str | None:
    """Return `yes` or `no`, the one of the two between the marks; None where there is none.

    >>> correctness("[Begin Correctness] Yes. [End Correctness]"), correctness("yes")
    ('yes', None)
    """
    _, begun, rest = reply.partition("[Begin Correctness]")
    said = rest.partition("[Begin Correctness]")[0].partition("[End Correctness]")[0]
    named = [word for word in ("yes", "no") if word in said.lower()]
    is_marked = begun and "[End Correctness]" in reply
    return named[0] if is_marked and len(named) == 1 else None
