//! Who may ask and who may change: by what the kernel says of the other end of the control socket.
//!
//! Root and the agent's own user always may. Members of the read group may ask, members of the
//! admin group may also change. Without groups the socket is for root and the agent's user alone.

use rustix::fs::Mode;
use std::fs;
use tokio::net::UnixStream;

use thalweg_api::{Call, Code, Fault};

/// A group of the system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its name, or its number where it was given so.
    pub name: String,
    /// Its number.
    pub id: u32,
}

impl Group {
    /// The group with this name or number.
    ///
    /// # Errors
    ///
    /// That there is none, and how to make it.
    pub fn find(name: &str) -> Result<Self, String> {
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::find_in(&groups, name)
    }

    /// The same in the words of group(5).
    fn find_in(groups: &str, name: &str) -> Result<Self, String> {
        let line = groups.lines().find(|line| line.split(':').next() == Some(name));
        let id = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
        match id.or_else(|| name.parse().ok()) {
            Some(id) => Ok(Self { name: name.into(), id }),
            None => Err(format!(
                "there is no group `{name}`; make it (`groupadd --system {name}`), or name another"
            )),
        }
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Right {
    /// Nothing.
    None,
    /// Ask.
    Read,
    /// Ask and change.
    Admin,
}

impl Right {
    /// What a call takes.
    pub fn for_call(call: &Call) -> Self {
        // Every call by name: a new one does not compile before it is decided who may make it.
        match call {
            Call::Status
            | Call::Links
            | Call::Routes(_)
            | Call::Labels
            | Call::NextHops
            | Call::Groups
            | Call::Neighbors
            | Call::Vrfs
            | Call::Sessions
            | Call::Services
            | Call::Backends
            | Call::Flows(_)
            | Call::FollowFlows(_)
            | Call::Nat(_)
            | Call::Drops { .. }
            | Call::DropEvents(_)
            | Call::PolicyLog(_)
            | Call::Policies
            | Call::Tables
            | Call::Host
            | Call::Describe { .. }
            | Call::Explain { .. }
            | Call::Diff { .. }
            | Call::History { .. }
            | Call::Events(_) => Self::Read,
            Call::Apply { .. }
            | Call::Attach { .. }
            | Call::Detach { .. }
            | Call::Confirm
            | Call::Rollback { .. }
            | Call::Audit => Self::Admin,
        }
    }
}

/// Who may what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Members may ask.
    pub read: Option<Group>,
    /// Members may ask and change.
    pub admin: Option<Group>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id and supplementary groups.
    pub groups: Vec<u32>,
}

impl Caller {
    /// What the kernel says (`SO_PEERCRED`), and the supplementary groups of the process if it is
    /// still that user's; none if the kernel does not say.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        let credentials = stream.peer_cred().ok()?;
        let mut groups = vec![credentials.gid()];
        let status = credentials.pid().map(|pid| fs::read_to_string(format!("/proc/{pid}/status")));
        if let Some(Ok(status)) = status {
            groups.extend(supplementary(&status, credentials.uid()));
        }
        Some(Self { uid: credentials.uid(), groups })
    }
}

/// The supplementary groups in a process's status (proc(5)), if its effective user is this one: the
/// number may have passed on to another process.
fn supplementary(status: &str, uid: u32) -> Vec<u32> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let numbers = |text: &str| -> Vec<u32> {
        text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    };
    let owner = field("Uid:").map(numbers).and_then(|ids| ids.get(1).copied());
    match owner == Some(uid) {
        true => field("Groups:").map(numbers).unwrap_or_default(),
        false => Vec::new(),
    }
}

impl Access {
    /// Whom the socket's file lets in: its mode, and the group it belongs to if not the agent's.
    /// Where two groups may connect, everybody may, and is told at the first word.
    pub fn file(&self) -> (Mode, Option<u32>) {
        match (&self.read, &self.admin) {
            (None, None) => (Mode::from_raw_mode(0o600), None),
            (Some(read), Some(admin)) if read.id != admin.id => (Mode::from_raw_mode(0o666), None),
            (Some(group), _) | (None, Some(group)) => (Mode::from_raw_mode(0o660), Some(group.id)),
        }
    }

