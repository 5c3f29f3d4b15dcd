"""Forms: parsed completely and as they were sent, or an error."""

import asyncio
import gc
import gzip
import itertools
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp import url
from aioluahttp.bodies import multipart
from aioluahttp.bodies.forms import encode_multipart
from aioluahttp.bodies.multipart import BOUNDARY, MAX_HEAD, ReceivedMultipart, read_form
from aioluahttp.errors import BodyTooLarge, ProtocolError
from aioluahttp.headers import Headers

KIND = 'multipart/form-data; boundary=b'


async def arriving(data, size):
    """Yield bytes in chunks of a size, with empty chunks between."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b''


async def read(data, *, kind=KIND, size=1000):
    """Read a body as a list of name, filename, type and body."""
    body, found = ReceivedMultipart(kind, arriving(data, size)), []
    while part := await body.next():
        pieces = [piece async for piece in part]
        found.append((part.name, part.filename, part.content_type, b''.join(pieces)))
    return found


def part(*lines, body=b'x', boundary=b'b'):
    """Make a part with these lines of a head after its Content-Disposition."""
    return b'\r\n'.join([b'--' + boundary, *lines, b'', body, b''])


def form(*parts, end=b'--b--\r\n'):
    """Make a body of parts."""
    return b''.join(parts) + end


A = b'Content-Disposition: form-data; name="a"'
TWO = form(part(A, body=b'one'), part(A + b'; filename="f"', b'Content-Type: a/b', body=b'\r\n--'))


@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000])
async def test_the_parts_come_in_order(size):
    """Fields and files have their names, types and bytes, however the body is cut."""
    assert [('a', None, None, b'one'), ('a', 'f', 'a/b', b'\r\n--')] == await read(TWO, size=size)


@pytest.mark.parametrize(
    'body', [b'', b'\r\n', b'\r\n\r\n', b'\n--b--', b'\r\n--', b'-', b'\r\n--a', b'x' * 200_000]
)
@pytest.mark.parametrize('size', [5, 65536])
async def test_a_body_is_read_byte_for_byte(body, size):
    """Bytes that only look like a boundary belong to the body."""
    assert [('a', None, None, body)] * 2 == await read(form(*[part(A, body=body)] * 2), size=size)


@pytest.mark.parametrize('size', [1, 1000])
async def test_a_body_that_is_cut_off_is_an_error(size):
    """A body that ends before its last boundary is an error, never a shorter form."""
    whole = TWO.index(b'--b--') + len(b'--b--')
    for end in range(whole):
        with pytest.raises(ProtocolError, match=r'must have|cut off'):
            await read(TWO[:end], size=size)
    for end in range(whole, len(TWO) + 1):
        assert 2 == len(await read(TWO[:end], size=size))


@pytest.mark.parametrize(
    'data',
    [
        b'--b--',
        b'--b--\r\n',
        b'\r\n--b--\r\n',
        b'A preamble\r\nof lines\r\n--b--\r\nand\r\n\r\n--an\r\n--b\r\nepilogue',
    ],
)
@pytest.mark.parametrize('size', [1, 1000])
async def test_an_empty_form_has_no_parts(data, size):
    """A body with only the closing boundary is a form; text around that is ignored."""
    assert [] == await read(data, size=size)


async def test_the_preamble_and_the_epilogue_are_skipped():
    """Text before the first and after the last boundary is ignored (RFC 2046 5.1.1)."""
    data = b'pre\r\n' + form(part(A), end=b'--b-- \t\r\nepi\r\n--b\r\nlogue\r\n')
    assert [('a', None, None, b'x')] == await read(data)


@pytest.mark.parametrize(
    'data',
    [
        b'no boundary\r\n' * 1000,
        b'x' * 10_000,
        form(part(A), end=b'--b--\r\n' + b'epilogue\r\n' * 1000),
        form(part(A), end=b'--b--' + b'-' * 10_000),
        form(part(A, *[b'X: ' + b'y' * 100] * 100)),
        form(part(A, b'X: ' + b'y' * 10_000)),
        form(part(A), part(A, *[b'X%d: ' % n + b'y' * 1000 for n in range(9)])),
    ],
)
@pytest.mark.parametrize('size', [100, 100_000])
async def test_a_head_that_is_too_long_is_too_large(data, size):
    """So are a preamble and an epilogue; the limit is for all their lines together."""
    with pytest.raises(BodyTooLarge, match=f'passed {MAX_HEAD} bytes'):
        await read(data, size=size)


async def test_the_limit_holds_for_each_head():
    """Heads may together be longer than the limit."""
    data = form(*[part(A, b'X: ' + b'y' * (MAX_HEAD - 100))] * 3)
    assert 3 == len(await read(data))


async def test_an_endless_preamble_is_read_up_to_the_limit():
    """Bytes without a boundary are not read any further."""
    taken = 0

    async def flood():
        nonlocal taken
        while True:
            taken += 4
            yield b'xyz\n'

    chunks = flood()
    with pytest.raises(BodyTooLarge):
        await ReceivedMultipart(KIND, chunks).next()
    await chunks.aclose()
    assert taken <= MAX_HEAD + 4


@pytest.mark.parametrize(
    ('field', 'names'),
    [
        (b'form-data; name=a', ('a', None)),
        (b'FORM-DATA;NAME="a";', ('a', None)),
        (b'form-data ; name = "a" ; x', ('a', None)),
        (b'form-data; name=""', ('', None)),
        (b'form-data; name="a"; filename=""', ('a', '')),
        (b'form-data; name="a"; filename="a;b;c; name=d.txt"', ('a', 'a;b;c; name=d.txt')),
        (b'form-data; name="a"; filename="../../etc/passwd"', ('a', '../../etc/passwd')),
        (b'form-data; name="a"; filename="/x"', ('a', '/x')),
        (rb'form-data; name="a"; filename="C:\new\x.txt"', ('a', r'C:\new\x.txt')),
        (rb'form-data; name="a\"b\"c"; filename="\"d"', ('a"b"c', '"d')),
        (rb'form-data; name="a\"; filename="b\\c\" ;x', ('a\\', r'b\\c' + '\\')),
        (b'form-data; name="a%22%0D%0Ab"; filename="%41%c3"', ('a"\r\nb', '%41%c3')),
        ('form-data; name="日"; filename="é"'.encode(), ('日', 'é')),
        (b'form-data; name="\xff"; filename="\xfe"', ('\udcff', '\udcfe')),
        (b"form-data; name*=utf-8''%C3%A9; filename*=UTF-8'en'%e2%82%ac", ('é', '€')),
        (b"form-data; name*=iso-8859-1''%E9; filename*=punycode''%FF", ('é', '\udcff')),
        (b"form-data; name=a; filename=b; filename*=utf-8''c", ('a', 'b')),
    ],
)
async def test_names_are_decoded_as_clients_encode_them(field, names):
    """Browsers, curl and aiohttp encode them differently; paths in filenames are kept."""
    (found,) = await read(form(part(b'Content-Disposition: ' + field)))
    assert names == found[:2]


@pytest.mark.parametrize(
    'head',
    [
        [b'X: y'],
        [b'Content-Disposition: '],
        [b'Content-Disposition: form-data'],
        [b'Content-Disposition: form-data; filename="x"'],
        [b"Content-Disposition: form-data; name*=utf-8''"],
        [b'Content-Disposition: form-data; name*=x'],
        [b'Content-Disposition: attachment; name="a"'],
        [b'Content-Disposition: form-datax; name="a"'],
        [b'Content-Disposition: form-data; name="a'],
        [b'Content-Disposition: form-data; name="a"b"'],
        [rb'Content-Disposition: form-data; name="a\"; filename=b"'],
        [rb'Content-Disposition: form-data; name="a\"; filename=\"b"'],
        [b'Content-Disposition: form-data; name="a" b'],
        [b'Content-Disposition: form-data; name="a"; name="b"'],
        [b'Content-Disposition: form-data; name="a"; NAME=b'],
        [A, A],
        [A, *[b'X: y'] * 130],
        [A, b'Content-Transfer-Encoding: 7bit', b'content-transfer-encoding: base64'],
        [A, b'no colon'],
        [A, b' folded: x'],
        [A, b'\tfolded'],
        [b' ' + A],
        [A, b'X: \0'],
        [A, b'X: y\rZ: z'],
        [A, b'X: y\nZ: z'],
        [A, b'X : y'],
        [A, b': y'],
        [A, 'é: y'.encode()],
        [A, b'Content-Transfer-Encoding: base64'],
        [A, b'Content-Transfer-Encoding: Quoted-Printable'],
        [A, b'Content-Transfer-Encoding: x'],
    ],
)
async def test_a_malformed_or_ambiguous_head_is_an_error(head):
    """A part has one name, in one form, and is not encoded (RFC 7578 4.2 and 4.7)."""
    with pytest.raises(ProtocolError):
        await read(form(part(*head)))


@pytest.mark.parametrize('encoding', [b'7bit', b'8bit', b'BINARY'])
async def test_a_transfer_encoding_that_changes_nothing_is_ignored(encoding):
    """Some clients send ``7bit``, ``8bit`` or ``binary``."""
    data = form(part(A, b'Content-Transfer-Encoding: ' + encoding, body=b'=41'))
    assert [('a', None, None, b'=41')] == await read(data)


@pytest.mark.parametrize('length', [b'0', b'1', b'3', b'1000', b'-1', b'x'])
async def test_the_content_length_of_a_part_is_ignored(length):
    """Only the boundary ends a part (RFC 7578 4.8)."""
    data = form(part(A, b'Content-Length: ' + length, body=b'one'), part(A))
    assert [b'one', b'x'] == [found[3] for found in await read(data)]


async def test_a_compressed_part_is_not_decoded():
    """A part cannot be a decompression bomb: its coding is not decoded (RFC 7578 4.8)."""
    body = gzip.compress(bytes(1000), mtime=0)
    data = form(part(A, b'Content-Encoding: gzip', body=body))
    assert [body] == [found[3] for found in await read(data)]


@pytest.mark.parametrize(
    'kind', [b'multipart/mixed', b'multipart/mixed; boundary=c', b'multipart/related; boundary=b']
)
async def test_a_part_that_is_multipart_is_read_as_bytes(kind):
    """A file that is multipart itself, such as a page archive, is read like any other."""
    body = form(part(A, boundary=b'c'), end=b'--c--')
    data = form(part(A + b'; filename="page.mht"', b'Content-Type: ' + kind, body=body), part(A))
    assert [('a', 'page.mht', kind.decode(), body), ('a', None, None, b'x')] == await read(data)


@pytest.mark.parametrize('boundary', ['b', 'b' * 70], ids=len)
async def test_the_field_charset_is_a_field(boundary):
    """The field ``_charset_`` is read like any other, wherever it is."""
    first = boundary.encode()
    charset = b'Content-Disposition: form-data; name="_charset_"'
    heads = [charset, A, charset, charset]
    data = form(*[part(head, boundary=first) for head in heads], end=b'--%b--' % first)
    found = await read(data, kind=f'multipart/form-data; boundary={boundary}')
    assert ['_charset_', 'a', '_charset_', '_charset_'] == [name for name, *_ in found]


@pytest.mark.parametrize(
    'data',
    [
        form(part(A, body=b'--b')),
        form(part(A, body=b'one\r\n--bc\r\ntwo')),
        form(part(A, body=b'one\r\n--b-\r\ntwo')),
        form(part(A, body=b'one\r\n--b--two')),
        form(part(A, body=b'one\r\n--b \rtwo')),
        form(part(A, body=b'one\r\n--b --')),
        form(part(A), end=b'--b- -\r\n'),
        form(part(A), end=b'\n--b--\r\n'),
        b'preamble\n' + form(part(A)),
        b'--bc\r\n' + form(part(A)),
        b'--b\r\n' + A + b'\r\n\r\n--b--\r\n',
        b'--b\r\n' + A + b'\r\n--b--\r\n',
        form(part(A)).replace(b'\r\n', b'\n'),
        form(part(A)).replace(b'\r\n', b'\r'),
        b'',
        b'\r\n',
        b'--c--\r\n',
    ],
)
async def test_a_body_without_exact_boundaries_is_an_error(data):
    """Two parsers could disagree on the parts of such a body."""
    with pytest.raises(ProtocolError):
        await read(data)


@pytest.mark.parametrize(
    'kind',
    [
        '',
        'multipart/form-data',
        'multipart/form-data; boundary',
        'multipart/form-data; boundary=',
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary=b; boundary=c',
        'multipart/form-data; boundary="b "',
        'multipart/form-data; boundary="b\r"',
        'multipart/form-data; boundary="b;c"',
        'multipart/form-data; boundary=é',
        'multipart/form-data; boundary=\udcff',
        'multipart/form-data; boundary=' + 'b' * 71,
    ],
)
async def test_a_missing_or_malformed_boundary_is_an_error(kind):
    """None, two, and one that RFC 2046 does not allow are errors before a byte is read."""
    with pytest.raises(ProtocolError, match='boundary'):
        ReceivedMultipart(kind, arriving(b'', 1))


@pytest.mark.parametrize(
    ('boundary', 'written'),
    [('b', 'b'), ("'()+_,-./:=? b", '''"'()+_,-./:=? b"'''), ('=_a/b', '=_a/b')],
)
async def test_a_boundary_may_have_all_characters_of_the_standard(boundary, written):
    """The characters are those of RFC 2046 5.1.1, quoted or not."""
    assert BOUNDARY.fullmatch(boundary)
    data = form(part(A, boundary=boundary.encode()), end=f'--{boundary}--'.encode())
    assert 1 == len(await read(data, kind=f'multipart/form-data; charset=x; BOUNDARY={written}'))


async def test_a_part_may_be_skipped():
    """The next part is found whether the one before was read, begun or neither."""
    body = ReceivedMultipart(KIND, arriving(form(*[part(A, body=b'x' * 200_000)] * 3), 1000))
    first = await body.next()
    assert b'x' == (await anext(aiter(first)))[:1]
    assert ['a', 'a', None] == [
        found and found.name for found in [await body.next() for _ in '123']
    ]


PIECES = st.lists(
    st.sampled_from([b'--b', b'\r\n', b'--b--', b'\r\n--b\r\n', A, b'\r\n\r\n', b'--', b'-', b':'])
    | st.binary(max_size=3)
).map(b''.join)


@settings(deadline=None)
@given(PIECES, st.integers(1, 9))
def test_any_bytes_are_parts_or_an_error(data, size):
    """Any bytes are parsed or raise a ProtocolError, the same however they are cut."""
    found = []
    for each in (size, 1000):
        try:
            found.append(asyncio.run(read(data, size=each)))
        except ProtocolError:
            found.append(None)
    assert found[0] == found[1]


BODIES = st.lists(st.binary(max_size=9) | st.sampled_from([b'\r\n', b'\r\n--', b'-', b'\r', b'\n']))
BOUNDARIES = st.text("bB0'()+_,-./:=?", min_size=1, max_size=70)
PADDING = st.sampled_from([b'', b' ', b'\t '])


@settings(deadline=None)
@given(st.lists(BODIES.map(b''.join)), BOUNDARIES, PADDING, PADDING, st.integers(1, 99))
def test_parts_are_read_as_they_were_written(bodies, boundary, preamble, padding, size):
    """Any bytes without the boundary come back, whatever the boundary and however they are cut."""
    dashes = b'--' + boundary.encode()
    bodies = [body for body in bodies if dashes not in b'\r\n' + body + b'\r\n']
    heads = [part(A, body=body, boundary=boundary.encode()) for body in bodies]
    whole = form(*[head.replace(dashes, dashes + padding, 1) for head in heads], end=dashes + b'--')
    kind = f'multipart/form-data; boundary="{boundary}"'
    found = asyncio.run(read(preamble + b'\r\n' + whole + padding, kind=kind, size=size))
    assert bodies == [body for *_, body in found]


URLENCODED = Headers({'Content-Type': 'application/x-www-form-urlencoded'})
OPEN_FILES = Path('/proc/self/fd')


def typed(kind):
    """Return headers with a Content-Type."""
    return Headers({'Content-Type': kind})


async def arriving_form(data, size):
    """Yield bytes in chunks of a size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_parts(parts, *, size=None, **options):
    """Encode parts as a body, whole or in chunks of a size, and read it."""
    kind, body = encode_multipart(parts)
    return await read_form(
        typed(kind), body if size is None else arriving_form(body, size), **options
    )


