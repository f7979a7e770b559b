"""confluent-kafka, a stock producer, with a broker in its own process: the source of the documentation as it is written there.
Usage: kafka_check.py"""
import json
import time

import psycopg
from confluent_kafka import Producer

PATIENCE = 60


def wait_for(connection, sql, expected):
    deadline = time.monotonic() + PATIENCE
    while (found := connection.execute(sql).fetchone()) != expected:
        state = connection.execute("SELECT state, rows, last_error FROM tidemill.sources").fetchall()
        assert time.monotonic() < deadline, (sql, found, expected, state)
        time.sleep(0.1)


def main():
    producer = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "", "compression.type": "zstd", "linger.ms": 5})
    brokers = ",".join(f"{broker.host}:{broker.port}" for broker in producer.list_topics("clicks", 10).brokers.values())
    with psycopg.connect("", autocommit=True) as connection:
        connection.execute("CREATE TABLE ad_click (id bigint, at timestamptz) WITH (tidemill.evolve = 'add_columns')")
        connection.execute(f"CREATE SOURCE clicks FROM KAFKA (brokers '{brokers}', topic 'clicks', format json) INTO ad_click")
        failures = []
        delivered = lambda error, message: failures.append(error) if error else None
        for number in range(10_000):
            click = {"id": number, "at": f"2026-01-01T00:00:{number % 60:02}Z", "campaign": f"c{number % 7}", "price": number / 4}
            producer.produce("clicks", json.dumps(click), key=str(number % 100), on_delivery=delivered)
            producer.poll(0)
        producer.produce("clicks", "{broken", on_delivery=delivered)
        assert producer.flush(PATIENCE) == 0 and not failures, failures
        # The columns come with the first messages.
        wait_for(connection, "SELECT count(*) FROM ad_click", (10_000,))
        wait_for(connection, "SELECT count(*), count(DISTINCT id), count(DISTINCT campaign), max(price), max(at)::text FROM ad_click",
                 (10_000, 10_000, 7, 2_499.75, "2026-01-01 00:00:59+00"))
        wait_for(connection, "SELECT rows, dead_letters, state FROM tidemill.sources WHERE name = 'clicks'", (10_000, 1, "running"))
        assert connection.execute("SELECT convert_from(raw, 'UTF8') FROM tidemill.dead_letters WHERE table_name = 'ad_click'").fetchall() == [("{broken",)]
        connection.execute("DROP TABLE ad_click CASCADE")


main()
print("confluent-kafka: 10,000 clicks of a stock producer, each once")
