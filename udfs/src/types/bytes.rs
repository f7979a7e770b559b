//! bytea and uuid: text both ways.

use super::{ValueError, input_error};

static HEX: &[u8; 16] = b"0123456789abcdef";

fn nibble(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

/// bytea from `\x…` or the escape format, appended to `out`.
pub(super) fn parse_bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match text.strip_prefix(b"\\x") {
        Some(hex) => parse_hex(hex, out),
        None => parse_escaped(text, out),
    }
}

fn parse_hex(hex: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut rest = hex;
    while let [first, after @ ..] = rest {
        if matches!(first, b' ' | b'\n' | b'\t' | b'\r') {
            rest = after;
            continue;
        }
        let invalid = |at: usize| {
            // The whole character, not one byte of it.
            let text = String::from_utf8_lossy(&rest[at..]);
            let digit = text.chars().next().unwrap_or_default();
            ValueError::new("22023", format!("invalid hexadecimal digit: \"{digit}\""))
        };
        let high = nibble(*first).ok_or_else(|| invalid(0))?;
        let [second, after @ ..] = after else {
            return Err(ValueError::new("22023", "invalid hexadecimal data: odd number of digits"));
        };
        let low = nibble(*second).ok_or_else(|| invalid(1))?;
        out.push(high << 4 | low);
        rest = after;
    }
    Ok(())
}

fn parse_escaped(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut rest = text;
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (after, out.push(b'\\')),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                (after, out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')))
            }
            (b'\\', _) => return Err(ValueError::new("22P02", "invalid input syntax for type bytea")),
            (other, after) => (after, out.push(*other)),
        };
    }
    Ok(())
}

/// Appends bytea's text.
pub(super) fn write_bytea(bytes: &[u8], escape: bool, out: &mut Vec<u8>) {
    if !escape {
        out.extend_from_slice(b"\\x");
        write_hex(bytes, out);
        return;
    }
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.push(*byte),
            _ => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
        }
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// The sixteen bytes of a uuid: 32 hex digits, a hyphen allowed after every fourth, braces around allowed.
pub(super) fn parse_uuid(text: &[u8]) -> Result<[u8; 16], ValueError> {
    let invalid = || input_error("uuid", text);
    let inner = match text {
        [b'{', inner @ .., b'}'] => inner,
        other => other,
    };
    let mut bytes = [0u8; 16];
    let mut rest = inner;
    for (at, byte) in bytes.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else { return Err(invalid()) };
        *byte = nibble(*high).zip(nibble(*low)).map(|(high, low)| high << 4 | low).ok_or_else(invalid)?;
        rest = match after {
            [b'-', after @ ..] if at % 2 == 1 && at < 15 => after,
            other => other,
        };
    }
    if rest.is_empty() { Ok(bytes) } else { Err(invalid()) }
}

/// The canonical text of a uuid.
pub(super) fn uuid_text(bytes: [u8; 16]) -> String {
    let mut out = Vec::with_capacity(36);
    for (at, part) in [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].into_iter().enumerate() {
        if at > 0 {
            out.push(b'-');
        }
        write_hex(part, &mut out);
    }
    String::from_utf8(out).expect("hex digits are ASCII")
}