def upload(body, name='f', filename='x.bin'):
    """Make a part that is a file."""
    return {'name': name, 'filename': filename, 'body': body}


def file(body, filename='x.bin', content_type='application/octet-stream'):
    """Make the table of a file."""
    return {'filename': filename, 'content_type': content_type, 'body': body}


def close_files(form):
    """Close the files of a form."""
    for value in form.values():
        if not isinstance(value, str) and not isinstance(value['body'], bytes):
            value['body'].close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Put temporary files into a folder, and return a function that lists the open ones."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))

    def opened():
        gc.collect()
        names = [os.readlink(entry) for entry in OPEN_FILES.iterdir() if entry.is_symlink()]
        return [name for name in names if name.startswith(str(tmp_path))]

    return opened


on_linux = pytest.mark.skipif(not OPEN_FILES.exists(), reason='open files cannot be listed')

TEXT = st.text(st.characters(codec='utf-8'))
# No other control characters are allowed; the escapes of quotes and line ends do not come back.
NAMES = st.text(
    st.characters(codec='utf-8', exclude_categories=['Cc']) | st.sampled_from('\r\n"\\;')
).filter(lambda name: not any(code in name for code in ('%22', '%0D', '%0A')))
PARTS = st.lists(
    st.fixed_dictionaries({'name': NAMES.filter('_charset_'.__ne__), 'body': TEXT})
    | st.fixed_dictionaries(
        {
            'name': st.sampled_from(['a', 'b"']),
            'body': st.binary() | st.sampled_from([b'\r\n--', b'\r\n' * 99]),
            'filename': NAMES,
        },
        optional={'content_type': st.sampled_from(['image/png', 'text/plain; charset=x'])},
    )
)


