"""Media types of files, by the ending of their names."""

import doctest
import re

import pytest

from aioluahttp import media_types
from aioluahttp.media_types import ENDINGS, TYPES, type_of, with_charset

TYPE = re.compile('(application|audio|font|image|message|model|text|video)/[a-z0-9][a-z0-9.+-]+')


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(media_types).failed


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.html', 'text/html'),
        ('a.css', 'text/css'),
        ('a.js', 'text/javascript'),
        ('a.js.map', 'application/json'),
        ('a.wasm', 'application/wasm'),
        ('a.webmanifest', 'application/manifest+json'),
        ('a.svg', 'image/svg+xml'),
        ('a.avif', 'image/avif'),
        ('a.webp', 'image/webp'),
        ('favicon.ico', 'image/vnd.microsoft.icon'),
        ('a.ogg', 'audio/ogg'),
        ('a.flac', 'audio/flac'),
        ('a.webm', 'video/webm'),
        ('a.woff2', 'font/woff2'),
        ('a.ttf', 'font/ttf'),
        ('a.md', 'text/markdown'),
        ('a.vtt', 'text/vtt'),
        ('a.ics', 'text/calendar'),
        ('A.JPG', 'image/jpeg'),
        ('sub.d/a.Css', 'text/css'),
        ('a.b.css.gz', 'application/gzip'),
        ('a.css.br', 'application/x-brotli'),
        ('\udcff.png', 'image/png'),
    ],
)
def test_the_ending_of_a_name_tells_the_type(name, kind):
    """The last ending counts, in any case; a compressed file has the type of its packing."""
    assert kind == type_of(name)


@pytest.mark.parametrize('name', ['', 'css', '.css', 'a.', 'a.unheard', 'sub.css/a', 'a.css/'])
def test_a_name_without_a_known_ending_has_no_type(name):
    """A name that begins with its only dot has no ending."""
    assert type_of(name) is None


def test_each_ending_is_listed_once():
    """And each type is in lower case, without parameters."""
    assert len(TYPES) == sum(len(endings.split()) for endings in ENDINGS.values())
    assert all(map(TYPE.fullmatch, ENDINGS))
    assert all(ending == ending.lower() for ending in TYPES)


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('text/javascript', 'text/javascript; charset=utf-8'),
        ('application/json', 'application/json'),
        ('application/xml', 'application/xml'),
    ],
)
def test_only_text_gets_a_charset(kind, expected):
    """JSON and XML do not need one."""
    assert expected == with_charset(kind)
