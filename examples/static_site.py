"""Serve a folder: ``python examples/static_site.py docs``, and open http://127.0.0.1:8080/."""

import sys
from html import escape
from pathlib import Path

import aioluahttp as http


def page(status, title, content):
    """Return an HTML response."""
    body = f'<!doctype html><title>{title}</title><h1>{title}</h1>{content}'
    return {'status': status, 'headers': {'Content-Type': 'text/html'}, 'body': body}


def index(folder):
    """Return a page that lists the files of a folder."""
    names = sorted(path.name for path in folder.glob('[!.]*') if path.is_file())
    links = (f'<li><a href="{http.url.encode(name)}">{escape(name)}</a>' for name in names)
    return page(200, 'Files', f'<ul>{"".join(links)}</ul>')


def site(folder):
    """Return a handler that serves a folder: its files, a list of them, or a 404 page."""
    files = http.files(folder)

    async def handler(request):
        response = await files(request)
        if response['status'] != 404:
            return response
        if request.path == '/':
            return index(Path(folder))
        return page(404, 'Not here', '<p><a href="/">What is there</a></p>')

    return handler


if __name__ == '__main__':
    http.run('127.0.0.1', 8080, site(sys.argv[1] if len(sys.argv) > 1 else '.'))
