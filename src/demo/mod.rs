//! `tidemill demo`: example data, or the user's own files, through the front door like any client; then queries to paste.
//!
//! A second start finds the data and reuses it: a comment on each table says whose it is and whether it is complete, so
//! that a half-loaded table is loaded again, and a table of the user's is never touched. `anyhow` is fine here: this is the
//! command line's other half.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::SinkExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_postgres::{Client, NoTls};

use crate::background;

/// The example data, row by row, from a seed.
mod example;

/// Types of columns from the values in a file.
mod infer;

/// The user's own files.
mod load;

/// On a table that is being filled, and one that is complete.
const LOADING: &str = "Loaded by tidemill demo (not complete)";
const COMPLETE: &str = "Loaded by tidemill demo";

/// Loads what is missing, and prints what to try.
///
/// # Errors
/// What went wrong, for a person to read.
pub async fn run(server: SocketAddr, files: &[PathBuf]) -> anyhow::Result<()> {
    let client = connect(server).await?;
    let url = format!("postgres://{USER}@{}", reachable(server));
    if files.is_empty() {
        example::load(&client).await?;
        print_examples(&url);
    } else {
        for file in files {
            let table =
                load::load(&client, file).await.with_context(|| format!("could not load {}", file.display()))?;
            say(&format!("  psql {url} -c 'SELECT * FROM {table} LIMIT 10'"));
        }
    }
    say("\nStop with Ctrl-C. The data stays; the next start reuses it.");
    Ok(())
}

const USER: &str = "tidemill";

async fn connect(server: SocketAddr) -> anyhow::Result<Client> {
    let server = reachable(server);
    let mut config = tokio_postgres::Config::new();
    config.host(server.ip().to_string()).port(server.port()).user(USER).dbname(USER).application_name("tidemill demo");
    // As for psql: the one variable that is not ours, and the only place that reads it.
    if let Ok(password) = std::env::var("PGPASSWORD") {
        config.password(password);
    }
    let (client, connection) =
        config.connect(NoTls).await.context("could not log in as tidemill (if it has a password, set PGPASSWORD)")?;
    background::spawn("demo connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the demo's connection ended");
        }
    });
    Ok(client)
}

/// Where a server that listens on all addresses can be reached from here.
fn reachable(server: SocketAddr) -> SocketAddr {
    let ip = match server.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, server.port())
}

/// What is known about a table of that name in the schema `public`.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// There is none, or half of one of ours, now dropped.
    Missing,
    /// Complete, and ours.
    Ours,
    /// Somebody else's.
    Other,
}

async fn find(client: &Client, table: &str) -> anyhow::Result<Found> {
    let sql = "SELECT coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relname = $1";
    let Some(row) = client.query_opt(sql, &[&table]).await? else { return Ok(Found::Missing) };
    match row.try_get::<_, &str>(0)? {
        COMPLETE => Ok(Found::Ours),
        LOADING => {
            client.batch_execute(&format!("DROP TABLE public.{table}")).await?;
            Ok(Found::Missing)
        }
        _ => Ok(Found::Other),
    }
}

/// Creates a table, fills it by COPY, and marks it complete. `chunks`: text for COPY, and the rows in it.
async fn fill(
    client: &Client,
    table: &str,
    columns: &str,
    copy_options: &str,
    chunks: impl Iterator<Item = anyhow::Result<(Bytes, u64)>>,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    client.batch_execute(&format!("CREATE TABLE public.{table} ({columns})")).await?;
    client.batch_execute(&format!("COMMENT ON TABLE public.{table} IS '{LOADING}'")).await?;
    let sink = client.copy_in(&format!("COPY public.{table} FROM STDIN{copy_options}")).await?;
    let mut sink = std::pin::pin!(sink);
    for chunk in chunks {
        let (bytes, done) = chunk?;
        sink.send(bytes).await?;
        bar.inc(done);
    }
    let rows = sink.finish().await?;
    client.batch_execute(&format!("COMMENT ON TABLE public.{table} IS '{COMPLETE}'")).await?;
    Ok(rows)
}

fn progress(total: u64, unit: &'static str) -> anyhow::Result<ProgressBar> {
    let template = match unit {
        "bytes" => "  {msg:16} {bar:40} {bytes}/{total_bytes}  {bytes_per_sec}",
        _ => "  {msg:16} {bar:40} {human_pos}/{human_len} rows  {per_sec}",
    };
    Ok(ProgressBar::new(total).with_style(ProgressStyle::with_template(template)?))
}

/// Refuses to touch what is not ours.
fn not_ours(table: &str) -> anyhow::Error {
    anyhow::anyhow!("there is a table \"{table}\" that the demo did not make: rename it, or use another --data-dir")
}

#[expect(clippy::print_stdout, reason = "this is the command line's output")]
fn say(text: &str) {
    println!("{text}");
}

fn print_examples(url: &str) {
    say("\nFive things to try:");
    for (number, (title, sql)) in example::QUERIES.iter().enumerate() {
        say(&format!("\n{}. {title}\n   psql {url} -c \"{sql}\"", number + 1));
    }
}

/// Fails early, before anything is loaded, if a table of that name is in the way.
async fn missing(client: &Client, tables: &[&str]) -> anyhow::Result<Vec<bool>> {
    let mut missing = Vec::new();
    for table in tables {
        match find(client, table).await? {
            Found::Missing => missing.push(true),
            Found::Ours => missing.push(false),
            Found::Other => bail!(not_ours(table)),
        }
    }
    Ok(missing)
}
