//! Passwords, and who needs one. With a real driver, so that SCRAM is checked by somebody else's code.

use std::net::SocketAddr;

use tokio_postgres::{Config, NoTls};

use crate::support::client::{Client, Error};
use crate::support::server::Server;

/// Logs in by the driver: the current user, or the SQLSTATE of the refusal.
fn login(address: SocketAddr, user: &str, password: Option<&str>) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port()).user(user).dbname("tidemill");
        if let Some(password) = password {
            config.password(password);
        }
        let refused = |error: tokio_postgres::Error| match error.code() {
            Some(code) => code.code().to_owned(),
            None => error.to_string(),
        };
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        let serve = async move {
            let _ = connection.await;
            unreachable!("the client is still there")
        };
        tokio::select! {
            row = client.query_one("SELECT current_user::text", &[]) => Ok(row.map_err(refused)?.get(0)),
            never = serve => never,
        }
    })
}

#[test]
fn loopback_needs_no_password_until_one_is_set() {
    let server = Server::start();
    assert_eq!(login(server.pg(), "tidemill", None), Ok("tidemill".into()));
    server.connect().run("ALTER ROLE tidemill PASSWORD 'open sesame'");
    assert_eq!(login(server.pg(), "tidemill", Some("open sesame")), Ok("tidemill".into()));
    assert_eq!(login(server.pg(), "tidemill", Some("open barley")), Err("28P01".into()));
    assert!(login(server.pg(), "tidemill", None).is_err());
    assert!(Client::connect(server.pg(), "tidemill", "tidemill").is_err(), "no way in without a password");

    let server = server.crash_and_restart();
    assert_eq!(login(server.pg(), "tidemill", Some("open sesame")), Ok("tidemill".into()), "the verifier is stored");
    assert_eq!(login(server.pg(), "tidemill", Some("")), Err("28P01".into()));
}

#[test]
fn roles_log_in_as_they_may() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.run("CREATE ROLE app LOGIN PASSWORD 'pässwörd'");
    admin.run("CREATE ROLE team NOLOGIN");
    admin.run("CREATE ROLE root SUPERUSER LOGIN PASSWORD 'r'");
    assert_eq!(login(server.pg(), "app", Some("pässwörd")), Ok("app".into()));
    assert_eq!(login(server.pg(), "app", Some("passwort")), Err("28P01".into()));
    // Who does not exist looks like who typed a wrong password.
    assert_eq!(login(server.pg(), "nobody", Some("x")), Err("28P01".into()));
    assert!(login(server.pg(), "team", Some("x")).is_err());
    assert_eq!(login(server.pg(), "root", Some("r")), Ok("root".into()));
    // The password itself is nowhere.
    let stored = admin.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    assert!(stored.starts_with("SCRAM-SHA-256$4096:"), "{stored}");
}

#[test]
fn another_address_requires_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let open = ["--pg-listen", "0.0.0.0:0"];
    let failure = Server::try_start(&data, &open).err().expect("nobody has a password yet");
    assert!(failure.text.contains("password"), "{failure}");
    {
        let mut server = Server::start_in(&data, &[]);
        server.connect().run("ALTER ROLE tidemill PASSWORD 'secret'");
        server.stop();
    }
    let server = Server::start_in(&data, &open);
    let address = SocketAddr::from(([127, 0, 0, 1], server.pg().port()));
    assert_eq!(login(address, "tidemill", Some("secret")), Ok("tidemill".into()));
}

#[test]
fn unknown_databases_are_refused() {
    let server = Server::start();
    match Client::connect(server.pg(), "tidemill", "nowhere") {
        Err(Error::Db(error)) => {
            assert_eq!(error.code(), "3D000");
            assert_eq!(error.message(), "database \"nowhere\" does not exist");
            assert_eq!(error.field('S'), "FATAL");
        }
        other => panic!("{other:?}"),
    }
}
