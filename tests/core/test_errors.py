"""Rules of errors: a code of the table, a class where one is caught, no decision by their text."""

from __future__ import annotations

import ast
import pickle

import pytest

from grokpack.core import errors
from grokpack.core.error_codes import CODES
from grokpack.core.errors import CaughtError, Place, revised
from tests.support.source_code import modules, root

FINDINGS_ARE_CHOSEN_IN = "core.finding"
"""A finding is data, and its code says which kind; a handler of errors catches a class."""


def test_every_error_has_a_code_of_the_table() -> None:
    unknown = [
        f"{module}: {node.args[0].value!r}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and root(node.func) == "GrokpackError"
        if node.args and isinstance(node.args[0], ast.Constant)
        if node.args[0].value not in CODES
    ]
    assert not unknown
    assert {kind.CODE for kind in _kinds_of_error()} <= set(CODES)


def _kinds_of_error() -> list[type[CaughtError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CaughtError) and kind is not CaughtError
    ]


def test_an_error_that_has_a_class_is_raised_as_one() -> None:
    codes = {kind.CODE for kind in _kinds_of_error()}
    disguised = [  # which no handler of the class would catch
        f"{module}:{node.lineno}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and root(node.func) == "GrokpackError"
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in codes
    ]
    assert not disguised


def test_no_decision_hangs_on_a_code_or_on_the_sentence_of_an_error() -> None:
    compared = [
        f"{module}:{node.lineno}"
        for module, tree in modules().items()
        if module != FINDINGS_ARE_CHOSEN_IN
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Attribute) and _is_text_of_an_error(side)
    ]
    assert not compared


def _is_text_of_an_error(read: ast.Attribute) -> bool:
    return read.attr == "code" or (read.attr == "what" and root(read) in {"error", "cause"})


@pytest.mark.parametrize("kind", _kinds_of_error(), ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_out_of_another_process(kind: type[CaughtError]) -> None:
    error = kind("it is so", Place("/w/file", 7), (("found", "this"),), "do that")
    again = pickle.loads(pickle.dumps(error))  # of this very process
    assert (type(again), again) == (kind, error)
    moved = revised(error, where=Place("/w/other"))
    assert (type(moved), moved.code, moved.what) == (kind, kind.CODE, "it is so")
    assert str(moved.where) == "/w/other"
