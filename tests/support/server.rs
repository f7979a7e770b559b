//! A server process on its own ports and directory: start, wait until ready, kill -9, restart.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::client::Client;

/// How long a start may take on a busy machine. The promise to users (a second) is for a quiet one.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; killed when dropped. Its directory goes with the last handle to it.
pub struct Server {
    child: Child,
    dir: PathBuf,
    /// Deletes a temporary directory at the end.
    owned: Option<tempfile::TempDir>,
    options: Vec<String>,
    pg: SocketAddr,
    http: SocketAddr,
    log: Log,
}

impl Server {
    /// Starts a server on a fresh directory.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further options on a fresh directory.
    pub fn start_with(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self::start_in(&dir.path().join("data"), options);
        server.owned = Some(dir);
        server
    }

    /// Starts a server on a directory.
    pub fn start_in(dir: &Path, options: &[&str]) -> Self {
        Self::try_start(dir, options).unwrap_or_else(|failure| panic!("the server did not start: {failure}"))
    }

    /// Starts a server on a directory; what it said if it ended instead of listening.
    pub fn try_start(dir: &Path, options: &[&str]) -> Result<Self, Failure> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let mut child = command(dir, &options).spawn().expect("the server's binary can be run");
        let log = Log::read(child.stderr.take().expect("it is piped"));
        let output = lines(child.stdout.take().expect("it is piped"));
        let deadline = Instant::now() + START_TIMEOUT;
        let mut seen = String::new();
        loop {
            match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    // "Tidemill 0.1.0 listens on 127.0.0.1:5433, HTTP on 127.0.0.1:8433, data in …"
                    if let Some((pg, http)) = addresses(&line) {
                        // The rest of the output is read and dropped, so that the server never blocks on it.
                        std::thread::spawn(move || output.into_iter().for_each(drop));
                        return Ok(Self { child, dir: dir.to_owned(), owned: None, options, pg, http, log });
                    }
                    seen.push_str(&line);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = child.wait().expect("it ended");
                    return Err(Failure { status, text: format!("{seen}{}", log.all()) });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    panic!("the server did not listen within {START_TIMEOUT:?}: {seen}\n{}", log.text());
                }
            }
        }
    }

    /// The Postgres port.
    pub fn pg(&self) -> SocketAddr {
        self.pg
    }

    /// The HTTP port.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time it has used so far, in the system's ticks; 0 where the system has no /proc.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // After the name in parentheses: state, …; the 12th and 13th are user and system time.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    }

    /// A session as the superuser in the database `tidemill`.
    pub fn connect(&self) -> Client {
        Client::connect(self.pg, "tidemill", "tidemill").expect("a session")
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// kill -9, as the power would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ended");
    }

    /// kill -9, then starts again on the same directory.
    pub fn crash_and_restart(self) -> Self {
        self.again(Self::kill)
    }

    /// SIGTERM, then starts again on the same directory.
    pub fn restart(self) -> Self {
        self.again(|server| assert!(server.stop().success(), "a clean exit"))
    }

    /// SIGTERM, and waits until it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits until it ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not stop within {STOP_TIMEOUT:?}: {}", self.log.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The body of a GET request on the HTTP port.
    pub fn get(&self, path: &str) -> String {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.http).expect("the HTTP port");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: tidemill\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The status and body of the answer to a POST request on the HTTP port. `headers`: lines that end with `\r\n`.
    ///
    /// # Errors
    /// If the server goes away meanwhile.
    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.http)?;
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: tidemill\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || std::io::Error::other(format!("not an answer: {answer}"));
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        Ok((status, body.to_owned()))
    }

    fn again(mut self, end: impl FnOnce(&mut Self)) -> Self {
        end(&mut self);
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let mut next = Self::start_in(&self.dir, &options);
        next.owned = self.owned.take();
        next
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            use std::io::Write;
            // Direct: the test harness captures only print macros, and this belongs to a failing test.
            let _ = writeln!(std::io::stderr(), "log of the server in {}:\n{}", self.dir.display(), self.log.text());
        }
    }
}

/// How a server ended that did not start.
#[derive(Debug)]
pub struct Failure {
    /// Its exit.
    pub status: ExitStatus,
    /// What it printed.
    pub text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

/// The command that runs a server: ports of the system's choice, small memory (many run at once).
fn command(dir: &Path, options: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let listen =
        |flag: &str| (!options.iter().any(|option| option == flag)).then(|| [flag.to_owned(), "127.0.0.1:0".into()]);
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(dir)
        .args(listen("--pg-listen").into_iter().flatten())
        .args(listen("--http-listen").into_iter().flatten())
        .args(options)
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("TIDEMILL_")))
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let rest = line.split_once(" listens on ")?.1;
    let (pg, rest) = rest.split_once(", HTTP on ")?;
    let (http, _) = rest.split_once(", data in ")?;
    Some((pg.parse().ok()?, http.parse().ok()?))
}

/// Reads lines on a thread of its own, so that the process never blocks on a full pipe.
fn lines(source: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            // Nobody may listen any more; the pipe is kept empty all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// What a process wrote to standard error.
struct Log {
    text: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Log {
    fn read(source: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                let mut text = shared.lock().expect("no panic while locked");
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reader }
    }

    /// What there is so far.
    fn text(&self) -> String {
        self.text.lock().expect("no panic while locked").clone()
    }

    /// All of it, once the process ended.
    fn all(self) -> String {
        let _ = self.reader.join();
        let text = self.text.lock().expect("no panic while locked");
        text.clone()
    }
}