@settings(deadline=None)
@given(PARTS, st.none() | st.integers(1, 500))
def test_encoded_forms_are_read_back(parts, size):
    """A form is read as it was encoded, in order, however it is cut."""
    expected = [
        (part['name'], part['body'])
        if 'filename' not in part
        else (
            part['name'],
            {'content_type': 'application/octet-stream'}
            | {key: value for key, value in part.items() if key != 'name'},
        )
        for part in parts
    ]
    form = asyncio.run(read_parts(parts, size=size))
    assert expected == list(form.items())


QUERY = st.text('ab&&==++%%é 0123456789abcdefABCDEF;\udcff', max_size=40)


@settings(deadline=None)
@given(QUERY, st.integers(1, 9))
def test_an_urlencoded_form_is_parsed_like_a_query(query, size):
    """Each name has the values that ``url.decode`` returns, in their order."""
    body = query.encode('utf-8', 'surrogateescape')
    form = asyncio.run(read_form(URLENCODED, arriving_form(body, size), max_fields=None))
    lists = {name: form.getall(name) for name in form}
    assert url.decode(query) == {
        name: values[0] if len(values) == 1 else values for name, values in lists.items()
    }


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        (b'', []),
        (b'a=1&b=2&a=3', [('a', '1'), ('b', '2'), ('a', '3')]),
        (b'a+b=c%20d%C3%A9', [('a b', 'c dé')]),
        (b'%FF=\xfe&x', [('\udcff', '\udcfe'), ('x', '')]),
    ],
)
async def test_an_urlencoded_form_keeps_its_order(body, expected):
    """Fields and repeats are in order, and no byte is lost."""
    assert expected == list((await read_form(URLENCODED, body)).items())
    kind = 'Application/X-WWW-Form-URLencoded ; charset=utf-16'
    assert expected == list((await read_form(typed(kind), body)).items())


