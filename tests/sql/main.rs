//! SQL through the front door: one trial per `tests/sql/**/*.slt`, found at run time, so that a new file needs no
//! compilation and `cargo test --test sql order_by` runs what it names. One server for the run, one database per file.
//!
//! Files are in the sqllogictest format. Ours besides:
//! * A value is printed as PostgreSQL prints it; NULL is `NULL`, the empty string `(empty)`, a line break `\n`.
//! * `statement error (42P01)` compares the SQLSTATE, `statement error <regex>` the text `SQLSTATE: message DETAIL: … HINT: …`.
//! * COPY FROM STDIN takes its data from the lines after the statement's `;`. COPY TO STDOUT is a query with one column.
//! * A comment `# protocol: extended` runs the file by Parse/Bind/Describe/Execute, `# protocol: both` by both.
//! * `skipif tidemill` and `onlyif tidemill` mark what differs from PostgreSQL on purpose; the comment before says why.
//!
//! Expected results are PostgreSQL's: `tests/sql/oracle.py FILE…` runs a file there and fills them in.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{ColumnType, DB, DBOutput, Runner};

use support::client::{Answer, Client, Error};
use support::server::Server;

#[path = "../support/mod.rs"]
mod support;

/// The server, started by the first trial that runs: `--list` starts none.
static SERVER: Mutex<Option<Server>> = Mutex::new(None);
/// Numbers the databases.
static DATABASES: AtomicU32 = AtomicU32::new(0);

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let trials = files.iter().flat_map(|file| trials(&root, file)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // A static is never dropped, and the server must not outlive the tests.
    drop(SERVER.lock().expect("no panic while locked").take());
    conclusion.exit();
}

/// The server's address; starts it if nobody did.
fn address() -> SocketAddr {
    SERVER.lock().expect("no panic while locked").get_or_insert_with(Server::start).pg()
}

/// How a file's statements travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

fn trials(root: &Path, file: &Path) -> Vec<Trial> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let name = file.strip_prefix(root).unwrap_or(file).with_extension("").display().to_string();
    let said = text.lines().find_map(|line| line.strip_prefix("# protocol: ")).unwrap_or("simple").trim().to_owned();
    let protocols: &[Protocol] = match said.as_str() {
        "simple" => &[Protocol::Simple],
        "extended" => &[Protocol::Extended],
        "both" => &[Protocol::Simple, Protocol::Extended],
        other => panic!("{name}: unknown protocol \"{other}\""),
    };
    let trial = |protocol: Protocol| {
        let suffix = if protocol == Protocol::Extended { " (extended)" } else { "" };
        let file = file.to_owned();
        let name = format!("{name}{suffix}");
        let known = known_failure(root, &name);
        Trial::test(name, move || match (run(&file, protocol), known) {
            (Err(_), true) => Ok(()),
            (Ok(()), true) => Err("it passes: take it off tests/sql/known_failures.txt".into()),
            (result, false) => result,
        })
    };
    protocols.iter().copied().map(trial).collect()
}

/// True for a file that is known to differ from PostgreSQL where it should not: the list says how, and may only shrink.
fn known_failure(root: &Path, name: &str) -> bool {
    let list = std::fs::read_to_string(root.join("known_failures.txt")).unwrap_or_default();
    list.lines().any(|line| line.split('#').next().is_some_and(|known| known.trim() == name))
}

