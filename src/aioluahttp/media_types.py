"""Media types of files by the ending of their names: one table, on every machine and Python.

``mimetypes`` of the standard library knows other endings in each version of Python, and reads the
files of the machine.
"""

from __future__ import annotations

import os

__all__ = ['UNKNOWN', 'type_of', 'with_charset']

UNKNOWN = 'application/octet-stream'

# As registered with IANA, or what browsers and servers send where nothing is registered. A
# compressed file has the type of its packing, for its bytes are sent without Content-Encoding.
ENDINGS = {
    # pages, scripts and data of the web
    'text/html': 'html htm shtml',
    'application/xhtml+xml': 'xhtml xht',
    'text/css': 'css',
    'text/javascript': 'js mjs cjs',  # RFC 9239
    'application/json': 'json map har',
    'application/ld+json': 'jsonld',
    'application/geo+json': 'geojson',
    'application/manifest+json': 'webmanifest',
    'application/x-ndjson': 'ndjson',
    'application/jsonl': 'jsonl',
    'application/xml': 'xml xsl xsd rng',
    'application/xslt+xml': 'xslt',
    'application/rss+xml': 'rss',
    'application/atom+xml': 'atom',
    'application/rdf+xml': 'rdf',
    'application/wasm': 'wasm',
    'application/yaml': 'yaml yml',  # RFC 9512
    'application/toml': 'toml',
    'application/sql': 'sql',
    'application/graphql': 'graphql',
    # text
    'text/plain': 'txt text log conf cfg ini def list in diff patch c h cc hh cpp hpp cs go java '
    'kt lua pl rb rs sh bash ksh bat ps1 tsx swift',
    'text/markdown': 'md markdown',  # RFC 7763
    'text/csv': 'csv',
    'text/tab-separated-values': 'tsv',
    'text/calendar': 'ics ifb',
    'text/vcard': 'vcf vcard',
    'text/vtt': 'vtt',
    'text/x-python': 'py pyw pyi',
    'text/x-rst': 'rst',
    'text/jsx': 'jsx',
    'text/turtle': 'ttl',
    'text/n3': 'n3',
    'text/richtext': 'rtx',
    'application/n-triples': 'nt',
    'application/x-subrip': 'srt',
    'message/rfc822': 'eml mht mhtml',
    # images
    'image/svg+xml': 'svg',
    'image/png': 'png',
    'image/apng': 'apng',
    'image/jpeg': 'jpg jpeg jpe jfif',
    'image/gif': 'gif',
    'image/webp': 'webp',
    'image/avif': 'avif',
    'image/jxl': 'jxl',
    'image/heic': 'heic',
    'image/heif': 'heif',
    'image/bmp': 'bmp',
    'image/tiff': 'tif tiff',
    'image/vnd.microsoft.icon': 'ico cur',
    'image/vnd.adobe.photoshop': 'psd',
    # sound
    'audio/mpeg': 'mp3 mp2 mpga',
    'audio/mp4': 'm4a m4b',
    'audio/aac': 'aac',
    'audio/ogg': 'ogg oga opus spx',
    'audio/flac': 'flac',
    'audio/wav': 'wav',
    'audio/webm': 'weba',
    'audio/aiff': 'aif aiff aifc',
    'audio/basic': 'au snd',
    'audio/midi': 'mid midi',
    # films and play lists
    'video/mp4': 'mp4 m4v mpg4',
    'video/webm': 'webm',
    'video/ogg': 'ogv',
    'video/quicktime': 'mov qt',
    'video/mpeg': 'mpeg mpg mpe m1v m2v',
    'video/x-msvideo': 'avi',
    'video/matroska': 'mkv',
    'video/mp2t': 'ts m2ts',  # .ts is also TypeScript, which browsers do not run
    'video/3gpp': '3gp 3gpp',
    'video/3gpp2': '3g2',
    'application/ogg': 'ogx',
    'application/vnd.apple.mpegurl': 'm3u8 m3u',
    'application/dash+xml': 'mpd',
    # fonts
    'font/woff2': 'woff2',
    'font/woff': 'woff',
    'font/ttf': 'ttf',
    'font/otf': 'otf',
    'font/collection': 'ttc otc',
    'application/vnd.ms-fontobject': 'eot',
    # documents
    'application/pdf': 'pdf',
    'application/postscript': 'ps eps ai',
    'application/rtf': 'rtf',
    'application/epub+zip': 'epub',
    'application/msword': 'doc dot',
    'application/vnd.ms-excel': 'xls',
    'application/vnd.ms-powerpoint': 'ppt pps pot',
    'application/vnd.openxmlformats-officedocument.wordprocessingml.document': 'docx',
    'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': 'xlsx',
    'application/vnd.openxmlformats-officedocument.presentationml.presentation': 'pptx',
    'application/vnd.oasis.opendocument.text': 'odt',
    'application/vnd.oasis.opendocument.spreadsheet': 'ods',
    'application/vnd.oasis.opendocument.presentation': 'odp',
    'application/vnd.oasis.opendocument.graphics': 'odg',
    'application/x-tex': 'tex',
    'application/gpx+xml': 'gpx',
    'application/vnd.google-earth.kml+xml': 'kml',
    'application/vnd.sqlite3': 'sqlite sqlite3',
    'application/vnd.apache.parquet': 'parquet',
    'model/gltf+json': 'gltf',
    'model/gltf-binary': 'glb',
    'model/stl': 'stl',
    # archives and packages
    'application/zip': 'zip whl',
    'application/gzip': 'gz tgz svgz',
    'application/zstd': 'zst',
    'application/x-brotli': 'br',
    'application/x-bzip2': 'bz2 tbz2',
    'application/x-xz': 'xz txz',
    'application/x-compress': 'z',
    'application/x-tar': 'tar',
    'application/x-7z-compressed': '7z',
    'application/vnd.rar': 'rar',
    'application/java-archive': 'jar',
    'application/vnd.android.package-archive': 'apk',
    'application/vnd.debian.binary-package': 'deb',
    'application/x-rpm': 'rpm',
    'application/pkcs12': 'p12 pfx',
    'application/pem-certificate-chain': 'pem',
    'application/pgp-signature': 'sig asc',
    'application/x-bittorrent': 'torrent',
}
TYPES = {f'.{ending}': kind for kind, endings in ENDINGS.items() for ending in endings.split()}


def type_of(name: str) -> str | None:
    """Return the media type of a file by the ending of its name; None if that is unknown.

    Args:
        name: The name or the path of the file. The case of its ending does not count.

    Example:
        >>> type_of('lib/app.MJS'), type_of('backup.tar.gz'), type_of('Makefile')
        ('text/javascript', 'application/gzip', None)
    """
    return TYPES.get(os.path.splitext(name)[1].lower())


def with_charset(kind: str) -> str:
    """Return a media type with ``; charset=utf-8`` if it is text, JavaScript included.

    Browsers read such text in the charset of the reader's country if none is named. JSON is always
    UTF-8, and XML names its own charset.

    Example:
        >>> with_charset('text/css'), with_charset('image/png')
        ('text/css; charset=utf-8', 'image/png')
    """
    return f'{kind}; charset=utf-8' if kind.startswith('text/') else kind
