"""Logs and metrics. Prompts never reach a log unless POINTSMAN_LOG_PROMPTS=true."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Annotated, Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TelemetrySettings(BaseSettings):
    """POINTSMAN_*: logs and metrics of every service."""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe message that is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON otherwise."""
    log_prompts: bool = False
    """Write prompts, descriptions and the texts of other programs' errors to the log. For debugging
    with harmless data."""
    metrics_port: int = 0
    """Port of Prometheus metrics and the health check; 0: none."""
    metrics_host: str = "127.0.0.1"
    """Address that the metrics listen on; 0.0.0.0 in a container."""
    trace_endpoint: str = ""
    """A collector's address for OTLP over HTTP (http://otel-collector:4318). Empty: no traces are
    made; trace headers of others are passed on."""
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of the traces begun here that is kept. A trace begun elsewhere is kept if its
    beginning is."""


REGISTRY = CollectorRegistry()
RECORDS = Counter(
    "pointsman_records",
    "Records that a service finished, by outcome",
    ["service", "outcome"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "pointsman_work_seconds",
    "Seconds from taking a record to the acknowledgement of its results",
    ["service"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH = Histogram(
    "pointsman_batch_size",
    "Records worked on together",
    ["service"],
    registry=REGISTRY,
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
IN_FLIGHT = Gauge(
    "pointsman_in_flight", "Records taken and not yet done", ["service"], registry=REGISTRY
)
LAG = Gauge(
    "pointsman_lag",
    "Records that wait in the topic, of the partitions that are this instance's",
    ["service"],
    registry=REGISTRY,
)
READY = Gauge(
    "pointsman_ready",
    "1 while the service takes records and none of its partitions is stalled",
    ["service"],
    registry=REGISTRY,
)
ALIVE_AT = Gauge(
    "pointsman_alive_at",
    "When the service's event loop last turned, seconds since 1970",
    ["service"],
    registry=REGISTRY,
)
STALLED = Gauge(
    "pointsman_stalled_partitions",
    "Partitions that are stalled while records wait there",
    ["service"],
    registry=REGISTRY,
)
UNREAD = Counter(
    "pointsman_fetch_failures",
    "Fetches that failed, by what they failed with",
    ["service", "error"],
    registry=REGISTRY,
)
DESCRIPTIONS = Counter(
    "pointsman_descriptions", "Task descriptions, by who wrote them", ["source"], registry=REGISTRY
)
FORESEEN = Counter(
    "pointsman_foreseen_checked",
    "Foreseen prompts that were still sent to the language model, by whether its "
    "description gave the same models",
    ["same"],
    registry=REGISTRY,
)
PROVIDER = Gauge(
    "pointsman_encoder_provider",
    "1 for the execution provider that is live",
    ["provider", "encoder"],
    registry=REGISTRY,
)
TABLE = Gauge(
    "pointsman_table_sequence",
    "Sequence of the routing table in use",
    ["service", "epoch", "digest"],
    registry=REGISTRY,
)
TABLE_AT = Gauge(
    "pointsman_table_published_at",
    "When the routing table in use was published, seconds since 1970",
    ["service"],
    registry=REGISTRY,
)
NOVEL = Counter(
    "pointsman_assignments",
    "Assignments, by whether the prompt was novel",
    ["novel"],
    registry=REGISTRY,
)
DECISIONS = Counter(
    "pointsman_decisions", "Decisions, by model and status", ["model", "status"], registry=REGISTRY
)
COMPLETIONS = Counter(
    "pointsman_completions", "Completions, by status", ["status"], registry=REGISTRY
)
CASCADES = Counter(
    "pointsman_cascades",
    "Answers of a cheap model that was asked first, by whether they were accepted",
    ["outcome"],
    registry=REGISTRY,
)
MODEL_FAILURES = Counter(
    "pointsman_model_failures",
    "Calls of language models that failed, by HTTP status, or by how they failed",
    ["model", "why"],
    registry=REGISTRY,
)
SPENT = Counter(
    "pointsman_spent_usd",
    "What calls of language models cost",
    ["service", "model"],
    registry=REGISTRY,
)
JUDGED = Counter(
    "pointsman_comparisons", "Comparisons, by what became of them", ["outcome"], registry=REGISTRY
)
VOTES = Counter(
    "pointsman_votes", "Votes of judges, by what they said", ["model", "vote"], registry=REGISTRY
)
ABSTAINED = Counter(
    "pointsman_abstentions",
    "Votes of judges that could not be read, by why",
    ["model", "reason"],
    registry=REGISTRY,
)
STOPPED = Gauge(
    "pointsman_judge_stopped",
    "1 while a judge model is not asked since most of its votes can't be read",
    ["model"],
    registry=REGISTRY,
)
DOOR = Counter(
    "pointsman_http_requests",
    "Requests over HTTP, by endpoint and status",
    ["service", "endpoint", "status"],
    registry=REGISTRY,
)
DOOR_SECONDS = Histogram(
    "pointsman_http_seconds",
    "Seconds from a request over HTTP to its decision, and to the first token",
    ["service", "until"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DEFAULTED = Counter(
    "pointsman_defaulted",
    "Requests that the profile's default model answered, by why",
    ["why"],
    registry=REGISTRY,
)
LEARNT = Gauge(
    "pointsman_learnt", "What the re-clusterer has in memory", ["what"], registry=REGISTRY
)

_settled = False
log = structlog.stdlib.get_logger("pointsman")


def start(service: str, settings: TelemetrySettings) -> None:
    """Set up logs, and serve metrics if a port is given. Call once a process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    renderer = (
        structlog.dev.ConsoleRenderer()
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Seldom())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("pointsman").setLevel(settings.log_level)
    structlog.contextvars.bind_contextvars(service=service)
    READY.labels(service).set(0)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host, REGISTRY)


class Seldom(logging.Filter):
    """Lets a library say the same thing once in a while only: an unreachable broker makes aiokafka
    say so several times a second."""

    EVERY_S = 30.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("pointsman"):
            return True
        if (
            _settled
            and record.name.startswith("aiokafka")
            and not logging.getLogger("pointsman").isEnabledFor(logging.DEBUG)
        ):
            return False
        what = (record.name, str(record.msg))
        now = time.monotonic()
        if now - self._said.get(what, -self.EVERY_S) < self.EVERY_S:
            return False
        self._said[what] = now
        return True


def settle() -> None:
    """From now on aiokafka logs at DEBUG only. The service has begun, and itself logs when its
    broker goes and returns."""
    global _settled  # noqa: PLW0603  # one a process, as logging is
    _settled = True


def where(error: BaseException, settings: TelemetrySettings) -> str:
    """An unexpected error for the log: its kind and place; its text only where prompts may be
    logged."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames[-4:]))
    text = f": {error}" if settings.log_prompts else ""
    return f"{type(error).__name__}{text} at {place}"
