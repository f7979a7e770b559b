//! Who may do what, with several logins at once, over HTTP, and after a restart.

use crate::support::client::{Client, Error};
use crate::support::server::Server;

fn login(server: &Server, user: &str) -> Client {
    Client::connect(server.pg(), user, "tidemill").expect("a session")
}

/// `POST` as a role with its name for a password: the status, and the body.
fn post_as(server: &Server, user: &str, path: &str, body: &str) -> (u16, String) {
    let token = format!("Authorization: Bearer {user}:{user}\r\n");
    server.post(path, &token, body.as_bytes()).expect("an answer")
}

#[test]
fn a_grant_counts_at_once_for_who_is_logged_in() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.run("CREATE ROLE reader LOGIN");
    admin.run("CREATE TABLE t (id int, secret text)");
    admin.run("INSERT INTO t VALUES (1, 'x')");
    let mut reader = login(&server, "reader");
    assert_eq!(reader.sqlstate("SELECT id FROM t"), "42501");
    reader.run("PREPARE p AS SELECT id FROM t");
    assert_eq!(reader.sqlstate("EXECUTE p"), "42501");
    admin.run("GRANT SELECT (id) ON t TO reader");
    assert_eq!(reader.value("SELECT id FROM t"), "1");
    assert_eq!(reader.value("EXECUTE p"), "1");
    assert_eq!(reader.sqlstate("SELECT secret FROM t"), "42501");
    admin.run("REVOKE SELECT (id) ON t FROM reader");
    assert_eq!(reader.sqlstate("EXECUTE p"), "42501");
    // A transaction goes on with what it began with, as it does with rows.
    admin.run("GRANT SELECT ON t TO reader");
    reader.run("BEGIN");
    assert_eq!(reader.value("EXECUTE p"), "1");
    admin.run("REVOKE SELECT ON t FROM reader");
    assert_eq!(reader.value("EXECUTE p"), "1");
    reader.run("COMMIT");
    assert_eq!(reader.sqlstate("EXECUTE p"), "42501");
}

#[test]
fn a_grant_that_is_rolled_back_never_was() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.run("CREATE ROLE reader LOGIN");
    admin.run("CREATE TABLE t (id int)");
    let mut reader = login(&server, "reader");
    admin.run("BEGIN");
    admin.run("GRANT SELECT ON t TO reader");
    assert_eq!(reader.sqlstate("SELECT * FROM t"), "42501", "not yet committed");
    admin.run("ROLLBACK");
    assert_eq!(reader.sqlstate("SELECT * FROM t"), "42501");
    admin.run("BEGIN");
    admin.run("SAVEPOINT s");
    admin.run("GRANT SELECT ON t TO reader");
    admin.run("ROLLBACK TO s");
    admin.run("COMMIT");
    assert_eq!(reader.sqlstate("SELECT * FROM t"), "42501");
    // Grants at once to many: none is lost.
    let roles: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    for role in &roles {
        admin.run(&format!("CREATE ROLE {role}"));
    }
    std::thread::scope(|scope| {
        for role in &roles {
            let mut client = server.connect();
            scope.spawn(move || client.run(&format!("GRANT SELECT ON t TO {role}")));
        }
    });
    let granted =
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'r_' AND has_table_privilege(rolname, 't', 'SELECT')";
    assert_eq!(admin.value(granted), "8");
}

#[test]
fn privileges_survive_a_restart() {
    check_survival(Server::restart);
}

#[test]
fn privileges_survive_a_crash() {
    check_survival(Server::crash_and_restart);
}

fn check_survival(again: fn(Server) -> Server) {
    let server = Server::start();
    let mut admin = server.connect();
    for role in ["owner", "team", "member", "other"] {
        admin.run(&format!("CREATE ROLE {role} LOGIN"));
    }
    admin.run("GRANT team TO member WITH ADMIN OPTION");
    admin.run("CREATE SCHEMA s AUTHORIZATION owner");
    admin.run("GRANT USAGE ON SCHEMA s TO PUBLIC");
    admin.run("REVOKE CONNECT ON DATABASE tidemill FROM PUBLIC");
    admin.run("GRANT CONNECT ON DATABASE tidemill TO owner, team");
    let mut owner = login(&server, "owner");
    owner.run("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO team");
    owner.run("CREATE TABLE s.t (id int, a int)");
    owner.run("GRANT INSERT (id), UPDATE (a) ON s.t TO team WITH GRANT OPTION");
    owner.run("CREATE TABLE s.none (id int)");
    owner.run("REVOKE ALL ON s.none FROM owner, team");
    let told = |client: &mut Client| {
        [
            "SELECT string_agg(relname || relacl::text, ' ' ORDER BY relname) FROM pg_class WHERE relacl IS NOT NULL \
             AND relnamespace = 's'::regnamespace",
            "SELECT string_agg(attname || attacl::text, ' ' ORDER BY attname) FROM pg_attribute WHERE attacl IS NOT NULL",
            "SELECT defaclacl FROM pg_default_acl",
            "SELECT datacl FROM pg_database WHERE datname = 'tidemill'",
            "SELECT string_agg(member::regrole::text || admin_option, ' ') FROM pg_auth_members",
        ]
        .map(|sql| client.value(sql))
    };
    let before = told(&mut admin);
    assert!(before[0].contains("none{}"), "{before:?}");
    drop((admin, owner));
    let server = again(server);
    assert_eq!(told(&mut server.connect()), before);
    let mut member = login(&server, "member");
    member.run("INSERT INTO s.t (id) VALUES (1)");
    member.run("UPDATE s.t SET a = 2");
    assert_eq!(member.value("SELECT a FROM s.t"), "2");
    assert_eq!(member.sqlstate("INSERT INTO s.t VALUES (1, 2)"), "42501");
    assert_eq!(login(&server, "owner").sqlstate("SELECT * FROM s.none"), "42501");
    let Err(Error::Db(refused)) = Client::connect(server.pg(), "other", "tidemill") else { panic!("no way in") };
    assert_eq!((refused.code(), refused.message()), ("42501", "permission denied for database \"tidemill\""));
    assert_eq!(refused.field('D'), "User does not have CONNECT privilege.");
}

