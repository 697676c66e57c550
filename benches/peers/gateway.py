"""The adapter of sluicegate for the side-by-side harness: copy it over `proxies/gateway.py` there.

  GATEWAY_BIN   the binary, e.g. target/release/sluicegate
  GATEWAY_KONG  false (default); true: with the fields that Kong puts on traffic
  GATEWAY_BULK  1 (default): load routes by transactions of 5,000; 0: one POST a route

Terms: one worker, keep-alive to the origin, no access log, X-Forwarded-For added (with the other X-Forwarded-*, Via and
X-Request-Id, which cannot be switched off), bodies streamed, 600 s idle time-outs, the registry on disk and fsynced.
"""
import http.client, json, os, shlex, socket, subprocess, time

VARIANTS = {"gateway": {}}
CAPS = {"tls", "h2", "h2c", "hosts", "change"}
CHANGE = "admin API: POST of one route"
CHUNK = 5000


def find(v):
    return os.environ.get("GATEWAY_BIN") or None


def version(b):
    try:
        return subprocess.run([shlex.split(b)[0], "version"], capture_output=True, text=True, timeout=5).stdout.split()[-1]
    except Exception:
        return "?"


def config(s):
    listen = f'"127.0.0.1:{s.port}"'
    return "\n".join([
        f'data = "{s.dir}/data"',
        "[proxy]",
        f"http = [{'' if s.tls else listen}]",
        f"https = [{listen if s.tls else ''}]",
        f"workers = {s.workers}",
        "upstream_idle_max = 1024",
        "[limits]",
        'keepalive_timeout = "600s"',
        "connections_per_address_max = 0",
        "[admin]",
        f'listen = "127.0.0.1:{s.admin}"',
        "[gateway]",
        "enabled = false",
        "[kong]",
        f"traffic = {os.environ.get('GATEWAY_KONG', 'false')}",
        "[log]",
        'level = "warn"',
        "",
    ])


def service(i, port):
    return {"name": f"u{i}", "url": f"http://127.0.0.1:{port}"}


def route(i, r):
    document = {"name": f"r{i}", "service": f"u{r.up}", "paths": [r.prefix], "strip_path": False}
    return document | ({"hosts": [r.host]} if r.host else {})


def certificate(s):
    cert, key = (str(open(p).read()) for p in s.cert[:2])
    names = [{"op": "create", "kind": "sni", "document": {"name": n, "certificate": CERTIFICATE}} for n in ("localhost", "bench.local")]
    return [{"op": "create", "kind": "certificate", "document": {"id": CERTIFICATE, "cert": cert, "key": key}}] + names


CERTIFICATE = "00000000-0000-4000-8000-00000000be2c"


def call(s, method, path, body=None, timeout=120):
    """Head and body leave in one piece, as curl sends them."""
    body = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{s.admin}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", s.admin), timeout=timeout) as c:
        c.sendall(head.encode() + body)
        r = http.client.HTTPResponse(c, method=method)
        r.begin()
        d = r.read()
    if r.status >= 300:
        raise RuntimeError(f"admin {method} {path}: {r.status} {d[:300]!r}")
    return d


def write(s, v):
    (s.dir / "gateway.toml").write_text(config(s))
    return shlex.split(find(v)) + ["run", "--config", str(s.dir / "gateway.toml")], dict(v.get("env", {}))


def after_start(s, v, alive, deadline):
    """Waits for the admin API, then loads services and routes through it."""
    while time.monotonic() < deadline and alive():
        try:
            call(s, "GET", "/api/ready", timeout=2)
            break
        except (OSError, RuntimeError):
            time.sleep(0.01)
    operations = certificate(s) if s.tls else []
    operations += [{"op": "create", "kind": "service", "document": service(i, p)} for i, p in enumerate(s.upstreams)]
    call(s, "POST", "/api/transactions", {"operations": operations})
    if os.environ.get("GATEWAY_BULK", "1") == "1":
        for k in range(0, len(s.routes), CHUNK):
            chunk = s.routes[k:k + CHUNK]
            operations = [{"op": "create", "kind": "route", "document": route(i, r)} for i, r in enumerate(chunk, k)]
            call(s, "POST", "/api/transactions", {"operations": operations})
    else:
        for i, r in enumerate(s.routes):
            call(s, "POST", "/api/routes", route(i, r))


def change(s, v, routes, proc):
    call(s, "POST", "/api/routes", route(len(routes) - 1, routes[-1]))
