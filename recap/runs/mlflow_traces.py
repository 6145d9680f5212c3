"""Completions as MLflow's traces: one each, the completions of a group in one session, the picture shown with the prompt.

A trace's id follows from run, step, example and place in the group: sending a group again replaces it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from registry.chat import Chat

PREVIEW = 1000  # characters of prompt and completion in the list of traces
SESSION = 250  # characters of a session's name that MLflow takes
NOT_IN_ADDRESS = r"[/\\?#%]"  # a session with one of them has no page in MLflow 3.17

Group = Mapping[str, Any]  # as `group_entry` makes it


def send_groups(client: Any, run_id: str, experiment_id: str, groups: Sequence[Group]) -> None:
    """Logs the completions of groups: a request for every completion, and one for the texts of all.

    Args:
        client: of MLflow.
        run_id: of an existing run.
        experiment_id: where the run is.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracing.client import TracingClient
    from mlflow.tracing.utils.artifact_utils import get_artifact_uri_for_trace

    traces = TracingClient(client.tracking_uri)

    def files(info: Any) -> Any:
        # MLflow's own look-up asks the environment for the server, and the run may name another.
        return get_artifact_repository(get_artifact_uri_for_trace(info), tracking_uri=client.tracking_uri)

    infos, spans = [], []
    with _experiment_known(traces.store):
        for group in map(_storable, groups):
            ids = [_digest(run_id, group, str(g)) for g in range(len(group["completions"]))]
            pictures = [Picture(base64.b64decode(picture)) for picture in group["pictures"]]
            messages = _messages(group, f"tr-{ids[0]}", pictures)
            spans += [_span(group, g, id, messages) for g, id in enumerate(ids)]
            started = [traces.start_trace(_info(group, g, id, run_id, experiment_id)) for g, id in enumerate(ids)]
            for picture in pictures:  # once a group: the prompts of all its completions point to it
                files(started[0]).upload_attachment(picture.name, picture.png)
            infos += started
        try:
            traces.log_spans(experiment_id, spans)
        except NotImplementedError:  # a store that keeps them as files
            for info, span in zip(infos, spans, strict=True):
                files(info).upload_trace_data(json.dumps({"spans": [span.to_dict()]}))


@contextmanager
def _experiment_known(store: Any) -> Iterator[None]:
    """A database store reads the experiment anew, in a session of its own, for every trace that is started: a quarter of
    what a trace costs. Within the block, a moment, it is read once."""
    store.get_experiment = functools.cache(store.get_experiment)
    try:
        yield
    finally:
        vars(store).pop("get_experiment", None)  # another run of this process may have been in the block too


def _storable(group: Group) -> Group:
    """Without what no store takes, and what would hold up all that is logged after it: half a character becomes '?', a number
    that is not finite its name."""
    whole = json.dumps(group, ensure_ascii=False).encode("utf-8", "replace").decode()
    return dict(json.loads(whole, parse_constant=str))


def _faults(completion: Mapping[str, Any]) -> dict[str, str]:
    """Why a verifier gave no reward, or none that counts, by objective."""
    named = {
        name: f"its reward is {reward}" for name, reward in completion["rewards"].items() if isinstance(reward, str)
    }
    return {**named, **completion["faults"]}


@dataclass(frozen=True)
class Picture:
    """A picture that stands beside a trace, as what MLflow calls an attachment."""

    png: bytes

    @property
    def name(self) -> str:
        """MLflow wants a UUID; this one follows from the picture."""
        return str(uuid.UUID(hashlib.sha256(self.png).hexdigest()[:32]))

    def part(self, trace_id: str) -> dict[str, Any]:
        """Of a chat message."""
        query = urlencode({"content_type": "image/png", "trace_id": trace_id, "size": len(self.png)})
        return {"type": "image_url", "image_url": {"url": f"mlflow-attachment://{self.name}?{query}"}}


def _messages(group: Group, trace_id: str, pictures: Sequence[Picture]) -> list[Mapping[str, Any]]:
    """The prompt as a chat, with pictures where the model sees them."""
    parts = [picture.part(trace_id) for picture in pictures]
    shots = tuple((question, completion) for question, completion in group["shots"])
    return list(Chat(group["question"], group["system"], shots).messages(parts, in_parts=True))


