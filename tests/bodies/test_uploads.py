"""Forms that come in: whole, within limits, from whoever sends them."""

import asyncio
import gc
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
from aioluahttp.bodies import uploads
from aioluahttp.bodies.forms import encode_multipart
from aioluahttp.bodies.uploads import close_form, read_form
from aioluahttp.errors import BodyTooLarge, ProtocolError
from aioluahttp.headers import Headers

URLENCODED = Headers({'Content-Type': 'application/x-www-form-urlencoded'})
OPEN_FILES = Path('/proc/self/fd')


def typed(kind):
    """Make headers of a Content-Type."""
    return Headers({'Content-Type': kind})


async def arriving(data, size):
    """Give bytes in chunks of a size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(parts, *, size=None, **options):
    """Write parts as a body, whole or in chunks of a size, and read it."""
    kind, body = encode_multipart(parts)
    return await read_form(typed(kind), body if size is None else arriving(body, size), **options)


def upload(body, name='f', filename='x.bin'):
    """Make a part that is a file."""
    return {'name': name, 'filename': filename, 'body': body}


def file(body, filename='x.bin', content_type='application/octet-stream'):
    """Make the table of a file."""
    return {'filename': filename, 'content_type': content_type, 'body': body}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Have temporary files in a folder of their own; give those that are open in it."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))

    def opened():
        gc.collect()
        names = [os.readlink(entry) for entry in OPEN_FILES.iterdir() if entry.is_symlink()]
        return [name for name in names if name.startswith(str(tmp_path))]

    return opened


on_linux = pytest.mark.skipif(not OPEN_FILES.exists(), reason='open files are not to be seen')


TEXT = st.text(st.characters(codec='utf-8'))
# A name has no other control character, and cannot have what stands for a quote or a line end.
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
def test_what_is_written_reads_back(parts, size):
    """A form comes back as it was, in order, however it arrives."""
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
    form = asyncio.run(read(parts, size=size))
    assert expected == list(form.items())


QUERY = st.text('ab&&==++%%é 0123456789abcdefABCDEF;\udcff', max_size=40)


@settings(deadline=None)
@given(QUERY, st.integers(1, 9))
def test_an_urlencoded_form_is_read_as_a_query(query, size):
    """Each name has the values that ``url.decode`` gives it, in their order."""
    body = query.encode('utf-8', 'surrogateescape')
    form = asyncio.run(read_form(URLENCODED, arriving(body, size), max_fields=None))
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
    """Fields come in order, repeats too, and no byte is lost."""
    assert expected == list((await read_form(URLENCODED, body)).items())
    kind = 'Application/X-WWW-Form-URLencoded ; charset=utf-16'
    assert expected == list((await read_form(typed(kind), body)).items())


@pytest.mark.parametrize(
    'kind', ['', 'text/plain', 'multipart/mixed; boundary=b', 'multipart', 'multipart/form-data2']
)
async def test_another_body_is_no_form(kind):
    """A body of any other type is not read."""
    with pytest.raises(ProtocolError, match=f"no form: its Content-Type is '{kind}'"):
        await read_form(typed(kind), b'a=b')
    with pytest.raises(ProtocolError, match="no form: its Content-Type is ''"):
        await read_form(Headers(), b'a=b')


def text_part(body, kind=None, name='a'):
    """Make a field whose part names a type."""
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
async def test_a_field_is_text_of_its_charset(parts, text):
    """The part's charset, the form's, or UTF-8; what is not lossless is never looked up."""
    form = await read(parts)
    assert text == form['a']
    assert len(parts) == len(form)


@pytest.mark.parametrize('spool', [None, 0, 10])
async def test_a_file_is_what_has_a_filename(spool):
    """So is what a browser sends for a file that was not chosen."""
    form = await read([upload(b'', filename=''), upload(b'x' * 20, filename='../a')], spool=spool)
    first, second = form.getall('f')
    assert ['', '../a'] == [first['filename'], second['filename']]
    if spool is not None:
        first, second = ({**one, 'body': one['body'].read()} for one in (first, second))
    assert [file(b'', ''), file(b'x' * 20, '../a')] == [first, second]
    close_form(form)


MANY = [text_part('x'), upload(b'y')] * 3


@pytest.mark.parametrize(
    ('limit', 'fits'), [('max_fields', 3), ('max_files', 3), ('max_text', 3), ('max_size', None)]
)
@pytest.mark.parametrize('spool', [None, 0])
async def test_a_form_has_limits(limit, fits, spool):
    """What fits is read; a field, a file or a byte more is an error that names the limit."""
    fits = len(encode_multipart(MANY)[1]) if fits is None else fits
    for allowed in (fits, None):
        form = await read(MANY, spool=spool, **{limit: allowed})
        assert 6 == len(form)
        close_form(form)
    with pytest.raises(BodyTooLarge, match=f'the form passed {limit}'):
        await read(MANY, spool=spool, **{limit: fits - 1})


@pytest.mark.parametrize(
    ('limit', 'fits'), [('max_fields', 2), ('max_text', 7), ('max_size', 7), ('max_files', 1)]
)
async def test_an_urlencoded_form_has_limits(limit, fits):
    """The same limits hold, but for files, of which it has none."""
    body = b'a=1&b=2'
    for allowed in (fits, None):
        assert 2 == len(await read_form(URLENCODED, body, **{limit: allowed}))
    if limit != 'max_files':
        with pytest.raises(BodyTooLarge, match=f'the form passed {limit}'):
            await read_form(URLENCODED, body, **{limit: fits - 1})


async def test_a_limit_stops_the_reading():
    """What passes a limit is not read to its end."""
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
async def test_others_have_their_turn(size):
    """A form of many parts does not hold the loop for all of them."""
    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turning())
    await read([text_part('x')] * 500, size=size)
    task.cancel()
    await asyncio.wait([task])
    assert turns >= 500


BIG = bytes(range(256)) * 1000


@on_linux
@pytest.mark.parametrize(('spool', 'on_disk'), [(0, True), (1000, True), (len(BIG), False)])
async def test_a_large_file_is_on_disk(folder, tmp_path, spool, on_disk):
    """It has no name there, is open at its start, and is gone once it is closed."""
    form = await read([text_part('x'), upload(BIG, filename=str(tmp_path / 'x'))], spool=spool)
    assert on_disk == bool(folder())
    assert [] == list(tmp_path.iterdir())
    body = form['f']['body']
    assert BIG == body.read()
    assert (0, BIG[:5]) == (body.seek(0), body.read(5))
    close_form(form)
    assert body.closed
    assert [] == folder()


async def test_a_file_is_written_batch_by_batch(monkeypatch):
    """In order, and none of it twice."""
    monkeypatch.setattr(uploads, 'BATCH', 100_000)
    form = await read([upload(BIG)], spool=70_000)
    assert BIG == form['f']['body'].read()
    close_form(form)


async def test_closing_a_form_without_files_does_nothing():
    """Any form can be closed, also twice."""
    form = await read([text_part('x'), upload(b'y')])
    close_form(form)
    assert {'a': 'x', 'f': file(b'y')} == dict(form)
    form = await read([upload(b'y'), upload(BIG)], spool=10)
    close_form(form)
    close_form(form)


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
    """The files before the error are closed, whatever it is."""
    kind, body = encode_multipart([upload(BIG), upload(b'x'), text_part('x' * 500), upload(BIG)])
    with pytest.raises(error):
        await read_form(typed(kind), body[:-300], spool=0, **options)
    assert [] == folder()


@on_linux
async def test_a_form_that_is_cancelled_leaves_no_file(folder, until, monkeypatch):
    """A reader that gives up while the body still comes closes the files."""
    monkeypatch.setattr(uploads, 'BATCH', 1)
    kind, body = encode_multipart([upload(BIG), upload(BIG)])

    async def hanging():
        yield body[:-1000]
        await asyncio.Event().wait()

    async with aclosing(hanging()) as chunks:
        task = asyncio.create_task(read_form(typed(kind), chunks, spool=0))
        await until(lambda: len(folder()) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [] == folder()


class Held(ThreadPoolExecutor):
    """One thread that is busy until it is let go."""

    def __init__(self):
        super().__init__(1)
        self.go, self.asked = threading.Event(), 0
        self.submit(self.go.wait)

    def submit(self, *work):
        """Count what there is to do."""
        self.asked += 1
        return super().submit(*work)


@on_linux
async def test_a_file_is_closed_once_its_thread_is_done(folder, until):
    """Cancelled while a thread makes a file, the reader waits for it, so that it is closed."""
    held = Held()
    asyncio.get_running_loop().set_default_executor(held)
    task = asyncio.create_task(read([upload(BIG)], spool=0))
    await until(lambda: held.asked == 2)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (2, []) == (held.asked, folder())


async def test_an_error_of_the_disk_is_told(tmp_path, monkeypatch):
    """Where no file can be made, that is what is raised."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError):
        await read([upload(BIG)], spool=0)


