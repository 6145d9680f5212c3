"""JSON over HTTP, with errors that a person can act on."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from recap.sampling.generators.base import GeneratorError

# Whatever proxy the environment names is for the internet; a generator is a machine of one's own.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class JsonServer:
    """A server that takes and gives JSON.

    Args:
        url: scheme, host and port.
        timeout_s: how long an answer may take.
        binding: the setting to name in errors.
    """

    def __init__(self, url: str, timeout_s: float, binding: str) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.where = f"{binding} = {url!r}"

    def get(self, path: str) -> Any:
        """Raises GeneratorError: no server, an error status, an answer that is not JSON."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object = None) -> Any:
        """The answer, None where it is empty. Raises GeneratorError: as `get`."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: object) -> Any:
        where = f"{self.where}: {method} {path}"
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if method == "GET" else json.dumps(body if body is not None else {}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with _open(request, timeout=self.timeout_s) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace").strip()[:500]
            raise GeneratorError(f"{where} was answered with HTTP {error.code}: {said or error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise GeneratorError(
                f"{where} failed: {str(reason) or type(error).__name__}; is the server running there?"
            ) from error
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise GeneratorError(f"{where} was answered with something else than JSON: {content[:200]!r}") from error
