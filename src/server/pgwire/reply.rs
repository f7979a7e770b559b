//! What the server answers, except rows: appends whole messages to the output buffer.

use bytes::{BufMut, BytesMut};

use crate::error::Report;
use crate::session::{Column, TransactionStatus};

/// Appends one message: `kind`, its length, what `body` writes.
pub(super) fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start).expect("messages other than rows are far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Text and a zero byte. A zero byte inside would end it early: the rest is left out.
fn string(out: &mut BytesMut, text: &str) {
    let end = memchr::memchr(0, text.as_bytes()).unwrap_or(text.len());
    out.put_slice(&text.as_bytes()[..end]);
    out.put_u8(0);
}

/// A count on the wire, where more than the wire can say was refused before (columns and parameters are limited).
fn count(out: &mut BytesMut, length: usize) {
    out.put_u16(u16::try_from(length).expect("the number of columns and parameters is limited below 65536"));
}

/// Answers that have no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    EmptyQuery,
    CopyDone,
}

/// Appends an answer without body.
pub(super) fn bare(out: &mut BytesMut, answer: Bare) {
    let kind = match answer {
        Bare::ParseComplete => b'1',
        Bare::BindComplete => b'2',
        Bare::CloseComplete => b'3',
        Bare::NoData => b'n',
        Bare::PortalSuspended => b's',
        Bare::EmptyQuery => b'I',
        Bare::CopyDone => b'c',
    };
    out.put_slice(&[kind, 0, 0, 0, 4]);
}

/// ReadyForQuery.
pub(super) fn ready(out: &mut BytesMut, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::Active => b'T',
        TransactionStatus::Failed => b'E',
    };
    out.put_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// CommandComplete.
pub(super) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| string(out, tag));
}

/// AuthenticationOk.
pub(super) fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_u32(0));
}

/// AuthenticationSASL: the mechanisms offered.
pub(super) fn sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    message(out, b'R', |out| {
        out.put_u32(10);
        for mechanism in mechanisms {
            string(out, mechanism);
        }
        out.put_u8(0);
    });
}

/// AuthenticationSASLContinue, or with `last` AuthenticationSASLFinal.
pub(super) fn sasl_data(out: &mut BytesMut, data: &str, last: bool) {
    message(out, b'R', |out| {
        out.put_u32(if last { 12 } else { 11 });
        out.put_slice(data.as_bytes());
    });
}

/// ParameterStatus.
pub(super) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name);
        string(out, value);
    });
}

/// BackendKeyData.
pub(super) fn backend_key(out: &mut BytesMut, pid: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(pid);
        out.put_i32(secret);
    });
}

/// NegotiateProtocolVersion: the newest version we speak and the `_pq_.` options we do not know.
pub(super) fn negotiate(out: &mut BytesMut, minor: u16, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_u32((3 << 16) | u32::from(minor));
        out.put_u32(u32::try_from(unknown.len()).expect("a startup packet is at most 10,000 bytes"));
        for name in unknown {
            string(out, name);
        }
    });
}

/// ErrorResponse. FATAL where the report says so or `fatal` does (everything before the session began is).
pub(super) fn error(out: &mut BytesMut, report: &Report, fatal: bool) {
    let severity = if fatal || report.fatal { "FATAL" } else { "ERROR" };
    message(out, b'E', |out| fields(out, severity, report));
}

/// NoticeResponse.
pub(super) fn notice(out: &mut BytesMut, severity: &str, report: &Report) {
    message(out, b'N', |out| fields(out, severity, report));
}

/// NotificationResponse.
pub(super) fn notification(out: &mut BytesMut, pid: i32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.put_i32(pid);
        string(out, channel);
        string(out, payload);
    });
}

