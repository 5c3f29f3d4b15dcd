"""Files of downloads, Content-Range, and the validators of If-Range."""

import doctest
import json
import os
import stat
from pathlib import Path

import pytest

from aioluahttp.client import part_file
from aioluahttp.client.part_file import (
    NewFile,
    ResumableFile,
    is_validator,
    parse_content_range,
    validator_of,
)
from aioluahttp.headers import Headers

SOURCE, TARGET, TAG = 'somewhere', 'elsewhere', '"v1"'


@pytest.fixture(params=[True, False], ids=['locks', 'none'])
def locks(request, monkeypatch):
    """Run a test twice: with file locks, and as on a system without them."""
    if not request.param:
        monkeypatch.setattr(part_file, 'fcntl', None)
    return request.param


with_and_without_locks = pytest.mark.usefixtures('locks')


@pytest.fixture
def umask():
    """Set a umask during a test."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def make(sink, *pieces, begin=()):
    """Open a sink, begin a part if asked to, and write to it."""
    sink.open()
    if begin:
        sink.begin(*begin)
    for piece in pieces:
        sink.write(piece)
    return sink


def mode(path):
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@with_and_without_locks
@pytest.mark.parametrize(
    'kind', [NewFile, lambda path: ResumableFile(path, SOURCE)], ids=['sink', 'part']
)
@pytest.mark.usefixtures('umask')
def test_keep_renames_the_file(tmp_path, kind):
    """A new file has the permissions that the umask allows."""
    path = tmp_path / 'a'
    sink = make(kind(path), b'ab', memoryview(b'c'))
    assert sink.is_open
    assert not path.exists()
    sink.keep()
    assert (b'abc', 0o640, [path]) == (path.read_bytes(), mode(path), list(tmp_path.iterdir()))
    assert not sink.is_open


@pytest.mark.parametrize(
    'kind', [NewFile, lambda path: ResumableFile(path, SOURCE)], ids=['sink', 'part']
)
def test_what_was_written_is_in_the_file(tmp_path, kind):
    """Though it is less than the buffer of Python's file."""
    sink = make(kind(tmp_path / 'a'), b'ab')
    assert [2] == [one.stat().st_size for one in tmp_path.iterdir()]
    sink.drop()


@with_and_without_locks
@pytest.mark.parametrize(
    'kind', [NewFile, lambda path: ResumableFile(path, SOURCE)], ids=['sink', 'part']
)
@pytest.mark.parametrize('permissions', [0o600, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path, kind, permissions):
    """The temporary file has them from the start, so that others cannot read it."""
    path = tmp_path / 'a'
    path.write_bytes(b'old')
    path.chmod(permissions)
    sink = make(kind(path), b'new')
    (written,) = set(tmp_path.iterdir()) - {path}
    assert permissions | 0o200 == mode(written)
    assert b'old' == path.read_bytes()
    sink.keep()
    assert (b'new', permissions) == (path.read_bytes(), mode(path))


@with_and_without_locks
def test_drop_removes_the_temporary_file(tmp_path):
    """An existing file is not changed."""
    path = tmp_path / 'a'
    path.write_bytes(b'old')
    make(NewFile(path), b'new').drop()
    assert [path] == list(tmp_path.iterdir())
    assert b'old' == path.read_bytes()


@with_and_without_locks
def test_a_symbolic_link_is_kept(tmp_path):
    """The file behind it is replaced."""
    (tmp_path / 'there').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'there/a')
    make(NewFile(tmp_path / 'link'), b'x').keep()
    assert (tmp_path / 'link').is_symlink()
    assert b'x' == (tmp_path / 'there/a').read_bytes()


@with_and_without_locks
def test_only_a_regular_file_is_replaced(tmp_path):
    """A directory or a pipe raises when the file is opened."""
    with pytest.raises(IsADirectoryError):
        NewFile(tmp_path).open()
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(OSError, match='Invalid argument'):
        NewFile(tmp_path / 'pipe').open()


@with_and_without_locks
def test_a_missing_folder_raises(tmp_path):
    """It raises when the file is opened."""
    for sink in (NewFile(tmp_path / 'no/a'), ResumableFile(tmp_path / 'no/a', SOURCE)):
        with pytest.raises(FileNotFoundError):
            sink.open()
        assert not sink.is_open


@with_and_without_locks
def test_large_data_is_written_in_order(tmp_path):
    """Its size does not have to be a multiple of one write."""
    data = os.urandom(part_file.WRITE * 2 + 1)
    make(NewFile(tmp_path / 'a'), data, memoryview(data)).keep()
    assert data * 2 == (tmp_path / 'a').read_bytes()


@with_and_without_locks
def test_a_full_disk_raises_and_leaves_no_file(tmp_path):
    """``write`` notices it, or ``keep`` if the file system tells only then."""
    for write, fails in ((True, NewFile.write), (False, lambda sink, data: sink.keep())):
        sink = make(NewFile(tmp_path / 'a'))
        sink._file.close()
        sink._file = open('/dev/full', 'wb')  # noqa: SIM115
        if not write:
            sink._file.write(b'x')
        with pytest.raises(OSError, match='No space'):
            fails(sink, b'x')
        sink.drop()
        assert [] == list(tmp_path.iterdir())


# Parts


@with_and_without_locks
def test_a_part_is_resumed(tmp_path):
    """It starts at its size, and has its notes."""
    path = tmp_path / 'a'
    make(ResumableFile(path, SOURCE), b'ab', begin=(TARGET, TAG, 3)).drop()
    assert {'.a.part', '.a.part.json'} == set(os.listdir(tmp_path))
    part = make(ResumableFile(path, SOURCE))
    assert (2, (SOURCE, TARGET, TAG, 3)) == (part.start, part.notes)
    part.write(b'c')
    part.keep()
    assert (b'abc', [path]) == (path.read_bytes(), list(tmp_path.iterdir()))


