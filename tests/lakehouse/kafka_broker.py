"""A Kafka broker on loopback, of one process and without a past; needs only Java.

The JARs are fetched once, by the Ivy that comes with Spark, from where Spark has its own, and kept
in the user's cache. Run as a script with an empty folder, it prints ``ready HOST:PORT``, and serves
until nobody holds its input open; or it prints ``none`` and why a broker cannot be had.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

VERSION = "4.1.0"
PATIENCE = 120  # seconds for a broker to answer, on a busy machine
FETCHING = 400  # seconds for the JARs
JVM = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


class NoBrokerError(Exception):
    """A broker cannot be had here; the message says why."""


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = f"{home}/bin/java" if home else shutil.which("java")
    if not found:
        raise NoBrokerError("there is no Java")
    return found


def jars() -> Path:
    """The folder of Kafka's JARs, fetched if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tasteprint"
    place = cache / f"kafka-{VERSION}"
    if not place.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            fetch(Path(aside) / "jars", Path(aside) / "ivy")
            try:
                (Path(aside) / "jars").rename(place)
            except OSError:  # somebody else was faster
                if not place.is_dir():
                    raise
    return place


def fetch(target: Path, cache: Path) -> None:
    """Have Ivy find Kafka and all that it needs to run."""
    spark = find_spec("pyspark")
    ivy = next(Path(spark.origin).parent.glob("jars/ivy-*.jar"), None) if spark else None
    if ivy is None:
        raise NoBrokerError("there is no Ivy, which comes with Spark")
    wanted = ["-dependency", "org.apache.kafka", "kafka_2.13", VERSION, "-confs", "default"]
    kept = ["-cache", str(cache), "-retrieve", f"{target}/[artifact]-[revision].[ext]"]
    try:
        done = subprocess.run(
            [java(), "-jar", str(ivy), *wanted, *kept],
            capture_output=True,
            text=True,
            timeout=FETCHING,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoBrokerError(f"Kafka's JARs did not come within {FETCHING} s") from None
    if done.returncode or not list(target.glob("kafka_2.13-*.jar")):
        raise NoBrokerError(f"Kafka's JARs cannot be fetched: {done.stdout[-2000:]}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(folder: Path) -> tuple[subprocess.Popen, int]:
    """Start a broker that keeps what it has in a folder; returns it and its port."""
    port, controller = free_ports(2)
    settings = folder / "server.properties"
    settings.write_text(PROPERTIES.format(port=port, controller=controller, folder=folder))
    run = [java(), *JVM, "-cp", f"{jars()}/*"]
    with (folder / "broker.log").open("ab") as log:
        said = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        one = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"]
        subprocess.run([*run, *one, str(settings)], check=True, **said)
        return subprocess.Popen([*run, "kafka.Kafka", str(settings)], **said), port


def wait_for(broker: subprocess.Popen, port: int) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    give_up = time.monotonic() + PATIENCE
    while broker.poll() is None and time.monotonic() < give_up:
        try:
            client.list_topics(timeout=1)
        except KafkaException:
            continue
        return
    raise RuntimeError("the broker does not answer; see broker.log in its folder")


def main() -> None:
    try:
        broker, port = start(Path(sys.argv[1]))
    except NoBrokerError as why:
        sys.stdout.write(f"none {' '.join(str(why).split())}\n")
        return
    try:
        wait_for(broker, port)
        sys.stdout.write(f"ready 127.0.0.1:{port}\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        broker.kill()
        broker.wait()


if __name__ == "__main__":
    main()
