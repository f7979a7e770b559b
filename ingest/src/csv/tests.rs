//! Lines in, rows out.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::testing::{adding, check_counts, shown, table};

fn check(shape: &TableShape, lines: &str, expected: &str) {
    let trimmed = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    for chunk in [usize::MAX, 1, 7] {
        let mut decoder = CsvDecoder::new(CsvOptions::default(), shape.clone(), TextSettings::default());
        lines.as_bytes().chunks(chunk).for_each(|chunk| decoder.push(chunk));
        decoder.finish();
        let all: Vec<_> = std::iter::from_fn(|| decoder.take_batch()).collect();
        all.iter().for_each(check_counts);
        assert_eq!(shown(&all).trim_end(), trimmed, "in chunks of {chunk}: {lines}");
    }
}

#[test]
fn rows_of_a_table() {
    let t = table(&["id integer", "name text", "j jsonb"]);
    check(
        &t,
        "\u{feff}name,ID\r\na,1\r\n\"b, \"\"c\"\"\nd\",2\r\n,3\r\n\"\",\"4\"\r\n\r\n",
        "id=1 name=a\nid=2 name=b, \"c\"\nd\nid=3 name=∅\nid=4 name=",
    );
    check(&t, "id,j\n1,\"{\"\"a\"\": [1]}\"", "id=1 j={\"a\": [1]}");
    check(&t, "id\n", "");
    check(
        &t,
        "id,name\n1,a\nx,b\n2\n3,c,d\n4,e",
        "id=1 name=a\nid=4 name=e
         ! 22P02 id: invalid input syntax for type integer: \"x\"
         ! 22P04: missing data for column \"name\"
         ! 22P04: extra data after last expected column",
    );
}

#[test]
fn new_columns_become_what_values_look_like() {
    check(
        &adding(&["id bigint"]),
        "Id,n,f,t,at,d,b,code\n1,2,2.5,x,2024-01-02T03:04:05Z,2024-01-02,true,007\n2,3,4,y,,,false,8",
        "+ n bigint\n+ f double precision\n+ t text\n+ at timestamp with time zone\n+ d date\n+ b boolean\n+ code text
         id=1 n=2 f=2.5 t=x at=2024-01-02 03:04:05+00 d=2024-01-02 b=t code=007
         id=2 n=3 f=4 t=y at=∅ d=∅ b=f code=8",
    );
    // What looked like a number is a text if a later row says so.
    check(&adding(&[]), "v\n1\n02\nx\n", "+ v text\nv=1\nv=02\nv=x");
    check(&adding(&[]), "v\n1\n2.50\n", "+ v double precision\nv=1\nv=2.5");
}

#[test]
fn a_quote_too_many() {
    let t = table(&["id integer", "name text"]);
    check(
        &t,
        "id,name\n1,\"a\n2,b\n3,\"c\"\n4,\"d",
        "id=2 name=b\nid=3 name=c\n! 22P04: unterminated CSV quoted field\n! 22P04: unterminated CSV quoted field",
    );
}

/// Whatever the bytes, nothing panics, every line is accounted for, and it does not matter where they are cut.
#[test]
fn random_bytes_never_panic() {
    const SEED: u64 = 20_240_229;
    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..3_000 {
        const PIECES: [&[u8]; 12] =
            [b"a", b",", b"\"", b"\"\"", b"\n", b"\r\n", b"1", b"\xff", b"\0", b"2024-01-02", b"true", b"1.50"];
        let random: Vec<u8> =
            (0..rng.random_range(0..30)).flat_map(|_| PIECES[rng.random_range(0..PIECES.len())].to_vec()).collect();
        let bytes = [b"a,b\n".to_vec(), random].concat();
        let outcomes = [usize::MAX, 1].map(|chunk| {
            let mut decoder = CsvDecoder::new(CsvOptions::default(), adding(&[]), TextSettings::default());
            bytes.chunks(chunk).for_each(|chunk| decoder.push(chunk));
            decoder.finish();
            let all: Vec<_> = std::iter::from_fn(|| decoder.take_batch()).collect();
            all.iter().for_each(check_counts);
            shown(&all)
        });
        assert_eq!(outcomes[0], outcomes[1], "seed {SEED}, round {round}: {}", String::from_utf8_lossy(&bytes));
    }
}
