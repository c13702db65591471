"""Traces over OTLP: one from the gateway to the decision, the completion and the evaluation.
Nothing is imported while there is no collector.

The context travels in the headers of records and requests (W3C Trace Context). Attributes are
OpenTelemetry's for generative AI (`gen_ai.*`, which still change) beside our own (`pointsman.*`,
which do not). Prompts and answers are in none of them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from shared.adapters.errors import AdapterError
from shared.contracts.answers import Answer
from shared.contracts.messages import Completed, Described
from shared.contracts.places import Source

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


@runtime_checkable
class Telling(Protocol):
    """A message that says what a trace may say of it."""

    def span_attributes(self) -> dict[str, str | bool | float]: ...


Headers = list[tuple[str, bytes]]
NANO = 1_000_000_000


class Tracing:
    """A service's spans."""

    def __init__(self, service: str, endpoint: str, share: float) -> None:
        """`endpoint` is a collector's address for OTLP over HTTP; `share` of the traces that begin
        here are kept, by trace id."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create(
            {"service.name": f"pointsman-{service}", "service.namespace": "pointsman"}
        )
        self._provider: TracerProvider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(share))
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces"))
        )
        self._tracer: Tracer = self._provider.get_tracer("pointsman")
        self._propagator: TraceContextTextMapPropagator = TraceContextTextMapPropagator()
        self._service = service

    def taken(
        self, headers: Iterable[tuple[str, bytes]], topic: str, partition: int, offset: int
    ) -> Work:
        """The span of one record, from now on."""
        from opentelemetry.trace import SpanKind

        carrier = {
            name: text.decode("ascii", "replace")
            for name, text in headers
            if name in ("traceparent", "tracestate") and text
        }
        span = self._tracer.start_span(
            f"{self._service} {topic}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
            },
        )
        return Work(self, span)

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str]) -> Generator[Work, None, None]:
        """The span of one request over HTTP; what is published inside the block belongs to it."""
        from opentelemetry.trace import SpanKind, use_span

        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._tracer.start_span(
            name, context=self._propagator.extract(carrier), kind=SpanKind.SERVER
        )
        with use_span(span, end_on_exit=True, record_exception=False):
            yield Work(self, span)

    def tell(self, message: object) -> None:
        """A message that the current block has produced."""
        from opentelemetry.trace import get_current_span

        Work(self, get_current_span()).tell(message)

    def outgoing(self, span: Span | None = None) -> Headers:
        """Headers that carry `span` on, or the span of the block that this runs in."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        context: Context | None = None if span is None else set_span_in_context(span)
        self._propagator.inject(carrier, context)
        return [(name, text.encode()) for name, text in carrier.items()]

    def call(
        self, parent: Span, model: str, began_ns: int, ended_ns: int, attributes: Mapping[str, Any]
    ) -> None:
        """A call of a language model that is over."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        span = self._tracer.start_span(
            f"chat {model}",
            context=set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            start_time=began_ns,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": model,
                **attributes,
            },
        )
        span.end(ended_ns)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


class Work:
    """One piece of work as a span."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def headers(self) -> Headers:
        """What carries it on."""
        return self._tracing.outgoing(self._span)

    def done(self, results: Iterable[object]) -> None:
        """It ended with these messages."""
        for message in results:
            self.tell(message)
        self._span.end()

    def failed(self, why: Literal["dead letter", "left to another", "error"]) -> None:
        """It ended without a message."""
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, why)
        self._span.end()

    def tell(self, message: object) -> None:
        """Attributes of a message, and the calls of language models that it tells of."""
        if not self._span.is_recording():
            return
        if isinstance(message, Telling):
            self._span.set_attributes(message.span_attributes())
        now = time.time_ns()
        for model, seconds, told in calls(message):
            self._tracing.call(self._span, model, now - int(seconds * NANO), now, told)

    def note(self, **told: str | bool | float) -> None:
        """Further attributes, under `pointsman.`."""
        self._span.set_attributes({f"pointsman.{name}": value for name, value in told.items()})


def calls(message: object) -> Iterable[tuple[str, float, dict[str, Any]]]:
    """(model, seconds, attributes) of each call of a language model that a stage's message tells of
    first."""
    if isinstance(message, Completed):
        for answer in message.completion.answers if not message.completion.repeated else ():
            yield answer.model, answer.latency_s, of_answer(answer)
    elif (
        type(message) is Described
        and message.description.source is Source.llm
        and message.description.model
    ):
        description = message.description
        attributes = {
            "pointsman.cost_usd": description.cost_usd,
            "pointsman.simulated": description.simulated,
        }
        yield description.model or "", description.latency_s, attributes


def of_answer(answer: Answer) -> dict[str, Any]:
    """What a call of a language model took."""
    attributes: dict[str, Any] = {
        "gen_ai.provider.name": answer.provider,
        "gen_ai.response.model": answer.model,
        "gen_ai.usage.input_tokens": answer.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.completion_tokens,
        "pointsman.cost_usd": answer.cost_usd,
        "pointsman.simulated": answer.simulated,
    }
    return attributes | (
        {"gen_ai.response.finish_reasons": [answer.finish_reason]} if answer.finish_reason else {}
    )


_live: list[Tracing] = []


def start(service: str, endpoint: str, share: float) -> None:
    """Send spans to a collector from now on. Call once a process. Raises `AdapterError` where
    OpenTelemetry is not installed."""
    try:
        _live[:] = [Tracing(service, endpoint, share)]
    except ModuleNotFoundError as error:
        raise AdapterError(
            f"traces need {error.name}, which is not installed: pip install -r "
            "deploy/requirements/light.txt, or leave POINTSMAN_TRACE_ENDPOINT empty"
        ) from None


def live() -> Tracing | None:
    """The process's tracing; None where there is no collector."""
    return _live[0] if _live else None