/// Runs a file in a database of its own.
fn run(file: &Path, protocol: Protocol) -> Result<(), Failed> {
    let address = address();
    let database = format!("slt_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    Client::connect(address, "tidemill", "tidemill")?.simple(&format!("CREATE DATABASE {database}"))?;
    let mut runner = Runner::new(|| {
        let session = Session::new(address, &database, protocol);
        async move { session }
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    runner.with_normalizer(|value| value.trim_end().to_owned());
    // Every record runs, so that one run shows all that is wrong with a file.
    let records = sqllogictest::parse_file(file).map_err(|error| error.to_string())?;
    let mut failures = Vec::new();
    for record in records {
        if matches!(record, sqllogictest::Record::Halt { .. }) {
            break;
        }
        if let Err(failure) = runner.run(record) {
            failures.push(failure.display(false).to_string());
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n").into()) }
}

/// A session in a file's database.
struct Session {
    client: Client,
    protocol: Protocol,
}

impl Session {
    fn new(address: SocketAddr, database: &str, protocol: Protocol) -> Result<Self, SessionError> {
        let client = Client::connect(address, "tidemill", database)?;
        Ok(Self { client, protocol })
    }
}

impl DB for Session {
    type Error = SessionError;
    type ColumnType = Kind;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, SessionError> {
        // COPY's data follows the statement: "COPY t FROM STDIN;\n1\tone".
        let (sql, data) = match sql.split_once(";\n") {
            Some((statement, data)) if is_copy_in(statement) => (statement, Some(format!("{data}\n"))),
            _ => (sql, None),
        };
        let answer = match (self.protocol, data) {
            (Protocol::Simple, None) => self.client.simple(sql)?.pop().unwrap_or_default(),
            (Protocol::Simple, Some(data)) => {
                self.client.simple_with_data(sql, data.as_bytes())?.pop().unwrap_or_default()
            }
            (Protocol::Extended, None) => self.client.extended(sql, &[])?,
            (Protocol::Extended, Some(data)) => self.client.extended_with_data(sql, &[], Some(data.as_bytes()))?,
        };
        Ok(output(answer))
    }

    fn engine_name(&self) -> &str {
        "tidemill"
    }

    fn error_sql_state(error: &SessionError) -> Option<String> {
        match &error.0 {
            Error::Db(error) => Some(error.code().to_owned()),
            Error::Io(_) => None,
        }
    }
}

fn is_copy_in(statement: &str) -> bool {
    let statement = statement.trim_start().to_ascii_lowercase();
    statement.starts_with("copy ") && statement.contains("from stdin")
}

fn output(answer: Answer) -> DBOutput<Kind> {
    if answer.columns.is_empty() && answer.rows.is_empty() {
        // The last word of most tags is the number of rows.
        let count = answer.tag.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
        return DBOutput::StatementComplete(count);
    }
    let types =
        if answer.types.is_empty() { vec![Kind::Text] } else { answer.types.iter().copied().map(Kind::of).collect() };
    let rows = answer.rows.into_iter().map(|row| row.into_iter().map(print).collect()).collect();
    DBOutput::Rows { types, rows }
}

fn print(value: Option<String>) -> String {
    match value {
        None => "NULL".into(),
        Some(value) if value.is_empty() => "(empty)".into(),
        Some(value) => value.replace('\n', "\\n"),
    }
}

/// A column's type in `query` lines, coarse on purpose: tests of types use pg_typeof.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// `B` bool
    Bool,
    /// `I` int2, int4, int8
    Integer,
    /// `R` float4, float8, numeric
    Real,
    /// `D` date, time, timestamp, timestamptz, interval
    Time,
    /// `T` everything else
    Text,
}

impl Kind {
    fn of(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            20 | 21 | 23 => Self::Integer,
            700 | 701 | 1700 => Self::Real,
            1082 | 1083 | 1114 | 1184 | 1186 => Self::Time,
            _ => Self::Text,
        }
    }
}

impl ColumnType for Kind {
    fn from_char(value: char) -> Option<Self> {
        Some(match value {
            'B' => Self::Bool,
            'I' => Self::Integer,
            'R' => Self::Real,
            'D' => Self::Time,
            'T' => Self::Text,
            _ => return None,
        })
    }

    fn to_char(&self) -> char {
        match self {
            Self::Bool => 'B',
            Self::Integer => 'I',
            Self::Real => 'R',
            Self::Time => 'D',
            Self::Text => 'T',
        }
    }
}

/// An error as the files spell it.
#[derive(Debug)]
struct SessionError(Error);

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SessionError {}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the tests' folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}
