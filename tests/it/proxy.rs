//! A network between client and server that cuts messages anywhere, delays them, glues them together and breaks connections; and
//! ten thousand statements in one pipeline.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

/// Bytes taken from one side at once.
const CHUNK_BYTES: usize = 4096;

/// A proxy for one connection; the address it listens on. `cut_after`: bytes after which both sides are cut.
fn proxy(server: SocketAddr, seed: u64, cut_after: Option<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let Ok((client, _)) = listener.accept() else { return };
        let Ok(server) = TcpStream::connect(server) else { return };
        for side in [&client, &server] {
            side.set_nodelay(true).expect("a socket");
        }
        let ways = [(client.try_clone(), server.try_clone(), seed), (Ok(server), Ok(client), seed ^ 1)];
        let threads = ways.map(|(from, to, seed)| {
            let (from, to) = (from.expect("a socket"), to.expect("a socket"));
            std::thread::spawn(move || pass_on(&from, &to, seed, cut_after))
        });
        for thread in threads {
            let _ = thread.join();
        }
    });
    address
}

/// Bytes one way: in pieces of any size, now and then late, now and then many messages at once.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, seed: u64, cut_after: Option<usize>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut chunk = [0; CHUNK_BYTES];
    let mut passed = 0;
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        let mut left = &chunk[..count];
        while !left.is_empty() {
            let size = match random.random_range(0..4) {
                0 => 1,
                1 | 2 => random.random_range(1..=16),
                _ => left.len(),
            };
            let (piece, rest) = left.split_at(size.min(left.len()));
            if cut_after.is_some_and(|cut| passed + piece.len() > cut) {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            if to.write_all(piece).is_err() {
                return;
            }
            passed += piece.len();
            left = rest;
            if random.random_ratio(1, 50) {
                std::thread::sleep(Duration::from_millis(random.random_range(0..3)));
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn seed() -> u64 {
    let seed =
        std::env::var("TIDEMILL_PROXY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("TIDEMILL_PROXY_SEED={seed}");
    seed
}

/// The sessions of clients that there are, once those that are going have gone.
fn sessions_left(client: &mut Client) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let count = client.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'");
        if count == "1" || Instant::now() > deadline {
            return count;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn messages_come_in_any_pieces() {
    let server = Server::start();
    let seed = seed();
    for round in 0..5 {
        let mut client =
            Client::connect(proxy(server.pg(), seed + round, None), "tidemill", "tidemill").expect("a session");
        client.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, x text)");
        let long = "ü".repeat(20_000);
        for id in 0..20 {
            let id = id.to_string();
            let answer = client.extended("INSERT INTO t VALUES ($1, $2) RETURNING id", &[Some(&id), Some(&long)]);
            assert_eq!(answer.expect("a row").rows, vec![vec![Some(id)]]);
        }
        let data: String = (100..3_000).map(|id| format!("{id}\tname {id}\n")).collect();
        client.simple_with_data("COPY t FROM STDIN", data.as_bytes()).expect("all are copied");
        assert_eq!(client.sqlstate("INSERT INTO t VALUES (1, 'again')"), "23505");
        assert_eq!(
            client.value("SELECT count(*) || ' ' || sum(length(x)) FROM t"),
            format!("2920 {}", 20 * 20_000 + 900 * 8 + 2_000 * 9)
        );
        let rows = client.run("SELECT id, x FROM t ORDER BY id").remove(0).rows;
        assert_eq!(rows.len(), 2_920);
        assert_eq!(rows[2_919], vec![Some("2999".to_owned()), Some("name 2999".to_owned())]);
    }
    assert_eq!(sessions_left(&mut server.connect()), "1");
}

#[test]
fn connections_break_anywhere() {
    let mut server = Server::start();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    server.connect().run("CREATE TABLE t (batch int, x text)");
    let mut acknowledged = vec![];
    for batch in 0..60 {
        let address = proxy(server.pg(), seed + batch, Some(random.random_range(0..12_000)));
        let work = || -> Result<(), Error> {
            let mut client = Client::connect(address, "tidemill", "tidemill")?;
            client.simple("BEGIN")?;
            for _ in 0..5 {
                client.extended("INSERT INTO t VALUES ($1, 'row')", &[Some(&batch.to_string())])?;
            }
            client.simple_with_data("COPY t FROM STDIN", format!("{batch}\tcopied\n").repeat(95).as_bytes())?;
            client.simple("COMMIT")?;
            client.simple("SELECT * FROM t ORDER BY 1, 2 LIMIT 1000").map(|_| ())
        };
        match work() {
            Ok(()) => acknowledged.push(batch),
            Err(Error::Io(_)) => {}
            Err(other) => panic!("seed {seed}, batch {batch}: {other:?}"),
        }
    }
    let mut client = server.connect();
    let parts = client.value("SELECT count(*) FROM (SELECT batch FROM t GROUP BY batch HAVING count(*) <> 100)");
    assert_eq!(parts, "0", "seed {seed}: batches are there whole or not at all");
    for batch in &acknowledged {
        assert_eq!(
            client.value(&format!("SELECT count(*) FROM t WHERE batch = {batch}")),
            "100",
            "seed {seed}, batch {batch}"
        );
    }
    assert_eq!(sessions_left(&mut client), "1", "seed {seed}");
    assert!(server.is_running());
    assert!(!server.log().contains("panic"), "{}", server.log());
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// Bind of the statement `s` with one parameter as text, and Execute.
fn bind_execute(value: &str) -> Vec<u8> {
    let mut bind = b"\0s\0\0\0\0\x01".to_vec();
    bind.extend(u32::try_from(value.len()).expect("a short value").to_be_bytes());
    bind.extend(value.as_bytes());
    bind.extend(b"\0\0");
    [message(b'B', &bind), message(b'E', b"\0\0\0\0\0")].concat()
}

#[test]
fn ten_thousand_statements_in_a_pipeline() {
    const COUNT: usize = 10_000;
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    // The second half fails with its first statement: what comes before it in the same transaction is undone.
    for (first, expected) in [(0, COUNT), (COUNT / 2, COUNT)] {
        let mut bytes = message(b'P', b"s\0INSERT INTO t VALUES ($1)\0\0\0");
        for id in first..first + COUNT {
            bytes.extend(bind_execute(&id.to_string()));
        }
        bytes.extend(message(b'C', b"Ss\0"));
        bytes.extend(message(b'S', b""));
        let mut writer = client.stream().try_clone().expect("a socket");
        let sent = std::thread::spawn(move || writer.write_all(&bytes).is_ok());
        let (mut tags, mut errors) = (0, 0);
        loop {
            let message = client.receive().expect("an answer");
            match message.kind {
                b'C' => tags += 1,
                b'E' => errors += 1,
                b'Z' => break,
                _ => {}
            }
        }
        assert!(sent.join().expect("no panic"));
        if first == 0 {
            assert_eq!((tags, errors), (COUNT, 0));
        } else {
            assert_eq!((tags, errors), (0, 1), "after an error nothing is heard until Sync");
        }
        assert_eq!(client.value("SELECT count(*) FROM t"), expected.to_string());
    }
}
