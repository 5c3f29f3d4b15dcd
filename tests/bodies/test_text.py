"""The text rule: no byte of a body is lost, whatever its Content-Type."""

from __future__ import annotations

import codecs
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies.text import (
    CODECS,
    LOSSLESS,
    READABLE,
    charset_of,
    codec_of,
    from_bytes,
    is_clean,
    readable,
    to_bytes,
)
from aioluahttp.errors import TableError

BYTE = [bytes([one]) for one in range(256)]
PAIRS = [first + second for first, second in product(BYTE, BYTE)]
HIGH, DIGITS = BYTE[0x81:0xFF], BYTE[0x30:0x3A]
MULTIBYTE = ['utf-8', 'shift_jis', 'cp949', 'gbk', 'gb18030']
HOSTILE = """punycode idna rot13 rot_13 utf-7 unicode_escape raw_unicode_escape base64 hex zip
    bz2 uu quopri undefined mbcs oem hz iso-2022-kr utf-32 utf-8-sig nonsense""".split()
CONTENT_TYPES = (
    st.none() | st.text() | st.sampled_from([*CODECS, *HOSTILE]).map('text/html; charset={}'.format)
)


def lossless(data: bytes, codec: str) -> bool:
    """Tell whether the codec, with surrogate escapes, encodes back to the same bytes."""
    return data == data.decode(codec, 'surrogateescape').encode(codec, 'surrogateescape')


@pytest.mark.parametrize('codec', LOSSLESS)
def test_a_codec_of_the_table_loses_no_pair_of_bytes(codec: str) -> None:
    """All 65,792 sequences of one and two bytes come back, separated and not."""
    # A line feed is never the second byte of a character, so it separates them.
    assert lossless(b'\n'.join([*BYTE, *PAIRS]), codec)
    assert lossless(b''.join(PAIRS), codec)


@pytest.mark.parametrize('codec', MULTIBYTE)
def test_a_body_may_end_within_a_character(codec: str) -> None:
    """All sequences of one and two bytes come back if nothing follows them."""
    assert [] == [data for data in [b'', *BYTE, *PAIRS] if not lossless(data, codec)]


@pytest.mark.parametrize(
    ('codec', 'longer'),
    [
        ('utf-8', product(BYTE[0xE0:0xF0], BYTE[0x80:0xC0], BYTE[0x80:0xC0])),
        ('gb18030', product(HIGH, DIGITS, BYTE)),
        ('gb18030', product(HIGH, DIGITS, HIGH, DIGITS)),
    ],
    ids=['utf-8, three', 'gb18030, three', 'gb18030, four'],
)
def test_longer_characters_lose_no_byte(codec: str, longer: product[tuple[bytes, ...]]) -> None:
    """All characters of three and four bytes come back in the codecs that have them."""
    assert lossless(b'\n'.join(map(b''.join, longer)), codec)


@pytest.mark.parametrize(
    ('codec', 'data'),
    [
        ('euc-jp', b'\x8f\xa2\xb7'),  # a tilde, the second way
        ('euc-kr', b'\xa4\xd4\xa4\xa1\xa4\xbf\xa4\xd4'),  # a syllable of its parts
    ],
)
def test_a_codec_that_loses_bytes_is_not_in_the_table(codec: str, data: bytes) -> None:
    """Python's codec encodes these to other bytes; the text rule does not use it."""
    content_type = f'text/plain; charset={codec}'
    assert not lossless(data, codec)
    assert codec not in LOSSLESS
    assert data == to_bytes(from_bytes(data, content_type), content_type)


def test_a_body_may_end_within_a_character_of_four_bytes() -> None:
    """The first three of four bytes come back if nothing follows them."""
    cut = map(b''.join, product(HIGH, DIGITS, HIGH))
    assert [] == [data for data in cut if not lossless(data, 'gb18030')]


@settings(deadline=None)
@given(st.binary(), CONTENT_TYPES)
def test_every_body_keeps_all_its_bytes(data: bytes, content_type: str | None) -> None:
    """Whatever the bytes and the Content-Type, ``to_bytes`` undoes ``from_bytes``."""
    assert data == to_bytes(from_bytes(data, content_type), content_type)


@settings(deadline=None)
@given(st.text(), st.none() | st.just('text/plain; charset=utf-8'))
def test_every_clean_text_survives_utf_8(text: str, content_type: str | None) -> None:
    """Text without surrogates is the same after encoding and decoding."""
    assert text == from_bytes(to_bytes(text, content_type), content_type)


@settings(deadline=None)
@given(st.binary(), CONTENT_TYPES)
def test_every_body_can_be_decoded_for_people(data: bytes, content_type: str | None) -> None:
    """``readable`` never fails, and its text has no surrogates."""
    assert is_clean(readable(data, content_type))