@pytest.mark.parametrize(
    'kind', ['', 'text/plain', 'multipart/mixed; boundary=b', 'multipart', 'multipart/form-data2']
)
async def test_a_body_of_another_type_is_not_a_form(kind):
    """A body that is neither urlencoded nor multipart/form-data is a ProtocolError."""
    with pytest.raises(ProtocolError, match=f"not a form: its Content-Type is '{kind}'"):
        await read_form(typed(kind), b'a=b')
    with pytest.raises(ProtocolError, match="not a form: its Content-Type is ''"):
        await read_form(Headers(), b'a=b')


def text_part(body, kind=None, name='a'):
    """Make a field whose part has a type."""
    return {'name': name, 'body': body} | ({'content_type': kind} if kind else {})


CHARSET = text_part('windows-1252', name='_charset_')


@pytest.mark.parametrize(
    ('parts', 'text'),
    [
        ([text_part(b'\xc3\xa9')], 'é'),
        ([text_part(b'\xe9')], '\udce9'),
        ([text_part(b'\xe9', 'text/plain; charset=ISO-8859-1')], 'é'),
        ([text_part(b'\x80'), CHARSET], '€'),
        ([CHARSET, text_part(b'\x80', 'text/plain')], '€'),
        ([CHARSET, text_part(b'\xe2\x82\xac', 'text/plain; charset=utf-8')], '€'),
        ([text_part('punycode', name='_charset_'), text_part(b'\xff')], '\udcff'),
        ([text_part('x' * 500_000, name='_charset_'), text_part(b'\xff')], '\udcff'),
        ([upload(b'latin-1', '_charset_'), text_part(b'\xff')], '\udcff'),
        ([text_part(b'\xff', 'text/plain; charset=punycode')], '\udcff'),
        ([text_part(b'{}', 'application/json')], '{}'),
    ],
)
async def test_a_field_is_decoded_with_its_charset(parts, text):
    """It is the part's, the form's, or UTF-8; a charset without a lossless codec is not used."""
    form = await read_parts(parts)
    assert text == form['a']
    assert len(parts) == len(form)


