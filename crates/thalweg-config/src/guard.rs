//! Refuses configuration that others could have written: whoever writes it decides where packets go.
//!
//! Looked at are the directory and each file, and where symbolic links lead, the real file and the
//! directory it stands in. A file system that is mounted read-only is trusted, so that a volume of
//! Kubernetes, which is open to all by its mode, does as well.

use crate::{Loaded, files, load};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thalweg_model::{Origin, Problem, Severity};

/// Write bits of group and others (inode(7)).
const OTHERS_WRITE: u32 = 0o022;

/// As [`load`], but what others than root and the user with the id `user` could have written is
/// refused: its problems say which file, its mode, and the `chmod` or `chown` that helps.
pub fn load_guarded(path: &Path, user: u32) -> Loaded {
    let refused = refused(path, user);
    let mut loaded = load(path);
    if !refused.is_empty() {
        loaded.problems.splice(0..0, refused);
    }
    loaded
}

/// What is wrong with who may write.
pub(crate) fn refused(path: &Path, user: u32) -> Vec<Problem> {
    places(path).iter().filter_map(|place| judge(place, user)).collect()
}

/// Everything whose owner and mode decide who writes the configuration.
fn places(path: &Path) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut take = |path: &Path| {
        // What is not there is for `load` to tell.
        let Ok(real) = path.canonicalize() else { return };
        if let (true, Some(folder)) = (path.is_symlink(), real.parent()) {
            places.insert(folder.to_owned());
        }
        places.insert(real);
    };
    take(path);
    for file in files::entries(path).unwrap_or_default() {
        take(&file);
    }
    places
}

/// Why others could have written this, if they could.
pub(crate) fn judge(path: &Path, user: u32) -> Option<Problem> {
    let meta = std::fs::metadata(path).ok()?;
    let (what, remedy) = fault(path, &meta, user)?;
    let read_only = statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    (!read_only).then(|| Problem {
        severity: Severity::Error,
        origin: Origin { file: path.display().to_string(), line: 0, column: 0 },
        object: None,
        field: None,
        what,
        remedy,
    })
}

fn fault(path: &Path, meta: &Metadata, user: u32) -> Option<(String, String)> {
    let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
    let place = path.display();
    if owner != 0 && owner != user {
        return Some((
            format!(
                "it belongs to the user with id {owner} (mode {mode:04o}), who could change it"
            ),
            format!("`chown root {place}`"),
        ));
    }
    // A sticky bit does not help: it keeps others from removing files, not from adding some.
    if mode & OTHERS_WRITE == 0 {
        return None;
    }
    let who = match (mode & 0o020 != 0, mode & 0o002 != 0) {
        (true, true) => "its group and everybody",
        (true, false) => "its group",
        _ => "everybody",
    };
    Some((format!("{who} can write it (mode {mode:04o})"), format!("`chmod go-w {place}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LINK: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0]}
";

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn user() -> u32 {
        tempfile::tempdir().unwrap().path().metadata().unwrap().uid()
    }

    fn lab() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let file = etc.join("a.yaml");
        fs::write(&file, LINK).unwrap();
        mode(&etc, 0o755);
        mode(&file, 0o644);
        (dir, etc, file)
    }

    fn words(path: &Path, user: u32) -> String {
        load_guarded(path, user).problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn what_others_can_write_is_refused_with_the_remedy() {
        let (_dir, etc, file) = lab();
        assert!(load_guarded(&etc, user()).is_ok());
        mode(&file, 0o664);
        let said = words(&etc, user());
        assert!(
            said.contains("a.yaml: its group can write it (mode 0664); `chmod go-w "),
            "{said}"
        );
        assert!(!load_guarded(&etc, user()).is_ok());
        mode(&file, 0o644);
        mode(&etc, 0o777);
        let said = words(&etc, user());
        assert!(said.contains("etc: its group and everybody can write it (mode 0777)"), "{said}");
        mode(&etc, 0o1777);
        assert!(!load_guarded(&etc, user()).is_ok(), "files can be added");
        mode(&etc, 0o755);
        assert!(load_guarded(&etc, user()).is_ok());
    }

    #[test]
    fn where_links_lead_counts() {
        let (dir, etc, file) = lab();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::rename(&file, open.join("b.yaml")).unwrap();
        symlink(open.join("b.yaml"), &file).unwrap();
        mode(&open, 0o755);
        assert!(load_guarded(&etc, user()).is_ok());
        mode(&open, 0o775);
        let said = words(&etc, user());
        assert!(said.contains("open: its group can write it (mode 0775)"), "{said}");
    }

    #[test]
    fn others_own_nothing_of_it() {
        let (_dir, etc, file) = lab();
        // Only root may give files away; without, somebody else looks at ours.
        let (owner, reader) = match user() {
            0 => {
                std::os::unix::fs::chown(&file, Some(4711), None).unwrap();
                (4711, 0)
            }
            own => (own, own + 1),
        };
        let said = words(&etc, reader);
        assert!(said.contains(&format!("belongs to the user with id {owner} ")), "{said}");
        assert!(said.contains("`chown root "), "{said}");
        assert!(load_guarded(&file, owner).is_ok(), "the agent's own user may");
    }
}
