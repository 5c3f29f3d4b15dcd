"""The parts of a multipart body: all of them, as they were sent, or an error."""

import asyncio
import gzip

import pytest
from aiohttp import BodyPartReader, MultipartReader, StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies.multipart import BOUNDARY, MAX_HEAD, MultipartBody
from aioluahttp.errors import BodyTooLarge, ProtocolError

KIND = 'multipart/form-data; boundary=b'


async def arriving(data, size):
    """Give bytes in chunks of a size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b''


async def read(data, *, kind=KIND, size=1000):
    """Read a body as a list of name, filename, type and body."""
    body, found = MultipartBody(kind, arriving(data, size)), []
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


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (MultipartReader.__init__, ['self', 'headers', 'content']),
        (MultipartReader.next, ['self']),
        (BodyPartReader.__init__, ['self', 'boundary', 'headers', 'content']),
        (BodyPartReader.at_eof, ['self']),
        (BodyPartReader.read_chunk, ['self', 'size']),
        (StreamReader.read, ['self', 'n']),
        (StreamReader.readline, ['self']),
        (StreamReader.unread_data, ['self', 'data']),
        (StreamReader.at_eof, ['self']),
    ],
)
def test_aiohttp_has_what_the_parts_stand_on(parameters, function, expected):
    """The reader calls what it is given as it did, and makes parts by its two attributes."""
    assert expected == parameters(function)
    assert MultipartReader.part_reader_cls is BodyPartReader
    assert MultipartReader.multipart_reader_cls is None


@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000])
async def test_the_parts_come_in_order(size):
    """Fields and files have their names, types and bytes, however they arrive."""
    assert [('a', None, None, b'one'), ('a', 'f', 'a/b', b'\r\n--')] == await read(TWO, size=size)


@pytest.mark.parametrize(
    'body', [b'', b'\r\n', b'\r\n\r\n', b'\n--b--', b'\r\n--', b'-', b'\r\n--a', b'x' * 200_000]
)
@pytest.mark.parametrize('size', [5, 65536])
async def test_a_body_is_taken_byte_for_byte(body, size):
    """What looks like a boundary and is none belongs to the body."""
    assert [('a', None, None, body)] * 2 == await read(form(*[part(A, body=body)] * 2), size=size)


@pytest.mark.parametrize('size', [1, 1000])
async def test_a_body_that_is_cut_off_is_an_error(size):
    """Wherever it ends before its last boundary, there is no form, and no shorter one."""
    whole = TWO.index(b'--b--') + len(b'--b--')
    for end in range(whole):
        with pytest.raises(ProtocolError, match=r'has to|cut off'):
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
    """A body that only ends is a form; what stands before and after is nothing."""
    assert [] == await read(data, size=size)


async def test_what_stands_before_and_after_is_nothing():
    """A preamble and an epilogue are passed over (RFC 2046 5.1.1)."""
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
async def test_lines_without_end_are_too_large(data, size):
    """A head, a preamble and an epilogue have a limit, of all their lines together."""
    with pytest.raises(BodyTooLarge, match=f'passed {MAX_HEAD} bytes'):
        await read(data, size=size)


async def test_each_head_has_the_limit_to_itself():
    """Many heads may be more than one may be."""
    data = form(*[part(A, b'X: ' + b'y' * (MAX_HEAD - 100))] * 3)
    assert 3 == len(await read(data))


async def test_an_endless_preamble_is_not_read():
    """Bytes without a boundary are taken up to the limit, not to their end."""
    taken = 0

    async def flood():
        nonlocal taken
        while True:
            taken += 4
            yield b'xyz\n'

    chunks = flood()
    with pytest.raises(BodyTooLarge):
        await MultipartBody(KIND, chunks).next()
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
async def test_names_are_read_as_they_are_written(field, names):
    """Names come as browsers, curl and aiohttp write them, and are left as they are."""
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
        [A, b'X: \0'],
        [A, b'Content-Transfer-Encoding: base64'],
        [A, b'Content-Transfer-Encoding: Quoted-Printable'],
        [A, b'Content-Transfer-Encoding: x'],
    ],
)
async def test_a_head_that_says_two_things_or_none_is_an_error(head):
    """A part has one name, in one form, and is not encoded (RFC 7578 4.2 and 4.7)."""
    with pytest.raises(ProtocolError):
        await read(form(part(*head)))


@pytest.mark.parametrize('encoding', [b'7bit', b'8bit', b'BINARY'])
async def test_an_encoding_that_changes_nothing_is_passed_over(encoding):
    """Some clients say that a body is as it is."""
    data = form(part(A, b'Content-Transfer-Encoding: ' + encoding, body=b'=41'))
    assert [('a', None, None, b'=41')] == await read(data)


@pytest.mark.parametrize('length', [b'0', b'1', b'3', b'1000', b'-1', b'x'])
async def test_a_length_of_a_part_is_no_length(length):
    """What a part says of its length does not move its end (RFC 7578 4.8)."""
    data = form(part(A, b'Content-Length: ' + length, body=b'one'), part(A))
    assert [b'one', b'x'] == [found[3] for found in await read(data)]


async def test_a_compressed_part_is_left_alone():
    """No part is a bomb: its content coding is not undone (RFC 7578 4.8)."""
    body = gzip.compress(bytes(1000), mtime=0)
    data = form(part(A, b'Content-Encoding: gzip', body=body))
    assert [body] == [found[3] for found in await read(data)]


@pytest.mark.parametrize(
    'kind', [b'multipart/mixed', b'multipart/mixed; boundary=c', b'multipart/related; boundary=b']
)
async def test_parts_within_a_part_are_its_bytes(kind):
    """A file that is multipart itself, as an archive of a page is, comes as any other."""
    body = form(part(A, boundary=b'c'), end=b'--c--')
    data = form(part(A + b'; filename="page.mht"', b'Content-Type: ' + kind, body=body), part(A))
    assert [('a', 'page.mht', kind.decode(), body), ('a', None, None, b'x')] == await read(data)


@pytest.mark.parametrize('boundary', ['b', 'b' * 70], ids=len)
async def test_the_field_charset_is_a_field(boundary):
    """The field ``_charset_`` comes like any other, wherever it stands."""
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
        form(part(A)).replace(b'\r\n', b'\n'),
        form(part(A)).replace(b'\r\n', b'\r'),
        b'',
        b'\r\n',
        b'--c--\r\n',
    ],
)
async def test_a_boundary_that_is_none_is_an_error(data):
    """Two parsers could not agree on where such a body has its parts."""
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
async def test_a_boundary_has_to_be_named(kind):
    """None, two, and what RFC 2046 does not allow are errors before a byte is read."""
    with pytest.raises(ProtocolError, match='boundary'):
        MultipartBody(kind, arriving(b'', 1))


@pytest.mark.parametrize(
    ('boundary', 'written'),
    [('b', 'b'), ("'()+_,-./:=? b", '''"'()+_,-./:=? b"'''), ('=_a/b', '=_a/b')],
)
async def test_any_boundary_of_the_standard_will_do(boundary, written):
    """All characters of RFC 2046 5.1.1 may be in a boundary."""
    assert BOUNDARY.fullmatch(boundary)
    data = form(part(A, boundary=boundary.encode()), end=f'--{boundary}--'.encode())
    assert 1 == len(await read(data, kind=f'multipart/form-data; charset=x; BOUNDARY={written}'))


async def test_a_part_may_be_skipped():
    """The next part comes whether the one before was read, begun or neither."""
    body = MultipartBody(KIND, arriving(form(*[part(A, body=b'x' * 200_000)] * 3), 1000))
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
    """No bytes raise anything else, and how they arrive does not matter."""
    found = []
    for each in (size, 1000):
        try:
            found.append(asyncio.run(read(data, size=each)))
        except ProtocolError:
            found.append(None)
    assert found[0] == found[1]