# Bodies as real clients wrote them.
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
    """What clients write, names of quotes, semicolons and letters included, is what they meant."""
    form = await read_form(typed(f'multipart/form-data; boundary={boundary}'), body)
    assert [
        ('t é', 'v é'),
        ('a"b', file(b'data', 'x"y;z;é.txt', 'text/plain')),
        ('up', file(b'\x00\xff', 'd.bin')),
    ] == list(form.items())


async def received(send):
    """Give the form that a client sends to a server."""
    forms = []

    async def callback(request):
        forms.append(await read_form(request.headers, request.get('body', b'')))
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, callback, into='bytes') as server:
        await send(server.url)
    return list(forms[0].items())


@pytest.mark.skipif(not shutil.which('curl'), reason='no curl')
async def test_a_form_of_curl_is_read(tmp_path):
    """Curl's fields, files, types and names come as they were given."""
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
    """So do those of aiohttp's client, which percent-encodes file names by default."""

    async def send(to):
        form = aiohttp.FormData(quote_fields=quoted)
        form.add_field('text', 'ü')
        form.add_field('latin', 'ü', content_type='text/plain; charset=iso-8859-1')
        form.add_field('é', BIG, filename='a "é".bin', content_type='image/png')
        async with aiohttp.ClientSession() as session, session.post(to, data=form) as answer:
            assert 200 == answer.status

    filename = 'a%20%22%C3%A9%22.bin'.replace('%22', '"') if quoted else 'a "é".bin'
    assert [
        ('text', 'ü'),
        ('latin', 'ü'),
        ('é', file(BIG, filename, 'image/png')),
    ] == await received(send)


async def test_a_form_is_read_as_it_flows():
    """A body is read off its connection, and its file goes to disk."""
    seen = []

    async def handler(request):
        headers = Headers(request.headers)
        form = await read_form(headers, request.content.iter_any(), spool=1000)
        seen.extend([form['a'], form['f']['body'].read() == BIG * 20])
        close_form(form)
        return web.Response()

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    kind, body = encode_multipart([text_part('x'), upload(BIG * 20)])
    to = f'http://127.0.0.1:{runner.addresses[0][1]}/'
    answer = await http.request(url=to, method='POST', headers=typed(kind), body=body)
    await runner.cleanup()
    assert (200, ['x', True]) == (answer.status, seen)