def _info(group: Group, g: int, id: str, run_id: str, experiment_id: str) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    completion = group["completions"][g]
    read, said = group["prompt_tokens"], completion["tokens"]
    tokens = {"input_tokens": read, "output_tokens": said, "total_tokens": read + said} if read is not None else None
    place = f"step {group['step']} {group['domain']} {group['example']}"
    again = f" again {group['occurrence']}" if group["occurrence"] else ""
    session = f"{group['session']} {run_id[:8]}" if "session" in group else f"{run_id[:8]} {place}{again}"
    return TraceInfo(
        trace_id=f"tr-{id}",
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=group["at"],
        execution_duration=0,
        state=TraceState.ERROR if _faults(completion) else TraceState.OK,
        request_preview=group["question"][:PREVIEW],
        response_preview=completion["text"][:PREVIEW],
        trace_metadata={
            "mlflow.trace_schema.version": "3",
            "mlflow.sourceRun": run_id,
            "mlflow.trace.session": re.sub(NOT_IN_ADDRESS, " ", session)[:SESSION],
            **({} if tokens is None else {"mlflow.trace.tokenUsage": json.dumps(tokens)}),
        },
        tags={
            "mlflow.traceName": group["domain"],
            "step": str(group["step"]),
            "domain": group["domain"],
            "example": group["example"],
            "completion": f"{g + 1} of {len(group['completions'])}",
            **group.get("tags", {}),
        },
        assessments=_assessments(group, completion, id),
    )


def _assessments(group: Group, completion: Mapping[str, Any], id: str) -> list[Any]:
    """The reference, and the reward of every verifier, or why it gave none."""
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

    source = AssessmentSource("CODE", "recap")
    common = {
        "source": source,
        "trace_id": f"tr-{id}",
        "create_time_ms": group["at"],
        "last_update_time_ms": group["at"],
    }
    found: list[Any] = [Expectation(name="reference", value=group["reference"], **common)]
    faults = _faults(completion)
    for name in {**completion["rewards"], **faults}:
        error = faults.get(name)
        wrong = None if error is None else AssessmentError(error_code="VERIFIER_FAILED", error_message=error)
        reward = completion["rewards"].get(name) if wrong is None else None
        found.append(Feedback(name=name, value=reward, error=wrong, **common))
    for one in found:
        one.assessment_id = f"a-{hashlib.sha256(f'{id} {one.name}'.encode()).hexdigest()[:32]}"
    return found


def _span(group: Group, g: int, id: str, messages: Sequence[Mapping[str, Any]]) -> Any:
    from mlflow.entities import Span

    completion = group["completions"][g]
    attributes = {
        "mlflow.traceRequestId": f"tr-{id}",
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanInputs": {"messages": messages},
        "mlflow.spanOutputs": {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": completion["text"]},
                    "finish_reason": "length" if completion["truncated"] else "stop",
                }
            ]
        },
        "step": group["step"],
        "domain": group["domain"],
        "example": group["example"],
        **{f"advantage/{name}": value for name, value in completion["advantages"].items()},
        **({} if completion["advantage"] is None else {"advantage": completion["advantage"]}),
        **{f"weight/{name}": value for name, value in group["weights"].items()},
    }
    failed = "; ".join(f"{name}: {error}" for name, error in _faults(completion).items())
    return Span.from_dict(
        {
            "trace_id": _base64(id),
            "span_id": _base64(id[:16]),
            "parent_span_id": None,
            "name": group["domain"],
            "start_time_unix_nano": group["at"] * 1_000_000,
            "end_time_unix_nano": group["at"] * 1_000_000,
            "events": [],
            "links": [],
            "status": {"code": "STATUS_CODE_ERROR" if failed else "STATUS_CODE_OK", "message": failed},
            "attributes": {name: json.dumps(value) for name, value in attributes.items()},
        }
    )


def _digest(run_id: str, group: Group, rest: str) -> str:
    """32 hexadecimal digits."""
    place = (run_id, group["step"], group["domain"], group["example"], group["occurrence"], rest)
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]


def _base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()
