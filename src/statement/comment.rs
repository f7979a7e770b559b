//! COMMENT ON.

use std::sync::Arc;

use tidemill_catalog::record::{Body, Change, Object};

use super::control::CommentTarget;
use super::{names, user_type};
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

pub(super) fn comment(session: &mut Session, target: &CommentTarget, comment: Option<&str>) -> Result<String> {
    session.require_writable("COMMENT")?;
    let comment = comment.filter(|text| !text.is_empty()).map(str::to_owned);
    let object: Arc<Object> = match target {
        CommentTarget::Relation(name) => names::relation(session, name)?,
        CommentTarget::Column(name, column) => return on_column(session, name, column, comment),
        CommentTarget::Schema(name) => {
            let oid = names::schema(session, name.last())?;
            names::object(session, oid).ok_or_else(|| Error::internal("a schema without an object"))?
        }
        CommentTarget::Database(name) => names::database(session, name)?,
        CommentTarget::Role(name) => names::role(session, name)?,
        CommentTarget::Source(name) => names::source(session, name)?,
        CommentTarget::Type(name) => user_type::find(session, name)?,
    };
    match &object.body {
        Body::Role(_) => super::role::require_manager(session, &object)?,
        _ => names::require_owner(session, &object)?,
    }
    session.apply(vec![Change::Put(names::changed(&object, |object| object.comment = comment))])?;
    Ok("COMMENT".into())
}

fn on_column(
    session: &mut Session,
    name: &super::control::Name,
    column: &str,
    comment: Option<String>,
) -> Result<String> {
    let object = names::relation(session, name)?;
    names::require_owner(session, &object)?;
    let mut body = object.body.clone();
    let columns = match &mut body {
        Body::Table(def) => &mut Arc::make_mut(def).columns,
        Body::View(view) => &mut view.columns,
        _ => {
            let message = format!("cannot set comment on relation \"{}\"", object.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                .detail("This operation is not supported for sequences."));
        }
    };
    let found = columns.iter_mut().find(|candidate| candidate.name == column).ok_or_else(|| {
        Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{}\" does not exist", object.name),
        )
    })?;
    found.comment = comment;
    session.apply(vec![Change::Put(names::changed(&object, |object| object.body = body))])?;
    Ok("COMMENT".into())
}