@pytest.mark.parametrize(
    ('content_type', 'charset'),
    [
        ('', None),
        ('text/html', None),
        ('charset=utf-8', None),
        ('text/html; charset=', None),
        ('text/html; charset=""', None),
        ('text/html; xcharset=koi8-r', None),
        ('text/html;charset=KOI8-R', 'koi8-r'),
        ('text/html ; a=b ;\tCharSet = "Koi8-R" ; c=d', 'koi8-r'),
        ('text/html; charset=a; charset=b', 'a'),
        pytest.param('text/html' + '; ' * 10**6, None, id='semicolons'),
        pytest.param('text/html;' + ' ' * 10**6 + 'c', None, id='spaces'),
        pytest.param('; charset' * 10**5 + ' ' * 10**6, None, id='names'),
        pytest.param('; charset =' + ' "' * 10**6, None, id='quotes'),
    ],
)
def test_the_charset_of_a_content_type_is_found(content_type: str, charset: str | None) -> None:
    """The first charset counts, in any case, quoted or not; the search takes linear time."""
    assert charset == charset_of(content_type)


@pytest.mark.parametrize('label', CODECS)
def test_a_label_names_its_codec_in_any_case(label: str) -> None:
    """Each label of the table selects its codec."""
    assert CODECS[label] == codec_of(f'text/plain; charset={label.upper()}')
    assert label in LOSSLESS[CODECS[label]].split()


def test_each_label_has_one_codec() -> None:
    """Each label is in the table once."""
    assert len(CODECS) == sum(len(labels.split()) for labels in LOSSLESS.values())


@pytest.mark.parametrize('codec', sorted({*READABLE.values(), *LOSSLESS}))
def test_python_has_every_codec_of_the_table(codec: str) -> None:
    """Each codec is one of Python's that decodes bytes to text."""
    assert '' == codecs.lookup(codec).decode(b'')[0]


@pytest.mark.parametrize('charset', HOSTILE)
def test_no_other_codec_of_python_runs(charset: str) -> None:
    """A charset outside the tables counts as UTF-8, even if Python has a codec for it."""
    content_type = f'text/plain; charset={charset}'
    assert 'utf-8' == codec_of(content_type)
    assert 'é\udcff+AGE-\\x41' == from_bytes(b'\xc3\xa9\xff+AGE-\\x41', content_type)
    assert 'é\ufffd+AGE-\\x41' == readable(b'\xc3\xa9\xff+AGE-\\x41', content_type)


@pytest.mark.parametrize(
    ('text', 'charset', 'named'),
    [
        ('€', 'latin1', 'latin-1'),
        ('é', 'us-ascii', 'ascii'),
        ('\ud800', 'utf-8', 'utf-8'),
        ('\ud800', 'idna', 'utf-8'),
        ('\udc80', 'iso-8859-5', None),
    ],
)
def test_text_that_the_codec_cannot_encode_is_a_table_error(
    text: str, charset: str, named: str | None
) -> None:
    """Other text is refused; a surrogate escape is not, since it is encoded as its byte."""
    content_type = f'text/plain; charset={charset}'
    if named is None:
        assert b'\x80' == to_bytes(text, content_type)
        return
    with pytest.raises(TableError, match=f"'body' is .* text in {named}"):
        to_bytes('a' * 1000 + text, content_type)


@pytest.mark.parametrize(
    ('text', 'clean'), [('', True), ('aé€😀\0', True), ('\udcff', False), ('a\ud800', False)]
)
def test_a_text_with_surrogates_is_not_clean(text: str, clean: bool) -> None:
    """Only text without surrogates is clean."""
    assert clean is is_clean(text)


@pytest.mark.parametrize(
    ('data', 'content_type', 'text'),
    [
        (b'\xef\xbb\xbfa', None, 'a'),
        (b'\xef\xbb\xbfa', 'text/plain; charset=utf8', 'a'),
        (b'a\xff', None, 'a\ufffd'),
        (b'\xe9', 'text/plain; charset=iso-8859-1', 'é'),
        (b'\xe9', 'text/plain; charset=us-ascii', '\ufffd'),
        (b'\x80', 'text/plain; charset=windows-1252', '€'),
        (b'\x87\x40', 'text/plain; charset=shift_jis', '①'),
        (b'\x81\x41', 'text/plain; charset=euc-kr', '갂'),
        (b'\xa4\xa2\x8f\xb0\xa1', 'text/plain; charset=EUC-JP', 'あ丂'),
        (b'\xa4\xa4', 'text/plain; charset=big5', '中'),
        (b'\x1b$B$"\x1b(B', 'text/plain; charset=iso-2022-jp', 'あ'),
        (b'\xff\xfea\0', 'text/plain; charset=utf-16', 'a'),
        (b'a\0b', 'text/plain; charset=utf-16le', 'a\ufffd'),
        (b'\0a', 'text/plain; charset=UTF-16BE', 'a'),
    ],
)
def test_readable_uses_the_charset_that_is_named(
    data: bytes, content_type: str | None, text: str
) -> None:
    """Without a BOM, and with replacement characters."""
    assert text == readable(data, content_type)


def test_a_bom_stays_in_the_body() -> None:
    """The text of a body keeps its byte order mark."""
    assert '\ufeffa' == from_bytes(b'\xef\xbb\xbfa', 'text/plain; charset=utf-8')
