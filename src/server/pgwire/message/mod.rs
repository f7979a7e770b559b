//! What clients send: bytes in, messages out. Pure functions over byte slices, so that they can be fuzzed.
//!
//! Every read is bounded by the message's own frame: a message that lies about its inner lengths is an error (08P01),
//! never a panic and never a large allocation. pgwire's decoders read past short bodies and panic there, which is why
//! these are ours.

use bytes::{Buf, Bytes};

use crate::error::SqlState;
use crate::{Error, Result};

/// Longest startup packet, bytes. PostgreSQL's MAX_STARTUP_PACKET_LENGTH.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Longest message of a kind that carries user data, bytes.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Longest other message, bytes. PostgreSQL's PQ_SMALL_MESSAGE_LIMIT.
const MESSAGE_BYTES_SMALL: usize = 10_000;
/// Longest authentication message, bytes. PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Startup {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    Gss,
    /// Cancels another session's statement.
    Cancel {
        /// As BackendKeyData said.
        pid: i32,
        /// As BackendKeyData said.
        secret: Bytes,
    },
    /// Begins a session.
    Session {
        /// Minor protocol version; the major one is 3.
        minor: u16,
        /// In the order sent.
        parameters: Vec<(String, String)>,
    },
}

/// What Describe and Close are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// A message after startup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// A simple query string.
    Query(String),
    /// Prepares a statement.
    Parse {
        /// The statement's name.
        name: String,
        /// Its text.
        query: String,
        /// Declared parameter types; 0: not declared.
        types: Vec<u32>,
    },
    /// Makes a portal from a statement.
    Bind {
        /// The portal's name.
        portal: String,
        /// The statement's name.
        statement: String,
        /// Formats of the parameters: none, one for all, or one each.
        formats: Vec<i16>,
        /// The parameters; `None` is NULL.
        values: Vec<Option<Bytes>>,
        /// Formats of the result's columns: none, one for all, or one each.
        result_formats: Vec<i16>,
    },
    /// Asks what a statement or portal takes and gives.
    Describe(Target, String),
    /// Forgets a statement or portal.
    Close(Target, String),
    /// Runs a portal.
    Execute {
        /// The portal's name.
        portal: String,
        /// Rows to send before it is suspended; ≤ 0: all.
        rows_max: i32,
    },
    /// Asks for the answers so far.
    Flush,
    /// Ends an extended-query cycle.
    Sync,
    /// The function-call protocol, long obsolete.
    FunctionCall,
    /// COPY input.
    CopyData(Bytes),
    /// COPY input ends.
    CopyDone,
    /// The client gives up its COPY.
    CopyFail(String),
    /// A password or SASL message.
    Password(Bytes),
    /// Goodbye.
    Terminate,
}

/// The length of the startup packet at the beginning of `input`, as soon as it can be told.
///
/// # Errors
/// 08P01 for a length no startup packet has: these are bytes of another protocol.
pub(super) fn startup_length(input: &[u8]) -> Result<Option<usize>> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(length @ 8..=STARTUP_BYTES_MAX) => Ok(Some(length)),
        _ => Err(violation("invalid length of startup packet")),
    }
}

/// Reads a whole startup packet (its length included).
///
/// # Errors
/// 0A000 for another protocol version, 08P01 for a malformed packet.
pub(super) fn startup(packet: Bytes) -> Result<Startup> {
    let mut reader = Reader(packet);
    reader.u32()?;
    let major = reader.u16()?;
    let minor = reader.u16()?;
    match (major, minor) {
        (1234, 5678) => {
            let pid = reader.i32()?;
            // Four bytes in protocol 3.0, up to 256 in 3.2.
            if !(4..=256).contains(&reader.0.len()) {
                return Err(violation("invalid length of startup packet"));
            }
            Ok(Startup::Cancel { pid, secret: reader.0 })
        }
        (1234, 5679) => Ok(Startup::Ssl),
        (1234, 5680) => Ok(Startup::Gss),
        (3, minor) => Ok(Startup::Session { minor, parameters: startup_parameters(reader)? }),
        (major, minor) => Err(Error::unsupported(format!(
            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"
        ))),
    }
}

fn startup_parameters(mut reader: Reader) -> Result<Vec<(String, String)>> {
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut parameters = Vec::new();
    loop {
        let name = reader.string().map_err(|_| layout())?;
        if name.is_empty() {
            break;
        }
        parameters.push((name, reader.string().map_err(|_| layout())?));
    }
    if reader.0.is_empty() { Ok(parameters) } else { Err(layout()) }
}

