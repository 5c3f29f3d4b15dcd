"""Other programs that tests run: ports for them, and the frame of a configuration of nginx."""

import shutil
import socket
from contextlib import suppress
from random import SystemRandom

NGINX = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')
# One process in the foreground, which keeps the user that starts it.
NGINX_FRAME = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%s
}
"""


def free_port():
    """Return a free port, below those that the system gives to whoever asks for any.

    One of the latter may go to another test before the program listens on it.
    """
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(('127.0.0.1', port)):
            return port
