"""nginx that answers one constant: the measure of what an HTTP answer must cost on this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

BODY = (
    '{"type":"about:blank","title":"every unit is paid for","status":409,"code":"sold-out",'
    '"detail":"all 100 units are sold and paid for","retry":"never"}'
)
CONFIG = """
daemon off;
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/problem+json; return 409 '{body}'; }}
  }}
}}
"""


def nginx_path() -> str | None:
    """Where nginx is, if it is."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def constant() -> Generator[tuple[int, int]]:
    """Run nginx with one worker; gives its port and the process id of its master."""
    path, port = nginx_path(), free_port()
    assert path is not None
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-") as home:
        config = Path(home) / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        config.write_text(user + CONFIG.format(home=home, port=port, body=BODY))
        process = subprocess.Popen([path, "-c", str(config), "-e", f"{home}/error.log"])
        try:
            wait_for_port(port, process)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes], patience_s: float = 30.0) -> None:
    """Return when somebody listens; fail if the process ends first."""
    end = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as problem:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"bench: nothing listens on port {port}") from problem
            time.sleep(0.05)
        else:
            return