@pytest.mark.parametrize('spool', [None, 0, 10])
async def test_a_part_with_a_filename_is_a_file(spool):
    """Even with an empty one, which browsers send if no file was chosen."""
    form = await read_parts(
        [upload(b'', filename=''), upload(b'x' * 20, filename='../a')], spool=spool
    )
    first, second = form.getall('f')
    assert ['', '../a'] == [first['filename'], second['filename']]
    if spool is not None:
        first, second = ({**one, 'body': one['body'].read()} for one in (first, second))
    assert [file(b'', ''), file(b'x' * 20, '../a')] == [first, second]
    close_files(form)


MANY = [text_part('x'), upload(b'y')] * 3


@pytest.mark.parametrize(
    ('limit', 'fits'), [('max_fields', 3), ('max_files', 3), ('max_text', 3), ('max_size', None)]
)
@pytest.mark.parametrize('spool', [None, 0])
async def test_a_form_has_limits(limit, fits, spool):
    """A field, a file or a byte beyond a limit is an error that names the limit."""
    fits = len(encode_multipart(MANY)[1]) if fits is None else fits
    for allowed in (fits, None):
        form = await read_parts(MANY, spool=spool, **{limit: allowed})
        assert 6 == len(form)
        close_files(form)
    with pytest.raises(BodyTooLarge, match=f'the form passed {limit}'):
        await read_parts(MANY, spool=spool, **{limit: fits - 1})


