"""A mayflyd that says what a test tells it to: what a real one never would, or not on demand.

    fake = FakeMayflyd({("GET", "/v1/runs"): lambda ask: ask.json(200, {...})})
    with fake: ...fake.url... fake.asked

A route gets an Ask, and answers by its methods. A list of functions as a route is used up one by
one; its last one stays.
"""

import http.server
import json
import ssl
import threading


class Ask(http.server.BaseHTTPRequestHandler):
    """One request, with `body`, and the ways to answer it."""

    protocol_version = "HTTP/1.1"
    body = b""

    def json(self, status, value, headers=()):
        self.bytes(status, json.dumps(value).encode(), "application/json", headers)

    def problem(self, status, name, detail):
        self.json(status, {"type": f"urn:mayfly:problem:{name}", "title": name, "status": status,
                           "detail": detail})

    def bytes(self, status, content, kind="application/octet-stream", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def stream(self, pieces, whole=True):
        """Server-sent events; cut without the terminating chunk when they are not `whole`."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def hang_up(self):
        self.close_connection = True

    def answer(self):
        path, _, query = self.path.partition("?")
        fake = self.server.fake
        fake.asked.append((self.command, self.path, dict(self.headers)))
        if ("EARLY", path) in fake.routes:
            fake.routes["EARLY", path](self)
            return
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fake.bodies.append(self.body)
        self.query = query
        route = fake.routes.get((self.command, path))
        if isinstance(route, list):
            route = route.pop(0) if len(route) > 1 else route[0]
        if route is None:
            self.problem(404, "not-found", "There is no run of this id.")
        else:
            route(self)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


def wrapped(listener, tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


class FakeMayflyd:
    def __init__(self, routes, tls=None):
        """`tls`: (certificate, key), PEM files."""
        self.routes, self.asked, self.bodies = routes, [], []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ask)
        self.server.fake = self
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if tls:
            self.server.handle_error = lambda *_: None  # of a handshake that was refused
            self.server.socket = wrapped(self.server.socket, tls)
            self.url = f"https://localhost:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def sse(name, value, event_id=None):
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def log(stream, offset, text, event_id):
    return sse("log", {"stream": stream, "offset": offset, "text": text}, event_id)
