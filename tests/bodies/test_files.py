"""Open files as bodies."""

import doctest
import io
import sys
from pathlib import Path

import pytest

from aioluahttp.bodies import files
from aioluahttp.bodies.chunks import Chunks
from aioluahttp.bodies.files import can_rewind, check_file, file_name_of, is_file
from aioluahttp.bodies.stream import Stream
from aioluahttp.errors import TableError


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(files).failed


class Reader:
    """A file that only reads, and has a name."""

    def __init__(self, name):
        self.name = name

    def read(self, size):
        return b''


def test_a_file_has_a_method_to_read():
    """A stream has one, too, but is iterated."""
    assert [True, True] == list(map(is_file, (io.BytesIO(), Reader(''))))
    stream = Stream(Chunks([], bytes))
    assert [False] * 3 == list(map(is_file, (stream, b'', Path('a'))))


def test_a_file_can_be_read_again_if_it_is_seekable():
    """One that does not say so is not."""
    assert (True, False) == (can_rewind(io.BytesIO()), can_rewind(Reader('')))


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('/a/b.c', 'b.c'),
        (b'/a/\xff', '\udcff'),
        (3, None),
        (None, None),
        ('', None),
        ('<stdin>', None),
        ('/a/', None),
    ],
)
def test_the_name_of_a_file_is_without_its_folder(name, expected):
    """A descriptor, and what stands for a stream, are no names."""
    assert expected == file_name_of(Reader(name))


def test_the_name_of_a_path_is_without_its_folder():
    """Of any path object."""
    assert ('b', None) == (file_name_of(Path('a/b')), file_name_of(io.BytesIO()))


def test_a_file_has_to_be_open_and_binary():
    """Everything else passes, such as a path."""
    closed = io.BytesIO()
    closed.close()
    for wrong in closed, io.StringIO(), sys.stdin:
        with pytest.raises(TableError, match="'key' is "):
            check_file('key', wrong)
    good = io.BytesIO()
    assert (good, Path('a')) == (check_file('key', good), check_file('key', Path('a')))
