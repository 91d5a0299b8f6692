"""A verdict that may ask a judge, driven with the replies at hand."""

from tasks.judging import UNPARSED, Request, settle


def plain(row, text):
    return text, text == row["answer"]


def asking(row, text):
    if text in ("A", "B"):
        return text, text == row["answer"]
    for attempt in range(2):
        reply = yield Request(f"Which? {text}", attempt=attempt)
        if reply in ("A", "B"):
            return reply, reply == row["answer"]
    return UNPARSED


ROW = {"answer": "B"}


def test_a_plain_verdict_needs_no_judge():
    assert settle(plain, ROW, "B") == (("B", True), False)
    assert settle(plain, ROW, "A", ["B"]) == (("A", False), False)


def test_what_the_rule_reads_is_not_asked():
    assert settle(asking, ROW, "A", ["B"]) == (("A", False), False)


def test_replies_are_given_in_order_until_one_serves():
    assert settle(asking, ROW, "hm", ["B"]) == (("B", True), True)
    assert settle(asking, ROW, "hm", ["well", "A", "B"]) == (("A", False), True)
    assert settle(asking, ROW, "hm", ["well", "well"]) == (UNPARSED, True)


def test_without_enough_replies_it_is_open():
    assert settle(asking, ROW, "hm") == (UNPARSED, False)
    assert settle(asking, ROW, "hm", ["well"]) == (UNPARSED, True)
