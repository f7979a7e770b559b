//! Verifiers as PostgreSQL 15 stores them, and the rules of who needs a password.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_catalog::record::Object;

use super::*;

/// `ALTER ROLE … PASSWORD 'pencil'` in PostgreSQL 15.
const PENCIL: &str = "SCRAM-SHA-256$4096:3DbyAME7Ax1seBQnKvYIlQ==$h1cbvUFka9ZhfIcUPAvOXznjDJjZ1/GSAZUI7LNh/AY=:jyQxbRrJzfTdMWgKIDxa4F8rsltHJNsO/R/VnDEDS+4=";

#[test]
fn base64_is_exact() {
    for (bytes, text) in
        [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\xfd\xfc", "//79/A==")]
    {
        assert_eq!(base64::encode(bytes), text);
        assert_eq!(base64::decode(text).as_deref(), Some(bytes));
    }
    for bad in ["Zg", "Zg=", "Zh==", "Z===", "Zm9v=", "Zm 9", "====", "Zm9é"] {
        assert_eq!(base64::decode(bad), None, "{bad}");
    }
}

#[test]
fn verifiers_are_postgres_verifiers() {
    let Some(ScramSecret::Verifier { salt, iterations, .. }) = parse_verifier(PENCIL) else {
        panic!("not read: {PENCIL}")
    };
    assert_eq!(scram_verifier("pencil", &salt, iterations), PENCIL);
    assert_ne!(scram_verifier("pencils", &salt, iterations), PENCIL);
}

#[test]
fn passwords_are_stored_as_verifiers() {
    assert_eq!(stored_password(PENCIL).unwrap(), PENCIL);
    let (one, two) = (stored_password("pencil").unwrap(), stored_password("pencil").unwrap());
    assert!(one.starts_with("SCRAM-SHA-256$4096:") && parse_verifier(&one).is_some());
    assert_ne!(one, two, "each has its own salt");
    // What only looks like a verifier is a password.
    let odd = "SCRAM-SHA-256$4096:c2FsdA==$short:short";
    assert_ne!(stored_password(odd).unwrap(), odd);
    let error = stored_password("md5d41d8cd98f00b204e9800998ecf8427e").unwrap_err();
    assert_eq!(error.code().code(), "0A000");
    assert!(stored_password("md5 is old").is_ok());
}

#[test]
fn a_mock_is_steady_and_fits_no_password() {
    let part = |user: &str, key: [u8; 32]| match mock_verifier(user, &key) {
        ScramSecret::Verifier { salt, stored_key, .. } => (salt, stored_key),
        ScramSecret::SaltedPassword { .. } => unreachable!(),
    };
    let (salt, key) = part("nobody", [1; 32]);
    assert_eq!(salt.len(), SALT_BYTES);
    assert_eq!(part("nobody", [1; 32]).0, salt);
    assert_ne!(part("nobody", [1; 32]).1, key);
    assert_ne!(part("somebody", [1; 32]).0, salt);
    assert_ne!(part("nobody", [2; 32]).0, salt);
}

fn catalog(roles: &[(&str, RoleDef)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (oid, (name, role)) in (10..).zip(roles) {
        let object = Object {
            oid,
            parent: 0,
            name: (*name).to_owned(),
            owner: 10,
            version: 1,
            comment: None,
            acl: Vec::new(),
            depends_on: Vec::new(),
            body: Body::Role(role.clone()),
        };
        catalog.names.insert((0, NameClass::Role, object.name.clone()), oid);
        catalog.children.entry(0).or_default().push(oid);
        catalog.objects.insert(oid, Arc::new(object));
    }
    catalog
}

fn login(password: Option<&str>) -> RoleDef {
    RoleDef { login: true, password: password.map(str::to_owned), settings: BTreeMap::new(), ..RoleDef::default() }
}

#[test]
fn a_password_is_asked_for_once_there_is_one() {
    let open = catalog(&[("tidemill", login(None)), ("group", RoleDef::default())]);
    assert_eq!(demand(&open, true), Demand::Nothing);
    assert_eq!(demand(&open, false), Demand::Password);
    let closed = catalog(&[("tidemill", login(None)), ("app", login(Some(PENCIL)))]);
    assert_eq!(demand(&closed, true), Demand::Password);
    assert_eq!(demand(&closed, false), Demand::Password);

    assert!(may_log_in(&open, "tidemill").is_ok());
    for (user, message) in
        [("group", "role \"group\" is not permitted to log in"), ("nobody", "role \"nobody\" does not exist")]
    {
        let error = may_log_in(&open, user).unwrap_err();
        assert_eq!((error.code().code(), error.to_string().as_str()), ("28000", message));
    }
}

#[test]
fn a_scram_exchange_needs_proof() {
    let catalog = catalog(&[("app", login(Some(PENCIL))), ("tidemill", login(None))]);
    let first = Bytes::from_static(b"n,,n=,r=rOprNGfwEbeRWgbNEkqO");
    for user in ["app", "tidemill", "nobody"] {
        let mut exchange = Exchange::new(&catalog, user, &[7; 32], None);
        assert_eq!(exchange.mechanisms(), [SCRAM]);
        let server_first = exchange.first(SCRAM, &first).unwrap();
        let nonce = server_first.split(',').next().unwrap();
        assert!(nonce.starts_with("r=rOprNGfwEbeRWgbNEkqO") && server_first.ends_with(",i=4096"), "{server_first}");
        let last = format!("c=biws,{nonce},p={}", base64::encode(&[9; 32]));
        let error = exchange.last(&last.into()).unwrap_err();
        let expected = format!("password authentication failed for user \"{user}\"");
        assert_eq!((error.code().code(), error.to_string()), ("28P01", expected));
        assert!(error.report().fatal);
    }
    for (mechanism, data) in [
        ("PLAIN", "n,,n=,r=x"),
        (SCRAM_PLUS, "p=tls-server-end-point,,n=,r=x"),
        (SCRAM, "p=tls-server-end-point,,n=,r=x"),
        (SCRAM, "garbage"),
        (SCRAM, ""),
        (SCRAM, "n,,"),
    ] {
        let mut exchange = Exchange::new(&catalog, "app", &[7; 32], None);
        let error = exchange.first(mechanism, &Bytes::copy_from_slice(data.as_bytes())).unwrap_err();
        assert_eq!(error.code().code(), "08P01", "{mechanism} {data}");
    }
}