#[test]
fn every_door_asks() {
    let server = Server::start();
    let mut admin = server.connect();
    for role in ["reader", "writer"] {
        admin.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'"));
    }
    admin.run("ALTER ROLE tidemill PASSWORD 'tidemill'");
    admin.run("CREATE TABLE events (id int) WITH (tidemill.evolve = 'add_columns')");
    admin.run("GRANT SELECT ON events TO reader");
    admin.run("GRANT INSERT ON events TO writer");
    let sql = |user: &str, sql: &str| post_as(&server, user, "/v1/sql", sql).0;
    let ingest = |user: &str| post_as(&server, user, "/v1/ingest/events", "{\"id\": 1, \"more\": true}").0;
    assert_eq!([sql("reader", "TABLE events"), sql("writer", "TABLE events")], [200, 403]);
    assert_eq!([ingest("reader"), ingest("writer")], [403, 200]);
    assert_eq!(
        [sql("reader", "INSERT INTO events VALUES (1)"), sql("writer", "INSERT INTO events VALUES (2)")],
        [403, 200]
    );
    assert_eq!(admin.value("SELECT count(*) FROM events"), "2");
    // Dead letters hold rows of all tables: they are the database's owner's.
    assert_eq!(post_as(&server, "writer", "/v1/ingest/events", "{\"id\": \"no number\"}").0, 200);
    assert_eq!(admin.value("SELECT count(*) FROM tidemill.dead_letters"), "1");
    assert_eq!([sql("reader", "TABLE tidemill.dead_letters"), sql("writer", "TABLE tidemill.dead_letters")], [403; 2]);
    let replay = "SELECT * FROM tidemill.replay_dead_letters('events')";
    assert_eq!([sql("reader", replay), sql("writer", replay)], [403, 200]);
    let discard = "CALL tidemill.discard_dead_letters('events')";
    assert_eq!([sql("reader", discard), sql("writer", discard)], [403; 2]);
    admin.run("GRANT DELETE ON events TO writer");
    assert_eq!(sql("writer", discard), 200);
    assert_eq!(admin.value("SELECT count(*) FROM tidemill.dead_letters"), "0");
    // A role is not taken on by way of a setting.
    for way in
        ["SELECT set_config('role', 'tidemill', false)", "SET ROLE tidemill", "SET SESSION AUTHORIZATION tidemill"]
    {
        assert_eq!(sql("reader", way), 403, "{way}");
    }
    admin.run("ALTER ROLE reader SET application_name = 'x'");
    assert_ne!(sql("reader", "ALTER ROLE reader SET role = 'tidemill'"), 200);
}

#[test]
fn what_is_said_of_the_database() {
    let server = Server::start();
    let mut admin = server.connect();
    admin.run("CREATE ROLE guest LOGIN");
    let mut guest = login(&server, "guest");
    let message = |error: Error| match error {
        Error::Db(error) => error.message().to_owned(),
        other => panic!("{other:?}"),
    };
    let refused = guest.simple("CREATE SCHEMA s").expect_err("no right");
    assert_eq!(message(refused), "permission denied for database tidemill");
    admin.run("REVOKE TEMP ON DATABASE tidemill FROM PUBLIC");
    let refused = guest.simple("CREATE TEMP TABLE t (a int)").expect_err("no right");
    assert_eq!(message(refused), "permission denied to create temporary tables in database \"tidemill\"");
    admin.run("GRANT CREATE, TEMP ON DATABASE tidemill TO guest");
    guest.run("CREATE TEMP TABLE t (a int)");
    guest.run("CREATE SCHEMA s");
    guest.run("CREATE TABLE s.t (a int)");
    // The superuser's name is not in the way of what the session is told.
    assert_eq!(guest.value("SHOW is_superuser"), "off");
    admin.run("SET ROLE guest");
    assert_eq!(admin.value("SHOW is_superuser"), "off");
    admin.run("RESET ROLE");
    assert_eq!(admin.value("SHOW is_superuser"), "on");
}
