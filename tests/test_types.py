"""The types of tables have the keys that the library takes and returns."""

import ast
import doctest
import inspect
import typing
from io import BytesIO
from os import PathLike

import pytest

from aioluahttp import tls, types
from aioluahttp.bodies import forms
from aioluahttp.tables import models
from aioluahttp.tables.checks import EVENTS, INTO, REQUEST_CHECKS, RESPONSE_CHECKS, STREAMS
from aioluahttp.tables.models import Request, Response
from aioluahttp.types import Part, RequestTable, ResponseTable, TimeoutTable

KINDS = 'Text Bytes Json Stream Events File'.split()
TYPES = [getattr(types, name) for name in types.__all__]


def declared(table):
    """Read from the source the fields that a class declares for type checkers."""
    nodes = ast.parse(inspect.getsource(models)).body
    (tree,) = (one for one in nodes if getattr(one, 'name', '') == table.__name__)
    return {line.target.id for node in tree.body if isinstance(node, ast.If) for line in node.body}


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(types).failed


@pytest.mark.parametrize(
    ('table_type', 'keys'),
    [
        (RequestTable, set(REQUEST_CHECKS)),
        (ResponseTable, set(RESPONSE_CHECKS)),
        (Part, set(forms.PART_KEYS)),
        (TimeoutTable, {'total', 'connect', 'read', 'write'}),
    ],
)
def test_a_table_type_has_the_keys_that_are_checked(table_type, keys):
    """Type checkers and the checks at run time know the same keys."""
    assert keys == set(table_type.__annotations__)


@pytest.mark.parametrize('table_type', TYPES, ids=lambda table_type: table_type.__name__)
def test_the_annotations_of_a_type_resolve(table_type):
    """``typing.get_type_hints``, which pydantic and others use, works on every type."""
    assert set(table_type.__annotations__) == set(typing.get_type_hints(table_type))


def test_a_binary_file_is_known_at_run_time():
    """pydantic asks with ``isinstance``, which an ordinary Protocol refuses."""
    assert isinstance(BytesIO(), types.BinaryFile)
    assert not isinstance('x', types.BinaryFile)


def test_only_the_status_of_a_response_is_required():
    """All of a request is optional, and all of a response but its status."""
    assert (frozenset(), {'status'}) == (
        RequestTable.__required_keys__,
        ResponseTable.__required_keys__,
    )


@pytest.mark.parametrize('name', [f'{kind}Table' for kind in KINDS])
def test_each_type_by_into_has_the_keys_of_a_request(name):
    """The tables that determine the type of the body differ only in ``into``."""
    assert set(REQUEST_CHECKS) == set(getattr(types, name).__annotations__)


def test_into_has_the_same_words_for_checkers_and_at_run_time():
    """Type checkers and the check at run time know the same words for ``into``."""
    hints = typing.get_type_hints(RequestTable)
    words, path = typing.get_args(hints['into'])
    assert {*INTO, *STREAMS, EVENTS} == set(typing.get_args(words))
    assert PathLike is typing.get_origin(path)


def test_the_fields_of_a_response_are_those_of_its_type():
    """Every key but ``json``, which is a method, is a declared field."""
    assert set(RESPONSE_CHECKS) - {'json', 'events'} == declared(Response) == Response.FIELDS


def test_the_fields_of_a_request_are_those_of_its_type():
    """Every key but the methods is a field; every declared field is a key."""
    assert set(REQUEST_CHECKS) - {'json', 'form'} == Request.FIELDS
    assert declared(Request) <= Request.FIELDS


def test_no_field_hides_a_method():
    """A field that is also a method of a dict or a table could not be read as an attribute."""
    assert set() == (Request.FIELDS & set(dir(Request))) | (Response.FIELDS & set(dir(Response)))


def test_the_modules_name_what_they_export():
    """Every name in ``__all__`` exists."""
    assert all(hasattr(m, name) for m in (types, models, forms, tls) for name in m.__all__)
