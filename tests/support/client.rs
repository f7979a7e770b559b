//! A connection that shows every byte: for text results over both protocols, and for protocol tests. Blocking, without
//! TLS and passwords; tests of those use a real driver.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer in a test takes longer.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Process id and secret, for cancel requests.
    pub key: (i32, i32),
    /// Parameters the server reported.
    pub parameters: Vec<(String, String)>,
    /// Notices since they were last taken.
    pub notices: Vec<DbError>,
    /// ReadyForQuery's last status: `I`, `T`, `E`.
    pub status: char,
    /// Sync is to be sent once the statement ended.
    sync_due: bool,
}

/// A backend message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// What one statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names of the columns; empty if it returns no rows.
    pub columns: Vec<String>,
    /// Their type oids.
    pub types: Vec<u32>,
    /// The rows in text form.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag.
    pub tag: String,
}

/// An ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbError {
    /// Field code and text, as sent.
    pub fields: Vec<(char, String)>,
}

/// What goes wrong in a test.
#[derive(Debug)]
pub enum Error {
    /// The server's answer.
    Db(DbError),
    /// The connection.
    Io(io::Error),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Client {
    /// Starts a session.
    pub fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Self> {
        Self::connect_with(address, &[("user", user), ("database", database), ("application_name", "tests")])
    }

    /// Starts a session with these startup parameters.
    pub fn connect_with(address: SocketAddr, parameters: &[(&str, &str)]) -> Result<Self> {
        let mut client = Self::open(address)?;
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        client.send_bytes(&[&length(&body)[..], &body].concat())?;
        client.answers()?;
        Ok(client)
    }

    /// Opens the socket and says nothing.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            key: (0, 0),
            parameters: Vec::new(),
            notices: Vec::new(),
            status: ' ',
            sync_due: false,
        })
    }

    /// Runs a query string by the simple protocol: an answer for each statement.
    pub fn simple(&mut self, sql: &str) -> Result<Vec<Answer>> {
        self.send(b'Q', &cstr(sql))?;
        self.answers()
    }

    /// Runs a query string, feeding `data` to a COPY FROM STDIN in it.
    pub fn simple_with_data(&mut self, sql: &str, data: &[u8]) -> Result<Vec<Answer>> {
        self.send(b'Q', &cstr(sql))?;
        self.collect(Some(data))
    }

    /// Runs one statement by the extended protocol, all text: Parse, Bind, Describe, Execute, and Sync once it ended.
    pub fn extended(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<Answer> {
        self.extended_with_data(sql, parameters, None)
    }

    /// The same, feeding `data` to a COPY FROM STDIN.
    pub fn extended_with_data(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
        data: Option<&[u8]>,
    ) -> Result<Answer> {
        self.send(b'P', &[cstr(""), cstr(sql), vec![0, 0]].concat())?;
        self.bind(parameters)?;
        self.send(b'D', b"P\0")?;
        self.send(b'E', &[0, 0, 0, 0, 0])?;
        self.send(b'H', &[])?;
        // Not yet Sync: a server that receives COPY data ignores it, and would not answer it later.
        self.sync_due = true;
        Ok(self.collect(data)?.pop().unwrap_or_default())
    }

    fn bind(&mut self, parameters: &[Option<&str>]) -> Result<()> {
        let count = u16::try_from(parameters.len()).expect("few parameters");
        let mut bind = [cstr(""), cstr(""), vec![0, 0], count.to_be_bytes().to_vec()].concat();
        for parameter in parameters {
            match parameter {
                None => bind.extend((-1_i32).to_be_bytes()),
                Some(text) => {
                    bind.extend(i32::try_from(text.len()).expect("short").to_be_bytes());
                    bind.extend(text.as_bytes());
                }
            }
        }
        bind.extend([0, 0]);
        self.send(b'B', &bind)
    }

    /// The first row's first value of a simple query; panics on an error.
    pub fn value(&mut self, sql: &str) -> String {
        let answers = self.simple(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let row = answers.last().and_then(|answer| answer.rows.first());
        let value =
            row.unwrap_or_else(|| panic!("{sql}: no row")).first().unwrap_or_else(|| panic!("{sql}: no column"));
        value.clone().unwrap_or_else(|| "NULL".into())
    }

    /// Runs statements; panics on an error.
    pub fn run(&mut self, sql: &str) -> Vec<Answer> {
        self.simple(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The SQLSTATE with which a query fails; panics if it does not.
    pub fn sqlstate(&mut self, sql: &str) -> String {
        match self.simple(sql) {
            Err(Error::Db(error)) => error.code().to_owned(),
            other => panic!("{sql}: an error was expected, not {other:?}"),
        }
    }

    /// Asks, on a connection of its own, to cancel what this session runs.
    pub fn cancel_request(address: SocketAddr, key: (i32, i32)) -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let words = [16, 80_877_102, key.0, key.1];
        stream.write_all(&words.map(i32::to_be_bytes).concat())?;
        // The server closes the connection once it has acted.
        let _ = stream.read_to_end(&mut Vec::new());
        Ok(())
    }

    /// Sends a message.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let message = [&[kind][..], &length(body), body].concat();
        self.send_bytes(&message)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next message, of any kind.
    pub fn receive(&mut self) -> Result<Message> {
        while self.buffer.len() < 5 || self.buffer.len() < 1 + frame(&self.buffer) {
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.buffer.extend(&chunk[..count]),
            }
        }
        let end = 1 + frame(&self.buffer);
        let body = self.buffer[5..end].to_vec();
        let kind = self.buffer[0];
        self.buffer.drain(..end);
        Ok(Message { kind, body })
    }

    /// Reads to ReadyForQuery.
    pub fn answers(&mut self) -> Result<Vec<Answer>> {
        self.collect(None)
    }

    fn collect(&mut self, mut data: Option<&[u8]>) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        let mut answer = Answer::default();
        let mut failed = None;
        loop {
            let Message { kind, body } = match self.receive() {
                Ok(message) => message,
                // After a fatal error the server closes the connection: the error is the answer.
                Err(error) => return Err(failed.map_or(error, Error::Db)),
            };
            if self.sync_due && matches!(kind, b'C' | b'I' | b'E') {
                self.sync_due = false;
                self.send(b'S', &[])?;
            }
            match kind {
                b'T' => (answer.columns, answer.types) = row_description(&body),
                b'D' => answer.rows.push(data_row(&body)),
                b'd' => answer.rows.push(vec![Some(String::from_utf8_lossy(&body).trim_end_matches('\n').to_owned())]),
                b'C' => {
                    answer.tag = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
                    answers.push(std::mem::take(&mut answer));
                }
                b'I' => answers.push(std::mem::take(&mut answer)),
                b'G' => {
                    match data.take() {
                        Some(data) => {
                            for chunk in data.chunks(8192) {
                                self.send(b'd', chunk)?;
                            }
                            self.send(b'c', &[])?;
                        }
                        None => self.send(b'f', b"no data\0")?,
                    }
                    // Nothing more is flushed before Sync.
                    if std::mem::take(&mut self.sync_due) {
                        self.send(b'S', &[])?;
                    }
                }
                b'E' => failed = failed.or(Some(DbError::parse(&body))),
                b'N' => self.notices.push(DbError::parse(&body)),
                b'S' => self.parameters.push(pair(&body)),
                b'R' if int(&body) != 0 => return Err(Error::Io(io::Error::other("the server asks for a password"))),
                b'K' => self.key = (int(&body), int(&body[4..])),
                b'Z' => {
                    self.status = char::from(body[0]);
                    return failed.map_or(Ok(answers), |error| Err(Error::Db(error)));
                }
                // ParseComplete, BindComplete, NoData, CopyOut, CopyDone, PortalSuspended, authentication.
                _ => {}
            }
        }
    }
}