@pytest.mark.parametrize(
    ('limit', 'fits'), [('max_fields', 2), ('max_text', 7), ('max_size', 7), ('max_files', 1)]
)
async def test_an_urlencoded_form_has_limits(limit, fits):
    """The same limits hold, except that of files, which it cannot have."""
    body = b'a=1&b=2'
    for allowed in (fits, None):
        assert 2 == len(await read_form(URLENCODED, body, **{limit: allowed}))
    if limit != 'max_files':
        with pytest.raises(BodyTooLarge, match=f'the form passed {limit}'):
            await read_form(URLENCODED, body, **{limit: fits - 1})


async def test_a_limit_stops_the_reading():
    """A form that exceeds a limit is read no further."""
    for options in ({'max_size': 9000}, {'max_text': 9000}):
        taken = []

        async def flood(taken=taken):
            for chunk in itertools.repeat(b'&' * 1000):
                taken.append(chunk)
                yield chunk

        async with aclosing(flood()) as chunks:
            with pytest.raises(BodyTooLarge):
                await read_form(URLENCODED, chunks, **options)
        assert 10 == len(taken)


@pytest.mark.parametrize('size', [None, 1000])
async def test_a_form_of_many_parts_does_not_block_the_loop(size):
    """Other tasks run between the parts."""
    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turning())
    await read_parts([text_part('x')] * 500, size=size)
    task.cancel()
    await asyncio.wait([task])
    assert turns >= 500


