"""An HTTP server for a bundle: KServe's V2 protocol, health, metrics. Needs the extra ``serve``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from symbucket.errors import (
    DeadlineError,
    InvalidArgumentError,
    OverloadedError,
    StateError,
    SymbucketError,
    UnsupportedError,
)
from symbucket.serve import kserve
from symbucket.serve.batcher import Batcher
from symbucket.serve.bundle import Bundle
from symbucket.serve.prometheus import CONTENT_TYPE, metrics_text
from symbucket.version import __version__

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route
except ImportError as error:  # pragma: no cover - depends on the environment
    raise UnsupportedError(
        f'the server needs {error.name}: pip install "symbucket[serve]"'
    ) from error

_log = logging.getLogger("symbucket")


@dataclass(frozen=True)
class Limits:
    """Limits of what a server accepts.

    Attributes:
        max_bytes: of a request's body.
        max_samples: of a request.
        timeout: seconds that a request may take, the longest that it can ask for.
    """

    max_bytes: int = 8 << 20
    max_samples: int = 256
    timeout: float = 30.0


class Server:
    """The application that answers HTTP requests for one bundle.

    Args:
        bundle: what answers. It is loaded when the server starts.
        name: the model's name in the protocol.
        max_delay: seconds that a request may wait for others to share its batch.
        max_queue: requests that may wait; more are refused with status 503.
        limits: what is accepted.

    ``app`` is an ASGI application for any server; ``run`` serves it with uvicorn until SIGTERM or
    SIGINT, then answers what has begun. SIGHUP reloads the bundle's folder.
    """

    VERSION = "1"

    def __init__(
        self,
        bundle: Bundle,
        name: str = "model",
        *,
        max_delay: float = 0.002,
        max_queue: int = 1024,
        limits: Limits | None = None,
    ) -> None:
        self.bundle = bundle
        self.name = name
        self.limits = limits or Limits()
        self.batcher = Batcher(bundle, max_delay=max_delay, max_queue=max_queue)
        self.responses: Counter[int] = Counter()
        self._ready = False
        self._tasks: set[asyncio.Task[None]] = set()
        model = f"/v2/models/{name}"
        routes = [
            Route("/v2", self._guarded(self._server_metadata)),
            Route("/v2/health/live", self._guarded(self._live)),
            Route("/v2/health/ready", self._guarded(self._is_ready)),
            Route(model, self._guarded(self._model_metadata)),
            Route(f"{model}/ready", self._guarded(self._is_ready)),
            Route(f"{model}/infer", self._guarded(self._infer), methods=["POST"]),
            Route(f"{model}/versions/{self.VERSION}", self._guarded(self._model_metadata)),
            Route(
                f"{model}/versions/{self.VERSION}/infer",
                self._guarded(self._infer),
                methods=["POST"],
            ),
            Route("/metrics", self._guarded(self._metrics)),
        ]
        missing = {404: self._not_found, 405: self._not_found}
        self.app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=missing)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(self.bundle.load)
        self._ready = True
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._start_reload)
        try:
            yield
        finally:
            self._ready = False
            await asyncio.to_thread(self.batcher.close)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        grace: float = 30.0,
        started: Callable[[str], None] | None = None,
    ) -> None:
        """Serve until a signal.

        Args:
            host: the address to listen at.
            port: 0 takes any free one.
            grace: seconds for the answers that have begun when the signal comes.
            started: called with the URL of the server once it listens.
        """
        try:
            listening = socket.create_server((host, port), backlog=1024)
        except (OSError, OverflowError) as error:
            raise InvalidArgumentError(f"cannot listen at {host}:{port}: {error}") from None
        if started is not None:
            started(f"http://{host}:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            self.app,
            log_level="warning",
            timeout_graceful_shutdown=max(1, int(grace)),
            server_header=False,
        )
        with listening:
            uvicorn.Server(config).run(sockets=[listening])

    def _start_reload(self) -> None:
        task = asyncio.ensure_future(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Serve what the bundle's folder holds now; if it is refused, go on with the old one."""
        try:
            await asyncio.to_thread(self.bundle.reload)
        except SymbucketError as error:
            _log.error("the bundle was not reloaded: %s", error)
        else:
            _log.info("the bundle was reloaded")

    # Answers -------------------------------------------------------------------------------------

    def _guarded(
        self, answer: Callable[[HttpRequest], Awaitable[Response]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        """Return the endpoint with errors as statuses, counted."""

        async def guarded(request: HttpRequest) -> Response:
            try:
                response = await answer(request)
            except _TooLargeError as error:
                response = _json({"error": str(error)}, 413)
            except (OverloadedError, StateError) as error:
                response = _json({"error": str(error)}, 503)
                response.headers["Retry-After"] = "1"
            except DeadlineError as error:
                response = _json({"error": str(error)}, 504)
            except InvalidArgumentError as error:
                response = _json({"error": str(error)}, 400)
            except Exception:
                _log.exception("a request failed")
                response = _json({"error": "the server failed to answer; its log says why"}, 500)
            self.responses[response.status_code] += 1
            return response

        return guarded

    async def _not_found(self, request: HttpRequest, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        self.responses[status] += 1
        what = f"{request.method} {request.url.path}"
        return _json({"error": f"{what}: not here; the model is /v2/models/{self.name}"}, status)

    async def _server_metadata(self, request: HttpRequest) -> Response:
        return _json({"name": "symbucket", "version": __version__, "extensions": []})

    async def _live(self, request: HttpRequest) -> Response:
        return _json({"live": True})

    async def _is_ready(self, request: HttpRequest) -> Response:
        return _json({"ready": self._ready}, 200 if self._ready else 503)

    async def _model_metadata(self, request: HttpRequest) -> Response:
        bundle = self.bundle
        return _json(kserve.metadata(self.name, self.VERSION, bundle.networks, bundle.default_key))

    async def _metrics(self, request: HttpRequest) -> Response:
        text = metrics_text(self.batcher, dict(self.responses))
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    async def _infer(self, request: HttpRequest) -> Response:
        parsed = kserve.parse_request(await self._body(request))
        samples = kserve.samples_of(parsed, self.limits.max_samples)
        timeout = kserve.timeout_of(parsed, self.limits.timeout)
        futures = []
        try:
            for sample in samples:
                futures.append(self.batcher.submit(sample, timeout))
            answers = await asyncio.gather(*map(asyncio.wrap_future, futures))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return _json(kserve.response(self.name, self.VERSION, parsed, answers))

    async def _body(self, request: HttpRequest) -> bytes:
        """Return the body; stop reading as soon as it is too large."""
        most = self.limits.max_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise _TooLargeError(f"the body has {declared} bytes; at most {most} are read")
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _TooLargeError(f"the body has more than {most} bytes")
            parts.append(part)
        return b"".join(parts)


class _TooLargeError(Exception):
    """A body above the limit."""


def _json(body: Any, status: int = 200) -> Response:
    content = msgspec.json.encode(body)
    return Response(content, status, media_type="application/json")
