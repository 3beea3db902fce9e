//! Fields that name other objects, which must exist.

use crate::draft::{DEFAULT_VRF, Kind, ObjectId};
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::short;
use std::borrow::Cow;
use thalweg_model::Key;

/// Names that are looked at for one that was meant.
const MOST: usize = 1_000;

/// A field that names another object.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub at: Span,
    /// The path of the field.
    pub field: Cow<'static, str>,
    /// Whose field it is.
    pub user: ObjectId,
}

/// Reports fields that name objects of a kind that do not exist: each with the number of its file
/// and its object. `names` are those of all objects of the kind.
pub(crate) fn missing<'a>(
    kind: Kind,
    missing: impl Iterator<Item = (&'a Use, u32, Key)>,
    names: impl Iterator<Item = &'a str>,
    report: &mut Report,
) {
    let mut missing = missing.peekable();
    if missing.peek().is_none() {
        return;
    }
    let always = (kind == Kind::Vrf).then_some(DEFAULT_VRF);
    let names: Vec<&str> = names.take(MOST).chain(always).collect();
    let word = kind.name();
    for (one, file, user) in missing {
        report.object = Some(user);
        let remedy = match suggest::nearest(&one.name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? or add a {word} of that name"),
            None => format!("add a {word} of that name"),
        };
        let what = format!("there is no {word} `{}`", short(&one.name));
        let at = Span { file, ..one.at };
        report.error(at, &Path::Field(&Path::Root, &one.field), what, remedy);
    }
}
