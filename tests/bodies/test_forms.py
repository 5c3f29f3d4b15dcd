"""Forms encoded as ``multipart/form-data``."""

import doctest
import io
from email import message_from_bytes
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies import forms
from aioluahttp.bodies.forms import encode_multipart
from aioluahttp.errors import TableError
from aioluahttp.media_types import UNKNOWN, type_of


def parsed(kind, body):
    """Read a multipart body with Python's own parser, as a list of tables."""
    message = message_from_bytes(f'Content-Type: {kind}\r\n\r\n'.encode() + body, policy=HTTP)
    return [
        {
            'name': part['Content-Disposition'].params['name'],
            'filename': part.get_filename(),
            'content_type': part['Content-Type'],
            'body': part.get_payload(decode=True),
        }
        for part in message.iter_parts()
    ]


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(forms).failed


def test_parts_are_encoded_as_by_browsers():
    """A field has only a name, a file also a filename and a type."""
    kind, body = encode_multipart(
        [{'name': 'a', 'body': 'é'}, {'name': 'b', 'filename': 'c.bin', 'body': b'\x00\xff'}]
    )
    boundary = kind.removeprefix('multipart/form-data; boundary=').encode()
    assert (
        b'--%(b)b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xc3\xa9\r\n'
        b'--%(b)b\r\nContent-Disposition: form-data; name="b"; filename="c.bin"\r\n'
        b'Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--%(b)b--\r\n'
    ) % {b'b': boundary} == body


WORD = st.text('abcXYZ0189 -_.é日', min_size=1).map(str.strip).filter(bool)
PARTS = st.lists(
    st.fixed_dictionaries(
        {'name': WORD, 'body': st.binary() | st.text(st.characters(codec='utf-8'))},
        optional={'filename': WORD, 'content_type': st.sampled_from(['image/png', 'text/csv'])},
    ),
    min_size=1,
)


@settings(deadline=None)
@given(PARTS)
def test_another_parser_reads_the_same_parts(parts):
    """Python's email parser reads every part byte for byte."""
    default = {'filename': None, 'content_type': None}
    expected = [
        default
        | ({'content_type': type_of(part['filename']) or UNKNOWN} if 'filename' in part else {})
        | part
        | {'body': part['body'].encode() if isinstance(part['body'], str) else part['body']}
        for part in parts
    ]
    assert expected == parsed(*encode_multipart(parts))


@settings(deadline=None)
@given(PARTS)
def test_equal_tables_make_equal_bytes(parts):
    """The boundary is a hash of the content, so encoding is deterministic."""
    assert encode_multipart(parts) == encode_multipart(dict(part) for part in parts)


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_a_body_may_be_any_bytes_like_object(kind):
    """bytes, bytearray and memoryview give the same body."""
    assert [b'x'] == [
        part['body'] for part in parsed(*encode_multipart([{'name': 'a', 'body': kind(b'x')}]))
    ]


def test_a_surrogate_escape_is_encoded_as_its_byte():
    """A name or a text decoded from invalid UTF-8 is encoded to the same bytes."""
    _, body = encode_multipart([{'name': 'n\udcff', 'body': '\udcfe'}])
    assert (True, True) == (b'name="n\xff"' in body, b'\r\n\r\n\xfe\r\n' in body)


def test_quotes_and_line_breaks_in_a_name_are_escaped():
    """They are escaped in filenames too (HTML, multipart/form-data encoding algorithm)."""
    _, body = encode_multipart([{'name': 'a"\r\nX: y', 'filename': '\n"', 'body': ''}])
    assert b'; name="a%22%0D%0AX: y"; filename="%0A%22"\r\n' in body


def test_a_form_without_parts_has_only_its_end():
    """The body for an empty list is the closing boundary."""
    kind, body = encode_multipart([])
    assert b'--%b--\r\n' % kind.rpartition('=')[2].encode() == body


