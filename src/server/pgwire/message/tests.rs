//! Messages byte by byte, and what strangers may send instead.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A message with its length filled in.
fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = vec![kind];
    frame.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    frame.extend(body);
    frame.into()
}

/// A startup packet with its length filled in.
fn packet(code: u32, body: &[u8]) -> Bytes {
    let mut packet = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    packet.extend(code.to_be_bytes());
    packet.extend(body);
    packet.into()
}

#[test]
fn reads_every_message() {
    let text = |text: &str| text.to_owned();
    let cases = [
        (framed(b'Q', b"SELECT 1\0"), Message::Query(text("SELECT 1"))),
        (
            framed(b'P', b"s\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"),
            Message::Parse { name: text("s"), query: text("SELECT $1"), types: vec![23, 0] },
        ),
        (
            framed(b'B', b"p\0s\0\0\x01\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x02\0\0\0\x01"),
            Message::Bind {
                portal: text("p"),
                statement: text("s"),
                formats: vec![1],
                values: vec![Some(Bytes::from_static(b"ab")), None, Some(Bytes::new())],
                result_formats: vec![0, 1],
            },
        ),
        (framed(b'D', b"Ss\0"), Message::Describe(Target::Statement, text("s"))),
        (framed(b'D', b"P\0"), Message::Describe(Target::Portal, text(""))),
        (framed(b'C', b"Pp\0"), Message::Close(Target::Portal, text("p"))),
        (framed(b'E', b"p\0\0\0\0\x05"), Message::Execute { portal: text("p"), rows_max: 5 }),
        (framed(b'E', b"\0\xff\xff\xff\xff"), Message::Execute { portal: text(""), rows_max: -1 }),
        (framed(b'H', b""), Message::Flush),
        (framed(b'S', b""), Message::Sync),
        (framed(b'X', b""), Message::Terminate),
        (framed(b'F', b"whatever"), Message::FunctionCall),
        (framed(b'd', b"1\t2\n"), Message::CopyData(Bytes::from_static(b"1\t2\n"))),
        (framed(b'c', b""), Message::CopyDone),
        (framed(b'f', b"why\0"), Message::CopyFail(text("why"))),
        (framed(b'p', b"secret\0"), Message::Password(Bytes::from_static(b"secret\0"))),
    ];
    for (frame, expected) in cases {
        assert_eq!(length(&frame).unwrap(), Some(frame.len()), "{frame:?}");
        for cut in 0..5.min(frame.len()) {
            assert_eq!(length(&frame[..cut]).unwrap(), None, "{frame:?} cut at {cut}");
        }
        assert_eq!(message(frame.clone()).unwrap(), expected, "{frame:?}");
    }
}

