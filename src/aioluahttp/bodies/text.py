"""The text rule: which codec a Content-Type names, the same for every request and response."""

from __future__ import annotations

import re
from functools import lru_cache

from ..errors import TableError

__all__ = ['codec_of', 'from_bytes', 'is_clean', 'readable', 'to_bytes']

CHARSET = re.compile(r';\s*+charset\s*+=\s*+"?([^\s;"]++)', re.IGNORECASE)

# The codecs that, with surrogate escapes, encode text to the very bytes it was decoded from, each
# with its labels. Never look a charset up in Python's registry: a peer that sends charset=punycode
# must not choose the code that runs. tests/bodies/test_text.py checks each line. EUC-JP is missing,
# since it has two encodings of a tilde; so is Python's euc-kr, with two of a syllable, for which
# cp949, which extends it, stands in.
LOSSLESS = {
    'utf-8': 'utf-8 utf8',
    'ascii': 'us-ascii ascii',
    'latin-1': 'iso-8859-1 iso8859-1 latin1 l1',
    **{
        f'iso8859-{n}': f'iso-8859-{n} iso8859-{n}'
        for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)
    },
    **{f'cp{n}': f'windows-{n} cp{n} x-cp{n}' for n in range(1250, 1259)},
    'cp866': 'ibm866 cp866 866',
    'cp874': 'windows-874 iso-8859-11 tis-620',
    'koi8-r': 'koi8-r koi8',
    'koi8-u': 'koi8-u',
    'mac-roman': 'macintosh mac x-mac-roman',
    'mac-cyrillic': 'x-mac-cyrillic',
    'shift_jis': 'shift_jis shift-jis sjis x-sjis',
    'cp949': 'euc-kr ks_c_5601-1987',
    'gbk': 'gbk gb2312 x-gbk',
    'gb18030': 'gb18030',
}
CODECS = {label: codec for codec, labels in LOSSLESS.items() for label in labels.split()}

# The codecs of ``readable``: these replace or add to the above, and may lose bytes, but decode
# more of what peers send under the name. UTF-8 without its BOM.
READABLE = {
    **CODECS,
    **dict.fromkeys(('utf-8', 'utf8'), 'utf-8-sig'),
    **dict.fromkeys(LOSSLESS['shift_jis'].split(), 'cp932'),
    **dict.fromkeys(('euc-jp', 'x-euc-jp'), 'euc-jp'),
    'utf-16': 'utf-16',
    'utf-16le': 'utf-16-le',
    'utf-16be': 'utf-16-be',
    'big5': 'big5hkscs',
    'big5-hkscs': 'big5hkscs',
    'iso-2022-jp': 'iso2022_jp',
}


@lru_cache(256)
def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, in lower case; None if it names none."""
    found = CHARSET.search(content_type)
    return found[1].lower() if found else None


@lru_cache(256)
def codec_of(content_type: str | None) -> str:
    """Return the name of the codec for a body of this Content-Type.

    It is the charset's own if that is lossless, else UTF-8. Use it with surrogate escapes, so
    that no byte is lost, whatever the bytes are.
    """
    return CODECS.get(charset_of(content_type or '') or '', 'utf-8')


def from_bytes(data: bytes, content_type: str | None) -> str:
    """Decode a body to text that ``to_bytes`` encodes to the same bytes."""
    return data.decode(codec_of(content_type), 'surrogateescape')


def to_bytes(text: str, content_type: str | None) -> bytes:
    """Encode text as a body.

    Raises:
        TableError: The codec of the Content-Type cannot encode the text.
    """
    codec = codec_of(content_type)
    try:
        return text.encode(codec, 'surrogateescape')
    except UnicodeEncodeError as error:
        raise TableError.of('body', text[error.start : error.end], f'text in {codec}') from error


def is_clean(text: str) -> bool:
    """Tell whether text has no surrogates, which stand for bytes that could not be decoded."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(data: bytes, content_type: str | None) -> str:
    """Decode bytes for people: in the charset named, without a BOM, with replacement characters."""
    codec = READABLE.get(charset_of(content_type or '') or 'utf-8', 'utf-8-sig')
    return data.decode(codec, 'replace')
