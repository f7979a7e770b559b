//! Messages in Avro, written by apache-avro.

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};

use super::kafka::{Broker, create};
use super::wait_for;
use crate::support::server::Server;

const SCHEMA: &str = r#"{"type": "record", "name": "order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
    {"name": "note", "type": ["null", "string"]},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "token", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "blob", "type": "bytes"},
    {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["buy", "sell"]}},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "count", "type": "int"}]}}},
    {"name": "extra", "type": {"type": "map", "values": "long"}}
]}"#;

fn order(id: i64, note: Option<&str>) -> Vec<u8> {
    let line = Value::Record(vec![("sku".into(), Value::String("x".into())), ("count".into(), Value::Int(2))]);
    let note = note
        .map_or(Value::Union(0, Box::new(Value::Null)), |note| Value::Union(1, Box::new(Value::String(note.into()))));
    let fields: Vec<(&str, Value)> = vec![
        ("id", Value::Long(id)),
        ("placed", Value::TimestampMicros(1_767_225_600_000_001)),
        // 12345678901234567.89: more digits than a double has.
        ("price", Value::Decimal(1_234_567_890_123_456_789_i64.to_be_bytes().to_vec().into())),
        ("note", note),
        ("day", Value::Date(20_454)),
        ("at", Value::TimeMillis(3_723_004)),
        ("token", Value::Uuid("0190cafe-0000-7000-8000-0123456789ab".parse().unwrap())),
        ("blob", Value::Bytes(vec![0, 255])),
        ("kind", Value::Enum(1, "sell".into())),
        // What looks like a date is what its schema says: a string.
        ("tags", Value::Array(vec![Value::String("2026-01-01".into())])),
        ("lines", Value::Array(vec![line])),
        ("extra", Value::Map([("k".to_owned(), Value::Long(1))].into())),
    ];
    let record = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    to_avro_datum(&Schema::parse_str(SCHEMA).unwrap(), record).unwrap()
}

#[test]
fn datums_become_rows_of_the_types_of_their_schema() {
    let broker = Broker::with_topic("orders", 1);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id bigint) WITH (tidemill.evolve = 'add_columns')");
    let datum = order(1, None);
    let huge_string = b"\x02\x00\x00\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let longer = [datum.as_slice(), b"!"].concat();
    broker.send("orders", 0, &[&datum, &datum[..20], huge_string, &longer, b"", &order(2, Some("two\nlines"))]);
    create(&mut client, &broker, "orders", &format!(", format avro, schema '{SCHEMA}'"));
    wait_for(&mut client, "SELECT lag FROM tidemill.sources", "0");
    wait_for(&mut client, "SELECT count(*) FROM t", "2");
    let types = "SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attname)
         FROM pg_attribute a JOIN pg_class c ON a.attrelid = c.oid WHERE c.relname = 't' AND a.attnum > 0";
    assert_eq!(
        client.value(types),
        "at time without time zone, blob bytea, day date, extra jsonb, id bigint, kind text, lines jsonb, note text, \
         placed timestamp with time zone, price numeric(20,2), tags text[], token uuid"
    );
    client.run("SET TimeZone = 'UTC'");
    let values = "SELECT concat_ws(' ', id, note, placed, price, day, at, token, blob, kind, tags, lines, extra) FROM t ORDER BY id";
    let common = "2026-01-01 00:00:00.000001+00 12345678901234567.89 2026-01-01 01:02:03.004 \
         0190cafe-0000-7000-8000-0123456789ab \\x00ff sell {2026-01-01} [{\"sku\": \"x\", \"count\": 2}] {\"k\": 1}";
    assert_eq!(client.value(values), format!("1 {common}"));
    assert_eq!(client.value(&format!("{values} OFFSET 1")), format!("2 two\nlines {common}"));
    // What is no datum is kept as it came.
    let letters = "SELECT string_agg(concat_ws(' ', byte_offset, sqlstate, format, length(raw)), ', ' ORDER BY byte_offset) FROM tidemill.dead_letters";
    assert_eq!(
        client.value(letters),
        format!("1 22P03 avro 20, 2 22P03 avro 14, 3 22P03 avro {}, 4 22P03 avro 0", longer.len())
    );

    // What does not fit the table is kept as a document, which the table takes once it is mended.
    client.run("CREATE TABLE strict (id smallint, note text, price numeric) WITH (tidemill.evolve = 'add_columns')");
    let brokers = broker.brokers();
    broker.send("orders", 0, &[&order(100_000, Some("late"))]);
    client.run(&format!(
        "CREATE SOURCE strictly FROM KAFKA (brokers '{brokers}', topic 'orders', format avro, schema '{SCHEMA}') INTO strict"
    ));
    wait_for(
        &mut client,
        "SELECT count(*) FROM tidemill.dead_letters WHERE table_name = 'strict' AND format = 'json'",
        "1",
    );
    client.run("ALTER TABLE strict ALTER COLUMN id TYPE bigint");
    client.run("CALL tidemill.replay_dead_letters('strict')");
    wait_for(
        &mut client,
        "SELECT string_agg(concat_ws(' ', id, note, price), ', ' ORDER BY id) FROM strict",
        "1 12345678901234567.89, 2 two\nlines 12345678901234567.89, 100000 late 12345678901234567.89",
    );
}

#[test]
fn headers_of_a_registry() {
    let broker = Broker::with_topic("orders", 1);
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (v int)");
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "v", "type": "int"}]}"#;
    broker.send("orders", 0, &[&[0, 0, 0, 0, 7, 2], &[0, 0, 0, 0, 8, 4], &[6]]);
    create(&mut client, &broker, "orders", &format!(", format avro, schema '{schema}', schema_id 7"));
    wait_for(&mut client, "SELECT lag FROM tidemill.sources", "0");
    wait_for(&mut client, "SELECT string_agg(v::text, ' ') FROM t", "1");
    assert_eq!(
        client.value("SELECT string_agg(reason, ', ' ORDER BY byte_offset) FROM tidemill.dead_letters"),
        "the message has a schema of id 8, not 7, the message is shorter than the header of a schema's id"
    );
    let server = server.crash_and_restart();
    let mut client = server.connect();
    broker.send("orders", 0, &[&[0, 0, 0, 0, 7, 10]]);
    wait_for(&mut client, "SELECT string_agg(v::text, ' ' ORDER BY v) FROM t", "1 5");
}
