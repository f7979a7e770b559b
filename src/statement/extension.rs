//! CREATE and DROP EXTENSION: there is nothing to load. PL/pgSQL is there, as in every database of PostgreSQL; extensions that
//! migrations ask for because of functions that are built in here are taken as they are.

use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// Extensions of PostgreSQL of which functions are built in, and these.
const BUILT_IN: &[(&str, &str)] =
    &[("pgcrypto", "gen_random_uuid() and digest()"), ("uuid-ossp", "uuid_generate_v4()")];
/// The one that is always there.
const PRESENT: &str = "plpgsql";

/// # Errors
/// 42710 for the one that is there, 0A000 for what is not.
pub(super) fn create(session: &mut Session, name: &str, if_not_exists: bool) -> Result<String> {
    if name == PRESENT {
        let message = format!("extension \"{name}\" already exists");
        if !if_not_exists {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        session.notice("NOTICE", SqlState::DUPLICATE_OBJECT, format!("{message}, skipping"));
    } else if let Some((_, functions)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        let message = format!("extension \"{name}\" is not needed: {functions} are built in");
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    } else {
        return Err(Error::unsupported(format!("extension \"{name}\" is not available"))
            .detail("This server has no extensions to load.".to_owned()));
    }
    Ok("CREATE EXTENSION".to_owned())
}

/// # Errors
/// 42704 for what is not there, 2BP01 for what always is.
pub(super) fn drop(session: &mut Session, names: &[String], if_exists: bool) -> Result<String> {
    for name in names {
        if name == PRESENT {
            let message = format!("cannot drop extension \"{name}\" because it is required by the database system");
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
        }
        if BUILT_IN.iter().any(|(known, _)| known == name) {
            continue;
        }
        let message = format!("extension \"{name}\" does not exist");
        if !if_exists {
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, format!("{message}, skipping"));
    }
    Ok("DROP EXTENSION".to_owned())
}
