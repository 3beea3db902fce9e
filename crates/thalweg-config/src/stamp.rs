//! How a file looks from outside, to tell whether it can have changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that changed within this time before it was looked at may change again without looking
/// another: clocks of file systems tick, some only every two seconds.
const GRAIN: Duration = Duration::from_secs(3);

/// How a file looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The looks of a file; none when they tell too little, because it changed just before `now`.
    pub fn of(meta: &Metadata, now: SystemTime) -> Option<Self> {
        let stamp = Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let last = now.checked_sub(GRAIN)?;
        let last = (i64::try_from(last.as_secs()).ok()?, i64::from(last.subsec_nanos()));
        (stamp.modified < last && stamp.changed < last).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_just_now_tells_too_little() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let meta = file.as_file().metadata().unwrap();
        let now = SystemTime::now();
        assert_eq!(Stamp::of(&meta, now), None);
        assert_eq!(Stamp::of(&meta, now - Duration::from_secs(60)), None, "of the future");
        let later = Stamp::of(&meta, now + Duration::from_secs(60));
        assert!(later.is_some());
        std::fs::write(file.path(), "x").unwrap();
        let meta = file.as_file().metadata().unwrap();
        assert_ne!(Stamp::of(&meta, now + Duration::from_secs(60)), later);
    }
}
