"""What is prepared ahead is what would have been prepared on the spot, whatever happens."""

import multiprocessing
import os
import signal

import pytest
import torch

from harness.engines import Request
from harness.engines.preprocessing import WORTHWHILE, Prepared
from harness.runs.schema import Question

FRONT = os.getpid()


def requests(count):
    for number in range(count):
        question = Question(task="t", id=str(number), prompt=f"{number}?")
        yield Request(question=question, prompt=question.prompt, key=str(number))


def number_of(request):
    return int(request.question.id)


def everything(source):
    found = []
    while True:
        try:
            found.append(source.take(wait=True))
        except StopIteration:
            return [(request.question.id, result) for request, result in found]


@pytest.mark.parametrize("count", [0, 1, WORTHWHILE - 1, WORTHWHILE, WORTHWHILE + 1, 200])
@pytest.mark.parametrize("workers", [0, 2])
def test_all_come_once_and_in_order(count, workers):
    with Prepared(requests(count), number_of, 16, workers) as source:
        assert everything(source) == [(str(n), n) for n in range(count)]


def test_work_is_done_beside_this_process_where_it_pays():
    for count, beside in ((WORTHWHILE - 1, False), (WORTHWHILE, True)):
        with Prepared(requests(count), lambda request: os.getpid(), 16, 2) as source:
            assert all((pid != FRONT) == beside for _, pid in everything(source))


def test_tensors_and_trouble_arrive_as_they_were():
    values = [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor(3),
        ValueError("no such picture"),
    ]
    with Prepared(requests(WORTHWHILE), lambda request: values, 16, 2) as source:
        *tensors, trouble = everything(source)[0][1]
    for tensor, value in zip(tensors, values, strict=False):
        assert tensor.dtype == value.dtype
        assert torch.equal(tensor, value)
    assert isinstance(trouble, ValueError)
    assert str(trouble) == "no such picture"


def test_it_goes_on_alone_when_a_process_is_killed():

    def dies_beside(request):
        if os.getpid() != FRONT and number_of(request) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return number_of(request)

    with Prepared(requests(100), dies_beside, 32, 2) as source:
        assert everything(source) == [(str(n), n) for n in range(100)]


def test_nothing_is_waited_for_unless_asked():
    gate = multiprocessing.get_context("fork").Event()

    def waits(request):
        return gate.wait()

    with Prepared(requests(WORTHWHILE), waits, 8, 1) as source:
        assert source.take(wait=False) is None
        gate.set()
        assert everything(source) == [(str(n), True) for n in range(WORTHWHILE)]
