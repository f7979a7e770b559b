//! tokio-postgres: typed parameters and rows, pipelining, COPY, portals, notifications, cancelling.
use std::pin::pin;

use futures::{SinkExt, TryStreamExt, future};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn settings() -> tokio_postgres::Config {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let mut config = tokio_postgres::Config::new();
    config.host(of("PGHOST")).port(of("PGPORT").parse().unwrap_or(5432)).user(of("PGUSER"));
    config.password(of("PGPASSWORD")).dbname(of("PGDATABASE")).application_name("basics");
    config
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (mut client, mut connection) = settings().connect(NoTls).await?;
    let (notices, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = future::poll_fn(|cx| connection.poll_message(cx)).await.transpose() {
            let text = match message {
                AsyncMessage::Notice(notice) => format!("{} {}", notice.severity(), notice.message()),
                AsyncMessage::Notification(note) => format!("{}: {}", note.channel(), note.payload()),
                _ => continue,
            };
            if notices.send(text).is_err() {
                return;
            }
        }
    });
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz, day date, ok boolean, raw bytea, tags text[],
             doc jsonb, key uuid, x float8, small smallint, big bigint, one real, letter \"char\");
             CREATE TABLE IF NOT EXISTS t (id int)",
        )
        .await?;
    println!("{:?}", heard.recv().await);
    let at = chrono::DateTime::from_timestamp(1_709_208_000, 123_456_000).ok_or("no such instant")?;
    let insert = client
        .prepare("INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id, at")
        .await?;
    println!("{:?}", insert.params());
    for column in insert.columns() {
        println!("{} {} {:?}", column.name(), column.type_(), column.column_id());
    }
    let doc = serde_json::json!({"a": [1, null, "ü"]});
    let key = uuid::Uuid::from_u128(7);
    let tags = vec![Some("a"), None, Some("b,\"c\"")];
    let values: [&(dyn ToSql + Sync); 14] = [
        &1_i32, &"one", &at, &at.date_naive(), &true, &&b"\x00\xff"[..], &tags, &doc, &key, &1.5_f64, &7_i16, &(1_i64 << 40),
        &2.5_f32, &65_i8,
    ];
    println!("{:?}", client.query_one(&insert, &values).await?);
    let row = client.query_one("SELECT * FROM t", &[]).await?;
    println!("{:?} {:?}", row.get::<_, Vec<Option<String>>>("tags"), row.get::<_, serde_json::Value>("doc"));
    println!("{:?} {} {}", row.get::<_, &[u8]>("raw"), row.get::<_, uuid::Uuid>("key"), row.get::<_, i8>("letter"));
    println!("{:?} {}", row.get::<_, chrono::DateTime<chrono::Utc>>("at"), row.get::<_, chrono::NaiveDate>("day"));
    // Pipelined: all are sent before the first answer is read.
    let select = client.prepare_typed("SELECT $1 + 1, name FROM t WHERE id = $2", &[Type::INT8, Type::INT4]).await?;
    let runs = (0..20_i64).map(|number| {
        let (client, select) = (&client, &select);
        async move { client.query(select, &[&number, &1_i32]).await.map(|rows| rows[0].get::<_, i64>(0)) }
    });
    println!("{:?}", future::try_join_all(runs).await?);
    let copied = {
        let sink = client.copy_in("COPY t (id, name) FROM STDIN").await?;
        let mut sink = pin!(sink);
        for number in 10..15 {
            sink.send(bytes::Bytes::from(format!("{number}\tname {number}\n"))).await?;
        }
        sink.finish().await?
    };
    let out = client.copy_out("COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT (FORMAT csv)").await?;
    let out: Vec<bytes::Bytes> = out.try_collect().await?;
    println!("{copied} {}", String::from_utf8_lossy(&out.concat()));
    let transaction = client.build_transaction().read_only(true).deferrable(true)
        .isolation_level(tokio_postgres::IsolationLevel::Serializable).start().await?;
    let portal = transaction.bind("SELECT id FROM t ORDER BY id", &[]).await?;
    for _ in 0..3 {
        let rows = transaction.query_portal(&portal, 3).await?;
        println!("{:?}", rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>());
    }
    if let Err(error) = transaction.execute("DELETE FROM t", &[]).await {
        println!("{:?} {error}", error.code());
    }
    transaction.rollback().await?;
    let mut transaction = client.transaction().await?;
    let savepoint = transaction.savepoint("within").await?;
    println!("{}", savepoint.execute("UPDATE t SET name = upper(name) WHERE id > $1", &[&9_i32]).await?);
    savepoint.rollback().await?;
    transaction.commit().await?;
    println!("{}", client.query_one("SELECT count(*) FROM t WHERE name LIKE 'name%'", &[]).await?.get::<_, i64>(0));
    for statement in ["SELECT 1/0", "SELECT * FROM nowhere", "INSERT INTO t (id) VALUES (1)", "SELECT $1::int", "SELEC"] {
        match client.query(statement, &[]).await {
            Ok(rows) => println!("{} rows", rows.len()),
            Err(error) => match error.as_db_error() {
                Some(known) => println!("{} {known} {:?} {:?}", known.code().code(), known.position(), known.constraint()),
                None => println!("{error}"),
            },
        }
    }
    for message in client.simple_query("SELECT 1 AS a; INSERT INTO t (id) VALUES (99); SELECT NULL::text").await? {
        match message {
            SimpleQueryMessage::Row(row) => println!("row {:?}", row.get(0)),
            SimpleQueryMessage::CommandComplete(rows) => println!("{rows} rows"),
            _ => {}
        }
    }
    client.batch_execute("LISTEN news; NOTIFY news, 'something'").await?;
    println!("{:?}", heard.recv().await);
    let token = client.cancel_token();
    let (slept, cancelled) = future::join(client.execute("SELECT pg_sleep(60)", &[]), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    })
    .await;
    cancelled?;
    println!("{:?}", slept.err().and_then(|error| error.code().map(|code| code.code().to_owned())));
    Ok(())
}