/// The length of the message at the beginning of `input`, type byte included, as soon as it can be told.
///
/// # Errors
/// 08P01 (fatal) for an unknown type or a length it cannot have: the stream cannot be followed any more.
pub(super) fn length(input: &[u8]) -> Result<Option<usize>> {
    let Some(&kind) = input.first() else { return Ok(None) };
    let limit = match kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' => MESSAGE_BYTES_MAX,
        b'p' => PASSWORD_BYTES_MAX,
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => MESSAGE_BYTES_SMALL,
        _ => return Err(violation(format!("invalid frontend message type {kind}")).fatal()),
    };
    let Some(length) = input.get(1..5).and_then(|bytes| bytes.first_chunk::<4>()) else { return Ok(None) };
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(length) if length >= 4 && length <= limit => Ok(Some(length + 1)),
        _ => Err(violation("invalid message length").fatal()),
    }
}

/// Reads one whole message (its type byte and length included, as long as [`length`] said).
///
/// # Errors
/// 08P01 for a malformed body, 22021 for text that is not UTF-8; the next message can still be read.
pub(super) fn message(mut frame: Bytes) -> Result<Message> {
    if frame.len() < 5 {
        return Err(violation("invalid message length").fatal());
    }
    let kind = frame.get_u8();
    frame.advance(4);
    let mut reader = Reader(frame);
    let message = match kind {
        b'Q' => Message::Query(reader.string()?),
        b'P' => {
            let (name, query) = (reader.string()?, reader.string()?);
            Message::Parse { name, query, types: reader.list(4, Reader::u32)? }
        }
        b'B' => Message::Bind {
            portal: reader.string()?,
            statement: reader.string()?,
            formats: reader.list(2, Reader::i16)?,
            values: reader.list(4, Reader::value)?,
            result_formats: reader.list(2, Reader::i16)?,
        },
        b'D' => Message::Describe(reader.target("DESCRIBE")?, reader.string()?),
        b'C' => Message::Close(reader.target("CLOSE")?, reader.string()?),
        b'E' => Message::Execute { portal: reader.string()?, rows_max: reader.i32()? },
        b'f' => Message::CopyFail(reader.string()?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'c' => Message::CopyDone,
        b'F' => return Ok(Message::FunctionCall),
        b'd' => return Ok(Message::CopyData(reader.0)),
        b'p' => return Ok(Message::Password(reader.0)),
        kind => return Err(violation(format!("invalid frontend message type {kind}")).fatal()),
    };
    if reader.0.is_empty() { Ok(message) } else { Err(violation("invalid message format")) }
}

/// SASLInitialResponse: the mechanism's name and its first data.
///
/// # Errors
/// 08P01 for a malformed body.
pub(super) fn sasl_initial(body: Bytes) -> Result<(String, Option<Bytes>)> {
    let mut reader = Reader(body);
    let mechanism = reader.string()?;
    let data = reader.value()?;
    if reader.0.is_empty() { Ok((mechanism, data)) } else { Err(violation("invalid message format")) }
}

/// An 08P01 error.
pub(super) fn violation(message: impl Into<String>) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// Takes values from the front of a message's body.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, bytes: usize) -> Result<Bytes> {
        if self.0.len() < bytes {
            return Err(violation("insufficient data left in message"));
        }
        Ok(self.0.split_to(bytes))
    }

    fn need(&self, bytes: usize) -> Result<()> {
        if self.0.len() < bytes { Err(violation("insufficient data left in message")) } else { Ok(()) }
    }

    fn u16(&mut self) -> Result<u16> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    fn i16(&mut self) -> Result<i16> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    fn u32(&mut self) -> Result<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    fn i32(&mut self) -> Result<i32> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    /// Text up to a zero byte.
    fn string(&mut self) -> Result<String> {
        let end = memchr::memchr(0, &self.0).ok_or_else(|| violation("invalid string in message"))?;
        let text = match std::str::from_utf8(&self.0[..end]) {
            Ok(text) => text.to_owned(),
            Err(error) => return Err(not_utf8(&self.0[..end], error)),
        };
        self.0.advance(end + 1);
        Ok(text)
    }

    /// A length and that many bytes; -1 is NULL.
    fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| violation("insufficient data left in message"))?;
                self.take(length).map(Some)
            }
        }
    }

    /// A count and that many items of at least `size` bytes each.
    fn list<T>(&mut self, size: usize, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = usize::from(self.u16()?);
        self.need(count * size)?;
        (0..count).map(|_| item(self)).collect()
    }

    fn target(&mut self, message: &str) -> Result<Target> {
        self.need(1)?;
        match self.0.get_u8() {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(violation(format!("invalid {message} message subtype {other}"))),
        }
    }
}

/// PostgreSQL's words for text that is not UTF-8: the bytes of the first bad character.
fn not_utf8(text: &[u8], error: std::str::Utf8Error) -> Error {
    let bad = &text[error.valid_up_to()..];
    // PostgreSQL prints as many bytes as the first one announces.
    let announced = match bad.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    let bytes: Vec<String> = bad.iter().take(announced).map(|byte| format!("0x{byte:02x}")).collect();
    Error::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" ")),
    )
}

#[cfg(test)]
mod tests;