    /// What a caller may, for an agent of the user `own`.
    pub fn right(&self, caller: &Caller, own: u32) -> Right {
        let member =
            |group: &Option<Group>| group.as_ref().is_some_and(|g| caller.groups.contains(&g.id));
        if caller.uid == 0 || caller.uid == own || member(&self.admin) {
            Right::Admin
        } else if member(&self.read) {
            Right::Read
        } else {
            Right::None
        }
    }

    /// The refusal for somebody who lacks the right to ask or change.
    pub fn refusal(&self, caller: Option<&Caller>, needed: Right) -> Fault {
        let who = match caller {
            Some(caller) => format!("the user with id {}", caller.uid),
            None => "whoever this is".into(),
        };
        let act = if needed == Right::Admin { "change" } else { "ask" };
        let groups = match needed {
            Right::Admin => vec![&self.admin],
            _ => vec![&self.read, &self.admin],
        };
        let mut names: Vec<_> = groups.into_iter().flatten().map(|group| &group.name[..]).collect();
        names.dedup();
        let option = if needed == Right::Admin { "--admin-group" } else { "--read-group" };
        let remedy = match names.is_empty() {
            true => format!("do it as root, or start the agent with {option}"),
            false => format!(
                "become a member of the group `{}` (`usermod -aG {} USER`, then log in again), or \
                 do it as root",
                names.join("` or `"),
                names[0]
            ),
        };
        Fault { code: Code::Denied, message: format!("{who} may not {act} this agent"), remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, id: u32) -> Option<Group> {
        Some(Group { name: name.into(), id })
    }

    fn both() -> Access {
        Access { read: group("watchers", 900), admin: group("routers", 901) }
    }

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller { uid, groups: groups.to_vec() }
    }

    #[test]
    fn groups_have_names_and_numbers() {
        let groups = "root:x:0:\nwatchers:x:900:ann,bob\n7:x:12:\n";
        assert_eq!(Group::find_in(groups, "watchers").unwrap().id, 900);
        assert_eq!(Group::find_in(groups, "42").unwrap().id, 42);
        assert_eq!(Group::find_in(groups, "7").unwrap().id, 12, "a name wins");
        let error = Group::find_in(groups, "nobody-knows").unwrap_err();
        assert!(error.contains("`groupadd --system nobody-knows`"), "{error}");
    }

    #[test]
    fn root_and_the_agents_user_may_always_and_members_what_their_group_may() {
        for (who, right) in [
            (caller(0, &[]), Right::Admin),
            (caller(77, &[]), Right::Admin),
            (caller(1000, &[1000]), Right::None),
            (caller(1000, &[1000, 900]), Right::Read),
            (caller(1000, &[901]), Right::Admin),
            (caller(1000, &[901, 900]), Right::Admin),
        ] {
            assert_eq!(both().right(&who, 77), right, "{who:?}");
        }
        assert_eq!(Access::default().right(&caller(1000, &[0]), 0), Right::None);
    }

    #[test]
    fn a_refusal_names_the_group_that_would_do() {
        let said =
            |access: &Access, need| access.refusal(Some(&caller(1000, &[])), need).to_string();
        let text = said(&both(), Right::Read);
        assert!(text.contains("id 1000 may not ask"), "{text}");
        assert!(text.contains("`watchers` or `routers`"), "{text}");
        let text = said(&both(), Right::Admin);
        assert!(text.contains("may not change") && text.contains("`routers`"), "{text}");
        assert!(!text.contains("watchers"), "{text}");
        let text = said(&Access::default(), Right::Admin);
        assert!(text.contains("--admin-group"), "{text}");
    }

    #[test]
    fn the_socket_lets_in_who_may_ask() {
        let mode = |access: &Access| (access.file().0.as_raw_mode(), access.file().1);
        assert_eq!(mode(&Access::default()), (0o600, None));
        assert_eq!(mode(&Access { read: group("w", 9), admin: None }), (0o660, Some(9)));
        assert_eq!(mode(&Access { read: None, admin: group("w", 9) }), (0o660, Some(9)));
        assert_eq!(mode(&both()), (0o666, None));
    }

    #[test]
    fn supplementary_groups_belong_to_the_user_who_connected() {
        let status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t5\t5\t5\nGroups:\t4 900 \n";
        assert_eq!(supplementary(status, 1001), [4, 900]);
        assert!(supplementary(status, 1000).is_empty());
        assert!(supplementary("", 0).is_empty());
    }
}