@with_and_without_locks
@pytest.mark.parametrize(
    'notes',
    [
        None,
        b'',
        b'\xff',
        b'[' * 100_000,
        b'[]',
        {'source': 'elsewhere'},
        {'validator': 'W/"v1"'},
        {'target': 5},
        {'validator': 5},
        {'length': 'x'},
    ],
    ids=lambda notes: str(notes)[:30],
)
def test_a_part_with_invalid_notes_is_not_resumed(tmp_path, notes):
    """Nor is one from another source."""
    path, file = tmp_path / 'a', tmp_path / '.a.part.json'
    make(ResumableFile(path, SOURCE), b'ab', begin=(TARGET, TAG, None)).drop()
    if isinstance(notes, dict):
        file.write_text(json.dumps(json.loads(file.read_text()) | notes))
    elif notes is None:
        file.unlink()
    else:
        file.write_bytes(notes)
    part = make(ResumableFile(path, SOURCE))
    assert (0, None) == (part.start, part.notes)
    part.begin(TARGET, TAG, None)
    part.write(b'x')
    part.keep()
    assert (b'x', [path]) == (path.read_bytes(), list(tmp_path.iterdir()))


@with_and_without_locks
@pytest.mark.parametrize('begin', [(), (TARGET, None, 2), (TARGET, TAG, 2)])
def test_a_part_that_cannot_be_resumed_is_removed(tmp_path, begin):
    """It has no validator, or no byte."""
    make(
        ResumableFile(tmp_path / 'a', SOURCE), *([b'x'] if TAG not in begin else []), begin=begin
    ).drop()
    assert [] == list(tmp_path.iterdir())


def test_a_part_has_one_writer(tmp_path, locks):
    """A second one, in any process, raises."""
    if not locks:
        pytest.skip('there are no locks')
    first = make(ResumableFile(tmp_path / 'a', SOURCE), b'x')
    second = ResumableFile(tmp_path / 'a', SOURCE)
    with pytest.raises(BlockingIOError, match='another download writes to it'):
        second.open()
    assert not second.is_open
    first.keep()
    make(second, b'y').keep()
    assert 'y' == (tmp_path / 'a').read_text()


def test_a_part_renamed_before_it_is_locked_is_not_written_to(tmp_path, locks, monkeypatch):
    """Between open and lock, another download may rename or remove it."""
    if not locks:
        pytest.skip('there are no locks')
    first = make(ResumableFile(tmp_path / 'a', SOURCE), b'whole')
    lock, ends = (
        part_file._lock,
        [lambda: make(ResumableFile(tmp_path / 'a', SOURCE), b'x').drop(), first.keep],
    )

    def lock_late(*arguments):
        if ends:
            ends.pop()()
        lock(*arguments)

    monkeypatch.setattr(part_file, '_lock', lock_late)
    second = make(ResumableFile(tmp_path / 'a', SOURCE), b'other')
    assert b'whole' == (tmp_path / 'a').read_bytes()
    second.keep()
    assert b'other' == (tmp_path / 'a').read_bytes()


@with_and_without_locks
def test_a_symbolic_link_with_the_name_of_a_part_is_not_followed(tmp_path):
    """Somebody else could make it to have another file overwritten."""
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / '.a.part').symlink_to(tmp_path / 'mine')
    with pytest.raises(OSError, match='symbolic links'):
        ResumableFile(Path(tmp_path / 'a'), SOURCE).open()
    assert 'mine' == (tmp_path / 'mine').read_text()


OLD, NEW = 'Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 08:49:38 GMT'


def test_the_examples_are_right():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(part_file).failed


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('bytes 0-0/1', (0, 0, 1)),
        ('Bytes 5-9/*', (5, 9, None)),
        ('bytes */7', (None, None, 7)),
        ('', None),
        ('bytes 5-/7', None),
        ('items 0-0/1', None),
        ('bytes ٣-9/9', None),
        ('bytes 0-0/1, 2-3/4', None),
        ('bytes 0-0/' + '9' * 99, None),
    ],
)
def test_a_content_range_is_parsed(text, expected):
    """An invalid one is None."""
    assert expected == parse_content_range(text)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'ETag': '"a"'}, '"a"'),
        ({'ETag': '""', 'Last-Modified': OLD, 'Date': NEW}, '""'),
        ({'ETag': 'W/"a"', 'Last-Modified': OLD, 'Date': NEW}, None),
        ({'ETag': 'a'}, None),
        ({'ETag': '"é"'}, None),
        ({'Last-Modified': OLD, 'Date': NEW}, OLD),
        ({'Last-Modified': NEW, 'Date': NEW}, None),
        ({'Last-Modified': OLD}, None),
        ({'Last-Modified': 'never', 'Date': NEW}, None),
        ({}, None),
    ],
)
def test_only_a_strong_validator_is_returned(fields, expected):
    """A weak entity tag is not strong, nor is a Last-Modified that equals Date."""
    assert expected == validator_of(Headers(fields))
    assert expected is None or is_validator(expected)


@pytest.mark.parametrize('text', ['', 'W/"a"', '"a"\r\nX: y', '"a', None, 5])
def test_other_texts_are_not_validators(text):
    """Only a strong entity tag or a date is sent in If-Range."""
    assert not is_validator(text)