#[test]
fn refuses_malformed_messages() {
    let cases: [(Bytes, &str, &str); 13] = [
        (framed(b'Q', b"SELECT 1"), "08P01", "invalid string in message"),
        (framed(b'Q', b"SELECT 1\0x"), "08P01", "invalid message format"),
        (framed(b'Q', b"\xff\0"), "22021", "invalid byte sequence for encoding \"UTF8\": 0xff"),
        (framed(b'Q', b"a\xe2\x28\xa1\0"), "22021", "invalid byte sequence for encoding \"UTF8\": 0xe2 0x28 0xa1"),
        (framed(b'P', b"s\0SELECT 1\0\xff\xff"), "08P01", "insufficient data left in message"),
        (framed(b'P', b"s\0SELECT 1\0"), "08P01", "insufficient data left in message"),
        (framed(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"), "08P01", "insufficient data left in message"),
        (framed(b'B', b"\0\0\0\0\0\x01\x80\0\0\0\0\0"), "08P01", "insufficient data left in message"),
        (framed(b'B', b"\0\0\xff\xff"), "08P01", "insufficient data left in message"),
        (framed(b'D', b"Zs\0"), "08P01", "invalid DESCRIBE message subtype 90"),
        (framed(b'C', b"Zs\0"), "08P01", "invalid CLOSE message subtype 90"),
        (framed(b'E', b"p\0\0\0"), "08P01", "insufficient data left in message"),
        (framed(b'S', b"x"), "08P01", "invalid message format"),
    ];
    for (frame, code, expected) in cases {
        let error = message(frame.clone()).unwrap_err();
        assert_eq!((error.code().code(), error.to_string().as_str()), (code, expected), "{frame:?}");
        assert!(!error.report().fatal, "{frame:?}: the next message can be read");
    }
}

#[test]
fn refuses_frames_that_cannot_be_followed() {
    for frame in [
        &b"Q\0\0\0\x03"[..],
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xff",
        b"S\0\0\x80\0",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\0",
        b"\0\0\0\0\0",
    ] {
        let error = length(frame).unwrap_err();
        assert!(error.report().fatal && error.code().code() == "08P01", "{frame:?}: {error}");
    }
    // A type is judged before its length is there.
    assert!(length(b"G").is_err());
}

#[test]
fn reads_startup_packets() {
    let session = |minor, parameters: &[(&str, &str)]| Startup::Session {
        minor,
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let cases = [
        (packet(80_877_103, b""), Startup::Ssl),
        (packet(80_877_104, b""), Startup::Gss),
        (
            packet(80_877_102, b"\0\0\0\x07\xff\xff\xff\xff"),
            Startup::Cancel { pid: 7, secret: Bytes::from_static(b"\xff\xff\xff\xff") },
        ),
        (packet(196_608, b"user\0me\0options\0\0\0"), session(0, &[("user", "me"), ("options", "")])),
        (packet(196_610, b"\0"), session(2, &[])),
    ];
    for (packet, expected) in cases {
        assert_eq!(startup_length(&packet).unwrap(), Some(packet.len()));
        assert_eq!(startup_length(&packet[..3]).unwrap(), None);
        assert_eq!(startup(packet).unwrap(), expected);
    }
}

#[test]
fn refuses_malformed_startup_packets() {
    for head in [&b"GET "[..], b"\x16\x03\x01\x02", b"\0\0\0\0", b"\0\0\0\x07", b"\0\0\x27\x11", b"\xff\xff\xff\xff"] {
        assert_eq!(startup_length(head).unwrap_err().code().code(), "08P01", "{head:?}");
    }
    let cases = [
        (packet(196_608, b""), "08P01"),
        (packet(196_608, b"user\0me\0"), "08P01"),
        (packet(196_608, b"user\0"), "08P01"),
        (packet(196_608, b"user\0me\0\0rest"), "08P01"),
        (packet(196_608, b"user\0m\xff\0\0"), "08P01"),
        (packet(131_072, b"\0"), "0A000"),
        (packet(80_877_102, b"\0\0\0\x07"), "08P01"),
        (packet(80_877_102, b"\0"), "08P01"),
    ];
    for (packet, code) in cases {
        assert_eq!(startup(packet.clone()).unwrap_err().code().code(), code, "{packet:?}");
    }
}

/// Random and mutated bytes: every answer is fine, a panic is not; what is read never outgrows what was sent.
#[test]
#[expect(clippy::print_stdout, reason = "the seed of a failed run")]
fn survives_hostile_bytes() {
    let mut random = StdRng::seed_from_u64(20_261_122);
    let samples = [
        framed(b'P', b"s\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"),
        framed(b'B', b"p\0s\0\0\x01\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x02\0\0\0\x01"),
        framed(b'D', b"Ss\0"),
        framed(b'E', b"p\0\0\0\0\x05"),
        framed(b'Q', b"SELECT 1\0"),
        framed(b'f', b"why\0"),
        framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x05n,,n="),
        packet(196_608, b"user\0me\0options\0-c a=b\0\0"),
        packet(80_877_102, b"\0\0\0\x07\0\0\0\x09"),
    ];
    for _ in 0..200_000 {
        let mut bytes = if random.random_bool(0.3) {
            (0..random.random_range(0..64)).map(|_| random.random()).collect()
        } else {
            samples[random.random_range(0..samples.len())].to_vec()
        };
        for _ in 0..random.random_range(0..4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)]),
            }
        }
        let bytes = Bytes::from(bytes);
        let _ = startup_length(&bytes);
        let _ = startup(bytes.clone());
        let _ = sasl_initial(bytes.clone());
        if let Ok(Some(length)) = length(&bytes)
            && length <= bytes.len()
        {
            let _ = message(bytes.slice(..length));
        }
        if let Ok(Message::Bind { formats, values, result_formats, .. }) = message(bytes.clone()) {
            assert!(formats.len() + values.len() + result_formats.len() <= bytes.len(), "{bytes:?}");
        }
    }
}