def test_a_part_from_a_file_has_its_name_and_the_type_of_that(tmp_path):
    """Without a name, as a file in memory, it is a field; what the part says takes precedence."""
    path = tmp_path / 'a.png'
    path.write_bytes(b'')
    named, unnamed = path.open('rb'), io.BytesIO(b'')
    standard = io.BytesIO(b'')
    standard.name = '<stdin>'
    with named, open(named.fileno(), 'rb', closefd=False) as numbered:
        kind, body = encode_multipart(
            [
                {'name': 'a', 'body': path},
                {'name': 'b', 'body': named},
                {'name': 'c', 'body': path, 'filename': 'x.csv'},
                {'name': 'd', 'body': path, 'content_type': 'a/b'},
                *({'name': 'e', 'body': one} for one in (unnamed, standard, numbered)),
            ]
        )
    whole = b''.join(piece for piece in body.pieces if isinstance(piece, bytes))
    heads = [(one['filename'], one['content_type']) for one in parsed(kind, whole)]
    png, field = ('a.png', 'image/png'), (None, None)
    assert [png, png, ('x.csv', 'text/csv'), ('a.png', 'a/b'), field, field, field] == heads
    assert [path, named, path, path, unnamed, standard, numbered] == list(body.files)
    assert repr(path) in repr(body)


def test_a_file_makes_the_boundary_random(tmp_path):
    """Its content is not known, and who knows the other parts must not be able to guess it."""
    parts = [{'name': 'a', 'body': tmp_path / 'a'}]
    assert encode_multipart(parts)[0] != encode_multipart(parts)[0]


def test_a_file_has_to_be_open_and_binary(tmp_path):
    """The error names the part."""
    closed = io.BytesIO()
    closed.close()
    for wrong, message in (closed, 'a file that is open'), (io.StringIO(), 'in binary mode'):
        with pytest.raises(TableError, match=rf"'multipart\[f\]\.body' is .*{message}"):
            encode_multipart([{'name': 'f', 'body': wrong}])
    with pytest.raises(TableError, match=r"'multipart\.filename' is 'a\\x01'"):
        encode_multipart([{'name': 'f', 'body': tmp_path / 'a\1'}])


PART = {'name': 'a', 'body': 'b'}


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ('a=b', "'multipart' is 'a=b'; it must be a list of tables"),
        (b'a=b', "'multipart' is b'a=b'; it must be a list of tables"),
        (PART, "'multipart' is {'name': 'a', 'body': 'b'}; it must be a list of tables"),
        (5, "'multipart' is 5; it must be a list of tables"),
        ([('a', 'b')], "'multipart' is ('a', 'b'); it must be a list of tables"),
        ([PART | {'file': 'x'}], "unknown key 'file': did you mean 'filename'?"),
        ([{'body': 'b'}], "'multipart' is {'body': 'b'}; it must be tables that have a name"),
        ([{'name': 5, 'body': 'b'}], "'multipart.name' is 5; it must be a str"),
        ([PART | {'filename': b'x'}], "'multipart.filename' is b'x'; it must be a str"),
        ([PART | {'filename': '\ud800'}], "'multipart.filename' is '\\ud800'; it must be text"),
        ([PART | {'content_type': 'a/b\r\nX: y'}], 'without control characters'),
        (
            [PART | {'body': '\ud800'}],
            "'multipart[a].body' is '\\ud800'; it must be text that UTF-8",
        ),
        ([{'name': 'a'}], "'multipart[a].body' is None; it must be a str, bytes, a path"),
        (
            [PART | {'body': 5}],
            "'multipart[a].body' is 5; it must be a str, bytes, a path or a",
        ),
    ],
)
def test_a_malformed_part_is_refused(parts, message):
    """The error names the key and the value and says what would be right."""
    with pytest.raises(TableError) as caught:
        encode_multipart(parts)
    assert message in str(caught.value)


@pytest.mark.parametrize('key', ['name', 'filename', 'content_type'])
@pytest.mark.parametrize('wrong', ['a\0', 'a\x1bb', '\x7f'])
def test_a_control_character_in_a_head_is_refused(key, wrong):
    """Control characters other than line breaks in names are refused."""
    with pytest.raises(TableError, match=f"'multipart.{key}' is .*without control characters"):
        encode_multipart([{'name': 'n', 'body': '', key: wrong}])