fn fields(out: &mut BytesMut, severity: &str, report: &Report) {
    let mut field = |kind: u8, value: &str| {
        out.put_u8(kind);
        string(out, value);
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', report.code.code());
    field(b'M', &report.message);
    let position = report.position.map(|position| position.to_string());
    let (inner_position, inner_query) =
        report.inner.clone().map(|(position, query)| (position.to_string(), query)).unzip();
    let optional = [
        (b'D', &report.detail),
        (b'H', &report.hint),
        (b'P', &position),
        (b'p', &inner_position),
        (b'q', &inner_query),
        (b'W', &report.context),
        (b's', &report.schema),
        (b't', &report.table),
        (b'c', &report.column),
        (b'd', &report.data_type),
        (b'n', &report.constraint),
    ];
    for (kind, value) in optional {
        if let Some(value) = value {
            field(kind, value);
        }
    }
    if let Some((routine, place)) = report.routine {
        field(b'F', place.file());
        field(b'L', &place.line().to_string());
        field(b'R', routine);
    }
    out.put_u8(0);
}

/// ParameterDescription: the parameters' type oids.
pub(super) fn parameters(out: &mut BytesMut, oids: impl ExactSizeIterator<Item = u32>) {
    message(out, b't', |out| {
        count(out, oids.len());
        for oid in oids {
            out.put_u32(oid);
        }
    });
}

/// RowDescription. `formats`: none (all text), one for all, or one per column.
pub(super) fn row_description(out: &mut BytesMut, columns: &[Column], formats: &[i16]) {
    message(out, b'T', |out| {
        count(out, columns.len());
        for (index, column) in columns.iter().enumerate() {
            string(out, &column.name);
            out.put_u32(column.table_oid);
            out.put_i16(column.attribute);
            out.put_u32(column.sql_type.oid());
            out.put_i16(column.sql_type.length());
            out.put_i32(column.sql_type.typmod_with(column.precision));
            out.put_i16(format_of(formats, index));
        }
    });
}

/// The format of a column or parameter where none, one for all, or one for each was given.
pub(super) fn format_of(formats: &[i16], index: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        each => each.get(index).copied().unwrap_or(0),
    }
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`).
pub(super) fn copy_response(out: &mut BytesMut, kind: u8, binary: bool, columns: usize) {
    message(out, kind, |out| {
        out.put_u8(u8::from(binary));
        count(out, columns);
        for _ in 0..columns {
            out.put_i16(i16::from(binary));
        }
    });
}

/// CopyData: one message.
pub(super) fn copy_data(out: &mut BytesMut, data: &[u8]) {
    out.reserve(5 + data.len());
    message(out, b'd', |out| out.put_slice(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::error::SqlState;

    fn bytes(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    #[test]
    fn answers_byte_by_byte() {
        let cases: [(Vec<u8>, &[u8]); 14] = [
            (bytes(|out| bare(out, Bare::ParseComplete)), b"1\0\0\0\x04"),
            (bytes(|out| bare(out, Bare::PortalSuspended)), b"s\0\0\0\x04"),
            (bytes(|out| ready(out, TransactionStatus::Failed)), b"Z\0\0\0\x05E"),
            (bytes(|out| complete(out, "SELECT 1")), b"C\0\0\0\x0dSELECT 1\0"),
            (bytes(|out| complete(out, "a\0b")), b"C\0\0\0\x06a\0"),
            (bytes(authentication_ok), b"R\0\0\0\x08\0\0\0\0"),
            (bytes(|out| sasl(out, &["X", "Y"])), b"R\0\0\0\x0d\0\0\0\x0aX\0Y\0\0"),
            (bytes(|out| sasl_data(out, "v=1", true)), b"R\0\0\0\x0b\0\0\0\x0cv=1"),
            (bytes(|out| parameter_status(out, "a", "b")), b"S\0\0\0\x08a\0b\0"),
            (bytes(|out| backend_key(out, 7, -1)), b"K\0\0\0\x0c\0\0\0\x07\xff\xff\xff\xff"),
            (bytes(|out| negotiate(out, 2, &["_pq_.x"])), b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0"),
            (bytes(|out| parameters(out, [23].into_iter())), b"t\0\0\0\x0a\0\x01\0\0\0\x17"),
            (bytes(|out| copy_response(out, b'G', true, 2)), b"G\0\0\0\x0b\x01\0\x02\0\x01\0\x01"),
            (bytes(|out| copy_data(out, b"1\n")), b"d\0\0\0\x061\n"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(expected));
        }
    }

    #[test]
    fn errors_carry_all_their_fields() {
        let mut failure = Error::new(SqlState::NOT_NULL_VIOLATION, "m").detail("d").hint("h");
        let report = failure.report_mut();
        report.position = Some(12);
        report.table = Some("t".into());
        let found = bytes(|out| error(out, failure.report(), false));
        assert_eq!(&found[5..], b"SERROR\0VERROR\0C23502\0Mm\0Dd\0Hh\0P12\0tt\0\0");
        assert_eq!(usize::from(found[4]), found.len() - 1);
        let found = bytes(|out| error(out, Error::internal("x").fatal().report(), false));
        assert_eq!(&found[5..], b"SFATAL\0VFATAL\0CXX000\0Mx\0\0");
        let found = bytes(|out| notice(out, "WARNING", Error::internal("x").report()));
        assert_eq!((found[0], &found[5..]), (b'N', &b"SWARNING\0VWARNING\0CXX000\0Mx\0\0"[..]));
    }

    #[test]
    fn formats_by_position() {
        assert_eq!([format_of(&[], 3), format_of(&[1], 3), format_of(&[0, 1], 1), format_of(&[0, 1], 2)], [0, 1, 1, 0]);
    }
}