BIG = bytes(range(256)) * 1000


@on_linux
@pytest.mark.parametrize(('spool', 'on_disk'), [(0, True), (1000, True), (len(BIG), False)])
async def test_a_large_file_is_on_disk(folder, tmp_path, spool, on_disk):
    """The file has no name, is open at its start, and is deleted when it is closed."""
    form = await read_parts(
        [text_part('x'), upload(BIG, filename=str(tmp_path / 'x'))], spool=spool
    )
    assert on_disk == bool(folder())
    assert [] == list(tmp_path.iterdir())
    body = form['f']['body']
    assert BIG == body.read()
    assert (0, BIG[:5]) == (body.seek(0), body.read(5))
    body.close()
    assert [] == folder()


async def test_a_file_is_written_batch_by_batch(monkeypatch):
    """The batches are written in order, each once."""
    monkeypatch.setattr(multipart, 'BATCH', 100_000)
    form = await read_parts([upload(BIG)], spool=70_000)
    assert BIG == form['f']['body'].read()
    close_files(form)


@on_linux
@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'max_fields': 0}, BodyTooLarge),
        ({'max_size': len(BIG) + 500}, BodyTooLarge),
        ({}, ProtocolError),
    ],
)
async def test_a_form_that_fails_leaves_no_file(folder, options, error):
    """Files that were written before the error are closed."""
    kind, body = encode_multipart([upload(BIG), upload(b'x'), text_part('x' * 500), upload(BIG)])
    with pytest.raises(error):
        await read_form(typed(kind), body[:-300], spool=0, **options)
    assert [] == folder()


