"""Origin of transfers, with blocking sockets; it is not measured.

It responds to a GET with a body of 1 GiB, and to a PUT with the digest of the request body.
"""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..body import PIECE, PIECES, SIZE


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        whole = self.path == '/body'
        self.begin('application/octet-stream' if whole else 'text/plain', SIZE if whole else 11)
        for _ in range(PIECES if whole else 0):
            self.wfile.write(PIECE)
        if not whole:
            self.wfile.write(b'Hello world')

    def do_PUT(self) -> None:
        made, left = hashlib.sha256(), int(self.headers['Content-Length'])
        while left and (chunk := self.rfile.read1(min(left, len(PIECE)))):
            made.update(chunk)
            left -= len(chunk)
        self.begin('text/plain', made.digest_size * 2)
        self.wfile.write(made.hexdigest().encode())

    def begin(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(length))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def serve(port: int, loop: str) -> None:
    ThreadingHTTPServer(('127.0.0.1', port), Handler).serve_forever()
