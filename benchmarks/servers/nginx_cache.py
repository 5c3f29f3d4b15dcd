"""Serve from the cache of nginx, in one process: each request but the first is a hit."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    proxy_cache_path {folder}/cache keys_zone=zone:1m; keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {origin}; proxy_cache zone; proxy_cache_valid 200 1h;
        }}
    }}
}}
"""


def serve(port: int, loop: str, origin: str) -> None:
    if not (nginx := shutil.which('nginx')):
        raise FileNotFoundError('nginx is not installed')
    folder = tempfile.mkdtemp()
    path = Path(folder, 'nginx.conf')
    path.write_text(CONFIGURATION.format(folder=folder, port=port, origin=origin))
    os.execv(nginx, ['nginx', '-p', folder, '-c', str(path), '-e', f'{folder}/log'])