impl DbError {
    fn parse(body: &[u8]) -> Self {
        let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        Self {
            fields: fields
                .map(|field| (char::from(field[0]), String::from_utf8_lossy(&field[1..]).into_owned()))
                .collect(),
        }
    }

    /// A field, empty if absent.
    pub fn field(&self, code: char) -> &str {
        self.fields.iter().find(|(name, _)| *name == code).map_or("", |(_, text)| text)
    }

    /// SQLSTATE.
    pub fn code(&self) -> &str {
        self.field('C')
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        self.field('M')
    }
}

impl Error {
    /// SQLSTATE, empty if the connection failed.
    pub fn code(&self) -> &str {
        match self {
            Self::Db(error) => error.code(),
            Self::Io(_) => "",
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())?;
        for (code, label) in [('D', "DETAIL"), ('H', "HINT")] {
            if !self.field(code).is_empty() {
                write!(f, " {label}: {}", self.field(code))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Db(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).expect("a short message").to_be_bytes()
}

fn frame(buffer: &[u8]) -> usize {
    usize::try_from(int(&buffer[1..])).expect("a length is not negative")
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn pair(body: &[u8]) -> (String, String) {
    let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn row_description(body: &[u8]) -> (Vec<String>, Vec<u32>) {
    let mut rest = &body[2..];
    let mut columns = (Vec::new(), Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        columns.0.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        columns.1.push(int(&rest[end + 7..]).cast_unsigned());
        rest = &rest[end + 19..];
    }
    columns
}

fn data_row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut row = Vec::new();
    while !rest.is_empty() {
        let size = int(rest);
        rest = &rest[4..];
        row.push(usize::try_from(size).ok().map(|size| {
            let value = String::from_utf8_lossy(&rest[..size]).into_owned();
            rest = &rest[size..];
            value
        }));
    }
    row
}
