"""Files as response bodies: conditional requests, ranges and compressed variants."""

import gzip
import os

import pytest

from aioluahttp.exchange.files import select_file, tag_of
from aioluahttp.headers import Headers

TIME = 1_000_000_000
STAMP = 'Sun, 09 Sep 2001 01:46:40 GMT'
TAG = f'"{TIME * 10**9:x}-a"'


@pytest.fixture
def file(tmp_path):
    """Make a file of ten digits with a known modification time."""
    path = tmp_path / 'digits.txt'
    path.write_bytes(b'0123456789')
    os.utime(path, (TIME, TIME))
    return path


def read(path, method='GET', status=200, **asked):
    """Select a file; return the status, the bytes that are sent, and the header fields."""
    headers = Headers({name.replace('_', '-'): value for name, value in asked.items()})
    found = select_file(path, method, headers, status)
    if found.file is None:
        return found.status, None, found.fields
    with found.file as opened:
        return found.status, opened.read(found.size), found.fields


def test_a_file_has_its_header_fields(file):
    """Content-Type by its name, the validators, and Accept-Ranges."""
    assert (
        200,
        b'0123456789',
        {
            'Content-Type': 'text/plain; charset=utf-8',
            'ETag': TAG,
            'Last-Modified': STAMP,
            'Accept-Ranges': 'bytes',
        },
    ) == read(file)


@pytest.mark.parametrize(
    ('asked', 'part', 'said'),
    [
        ('bytes=0-0', b'0', '0-0'),
        ('bytes=3-', b'3456789', '3-9'),
        ('bytes=8-99', b'89', '8-9'),
        ('bytes=-2', b'89', '8-9'),
        ('bytes=-99', b'0123456789', '0-9'),
    ],
)
def test_a_range_selects_a_part(file, asked, part, said):
    """Content-Range describes it (RFC 9110 14.4)."""
    status, data, fields = read(file, Range=asked)
    assert (206, part, f'bytes {said}/10') == (status, data, fields['Content-Range'])


@pytest.mark.parametrize('asked', ['bytes=10-', 'bytes=5-4', 'bytes=-0'])
def test_a_range_outside_the_file_is_a_416(file, asked):
    """Content-Range has the size of the file."""
    assert (416, None, {'Content-Range': 'bytes */10'}) == read(file, Range=asked)


@pytest.mark.parametrize('asked', ['bytes=0-1,3-4', 'lines=1-2', 'bytes=x'])
def test_any_other_range_is_ignored(file, asked):
    """RFC 9110 14.2 allows it."""
    assert (200, b'0123456789') == read(file, Range=asked)[:2]


@pytest.mark.parametrize(
    ('asked', 'status'),
    [
        ({'If_Match': f'"a", {TAG}'}, 200),
        ({'If_Match': '*'}, 200),
        ({'If_Match': f'W/{TAG}'}, 412),
        ({'If_Unmodified_Since': STAMP}, 200),
        ({'If_Unmodified_Since': 'Sun, 09 Sep 2001 01:46:39 GMT'}, 412),
        ({'If_Match': TAG, 'If_Unmodified_Since': 'Sun, 09 Sep 2001 01:46:39 GMT'}, 200),
        ({'If_None_Match': f'W/{TAG}'}, 304),
        ({'If_None_Match': '"a"', 'If_Modified_Since': STAMP}, 200),
        ({'If_Modified_Since': STAMP}, 304),
        ({'If_Modified_Since': 'Sun, 09 Sep 2001 01:46:39 GMT'}, 200),
        ({'If_Modified_Since': 'yesterday'}, 200),
        ({'Range': 'bytes=1-2', 'If_Range': TAG}, 206),
        ({'Range': 'bytes=1-2', 'If_Range': STAMP}, 206),
        ({'Range': 'bytes=1-2', 'If_Range': '"a"'}, 200),
    ],
)
def test_conditions_are_evaluated(file, asked, status):
    """The order is that of RFC 9110 13.2.2."""
    found, data, fields = read(file, **asked)
    assert status == found
    assert (data is None) == (status in (304, 412))
    assert ('ETag' in fields) == (status != 412)


@pytest.mark.parametrize(('method', 'status'), [('POST', 200), ('GET', 404)])
def test_other_methods_and_statuses_get_the_whole_file(file, method, status):
    """Conditions and ranges are for a GET or HEAD whose response would be a 200."""
    assert (status, b'0123456789') == read(file, method, status, Range='bytes=1-2')[:2]


def test_a_head_opens_no_file(file):
    """The size is known all the same."""
    found = select_file(file, 'HEAD', Headers(), 200)
    assert (None, 10) == (found.file, found.size)


@pytest.mark.parametrize(
    ('takes', 'coding'),
    [
        ('gzip', 'gzip'),
        ('br, gzip', 'gzip'),
        ('gzip;q=0', None),
        ('br;q=1, gzip;q=0.5', 'gzip'),
        ('identity', None),
    ],
)
def test_a_compressed_variant_beside_the_file_is_sent(file, takes, coding):
    """A client that accepts the coding gets it; Content-Type is that of the file."""
    data = gzip.compress(b'0123456789', mtime=0)
    file.with_name('digits.txt.gz').write_bytes(data)
    _, sent, fields = read(file, Accept_Encoding=takes)
    assert (data if coding else b'0123456789', coding, 'text/plain; charset=utf-8') == (
        sent,
        fields.get('Content-Encoding'),
        fields['Content-Type'],
    )


def test_a_variant_that_is_no_regular_file_is_ignored(file):
    """The file itself is sent."""
    file.with_name('digits.txt.gz').mkdir()
    assert b'0123456789' == read(file, Accept_Encoding='gzip')[1]


@pytest.mark.parametrize('name', ['none', 'digits.txt/none', 'x' * 300, 'a\0b'])
def test_a_missing_file_selects_nothing(file, name):
    """This includes names that no file can have."""
    asked = Headers({'Accept-Encoding': 'gzip'})
    assert select_file(str(file.parent / name), 'GET', asked, 200) is None


def test_a_path_that_is_no_regular_file_is_an_error(file, tmp_path):
    """A folder is, and a symbolic link to itself."""
    with pytest.raises(IsADirectoryError):
        tag_of(str(tmp_path))
    loop = tmp_path / 'loop'
    loop.symlink_to(loop)
    with pytest.raises(OSError, match='loop'):
        tag_of(str(loop))
