"""A server in a thread of the test, and requests to it."""

import contextlib
import http.client
import json
import threading
import urllib.parse


@contextlib.contextmanager
def running(server):
    """Serve meanwhile; yields the URL."""
    import uvicorn

    ready, place = threading.Event(), []
    config = uvicorn.Config(server.app, port=0, log_level="warning", timeout_graceful_shutdown=10)
    inner = uvicorn.Server(config)
    started = inner.startup

    async def startup(sockets=None):
        await started(sockets)
        place.append(inner.servers[0].sockets[0].getsockname()[1])
        ready.set()

    inner.startup = startup
    thread = threading.Thread(target=inner.run)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{place[0]}"
    finally:
        inner.should_exit = True
        thread.join()


def ask(url, path, body=None, headers=()):
    """The status and the body of a response, as JSON if it is."""
    connection = http.client.HTTPConnection(urllib.parse.urlparse(url).netloc, timeout=30)
    if isinstance(body, dict):
        body = json.dumps(body)
    connection.request("GET" if body is None else "POST", path, body, dict(headers))
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    is_json = response.headers["content-type"] == "application/json"
    return response.status, json.loads(content) if is_json else content


def tensor(values, name="data", datatype="INT64"):
    """An input of one sample in the protocol."""
    return {"name": name, "shape": [1, len(values)], "datatype": datatype, "data": list(values)}