@on_linux
async def test_a_form_that_is_cancelled_leaves_no_file(folder, until, monkeypatch):
    """Cancelling while the body still arrives closes the files."""
    monkeypatch.setattr(multipart, 'BATCH', 1)
    kind, body = encode_multipart([upload(b'x' * 500)] * 2)

    async def hanging():
        yield body[:-300]
        await asyncio.Event().wait()

    async with aclosing(hanging()) as chunks:
        task = asyncio.create_task(read_form(typed(kind), chunks, spool=0))
        await until(lambda: len(folder()) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [] == folder()


class Held(ThreadPoolExecutor):
    """An executor with one thread, which is busy until ``go`` is set."""

    def __init__(self):
        super().__init__(1)
        self.go, self.asked = threading.Event(), 0
        self.submit(self.go.wait)

    def submit(self, *work):
        """Count the calls."""
        self.asked += 1
        return super().submit(*work)


@on_linux
async def test_a_file_is_closed_once_its_thread_is_done(folder, until):
    """A read that is cancelled while a thread writes a file waits, and then closes the file."""
    held = Held()
    asyncio.get_running_loop().set_default_executor(held)
    task = asyncio.create_task(read_parts([upload(BIG)], spool=0))
    await until(lambda: held.asked == 2)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (2, []) == (held.asked, folder())


async def test_an_error_of_the_disk_is_raised(tmp_path, monkeypatch):
    """If no file can be created, the OSError is raised as it is."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError):
        await read_parts([upload(BIG)], spool=0)


# Bodies recorded from real clients.
HTTPX = b"""--B\r
Content-Disposition: form-data; name="t \xc3\xa9"\r\n\r\nv \xc3\xa9\r
--B\r
Content-Disposition: form-data; name="a%22b"; filename="x%22y;z;\xc3\xa9.txt"\r
Content-Type: text/plain\r\n\r\ndata\r
--B\r
Content-Disposition: form-data; name="up"; filename="d.bin"\r
Content-Type: application/octet-stream\r\n\r\n\x00\xff\r
--B--\r\n"""
NIQUESTS = HTTPX.replace(b'Content-Type: application/octet-stream\r\n', b'')
CHROME = HTTPX.replace(b'--B', b'------WebKitFormBoundaryRyPZoBqLT0tIpjV2')


@pytest.mark.parametrize(
    ('boundary', 'body'),
    [('B', HTTPX), ('B', NIQUESTS), ('----WebKitFormBoundaryRyPZoBqLT0tIpjV2', CHROME)],
    ids=['httpx2', 'niquests', 'Chrome'],
)
async def test_the_body_of_a_client_is_read(boundary, body):
    """Names with quotes, semicolons and non-ASCII letters are read as the client meant them."""
    form = await read_form(typed(f'multipart/form-data; boundary={boundary}'), body)
    assert [
        ('t é', 'v é'),
        ('a"b', file(b'data', 'x"y;z;é.txt', 'text/plain')),
        ('up', file(b'\x00\xff', 'd.bin')),
    ] == list(form.items())


async def received(send):
    """Return the form that a client sends to a server."""
    forms = []

    async def callback(request):
        forms.append(await read_form(request.headers, request.get('body', b'')))
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, callback, into='bytes') as server:
        await send(server.url)
    return list(forms[0].items())


@pytest.mark.skipif(not shutil.which('curl'), reason='no curl')
async def test_a_form_of_curl_is_read(tmp_path):
    """Fields, files, types and names are those given to curl."""
    (tmp_path / 'a;b;c é.txt').write_bytes(b'\r\n--\x00')
    (tmp_path / 'b').write_bytes(BIG)

    async def send(to):
        arguments = [
            'text=é',
            'json={};type=application/json',
            f'one=@"{tmp_path}/a;b;c é.txt"',
            f'two=@{tmp_path}/b;type=image/png;filename="q\\"\\\\ü"',
            f'three=@{tmp_path}/b',
            f'three=@{tmp_path}/b;encoder=8bit',
            f'four=<{tmp_path}/b',
        ]
        fields = [argument for field in arguments for argument in ('-F', field)]
        done = await asyncio.create_subprocess_exec('curl', '-sSf', *fields, to)
        assert 0 == await done.wait()

    found = await received(send)
    big = file(BIG, 'b')
    assert [
        ('text', 'é'),
        ('json', '{}'),
        ('one', file(b'\r\n--\x00', 'a;b;c é.txt', 'text/plain')),
        ('two', file(BIG, 'q"\\ü', 'image/png')),
        ('three', big),
    ] == found[:5]
    assert ['three', 'four'] == [name for name, _ in found[5:]]
    assert BIG == found[6][1].encode('utf-8', 'surrogateescape')


@pytest.mark.parametrize('quoted', [True, False])
async def test_a_form_of_aiohttp_is_read(quoted):
    """aiohttp's client percent-encodes filenames by default."""

    async def send(to):
        form = aiohttp.FormData(quote_fields=quoted)
        form.add_field('text', 'ü')
        form.add_field('latin', 'ü', content_type='text/plain; charset=iso-8859-1')
        form.add_field('é', BIG, filename='a "é".bin', content_type='image/png')
        async with aiohttp.ClientSession() as session, session.post(to, data=form) as response:
            assert 200 == response.status

    filename = 'a%20%22%C3%A9%22.bin'.replace('%22', '"') if quoted else 'a "é".bin'
    assert [
        ('text', 'ü'),
        ('latin', 'ü'),
        ('é', file(BIG, filename, 'image/png')),
    ] == await received(send)


async def test_a_form_can_be_read_from_a_connection():
    """A form is read while its body arrives, and its file is written to disk."""
    seen = []

    async def handler(request):
        headers = Headers(request.headers)
        form = await read_form(headers, request.content.iter_any(), spool=1000)
        seen.extend([form['a'], form['f']['body'].read() == BIG * 20])
        close_files(form)
        return web.Response()

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    kind, body = encode_multipart([text_part('x'), upload(BIG * 20)])
    to = f'http://127.0.0.1:{runner.addresses[0][1]}/'
    response = await http.request(url=to, method='POST', headers=typed(kind), body=body)
    await runner.cleanup()
    assert (200, ['x', True]) == (response.status, seen)
