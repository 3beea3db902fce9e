//! Takes out everything that is ours, with or without an agent that remembers it.

use crate::hooks::remove_mark;
use crate::namespace;
use crate::pins::{Mark, Pins, PinsError};
use crate::sockets;
use crate::tc::Tc;
use std::path::Path;
use thalweg_fault::point;

/// What was taken out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Detached {
    /// One line for each thing.
    pub removed: Vec<String>,
    /// What could not be taken out, with the reason and the way out; empty if all is gone.
    pub left: Vec<String>,
}

/// Takes the instance with this directory of pins out of the kernel: programs at hooks, filters and
/// qdiscs that we made, pins. Other people's are not touched. Nothing happens if there is none.
///
/// # Errors
///
/// [`PinsError::Busy`] while an agent runs that would attach again, and the file system's words.
pub fn detach(dir: &Path) -> Result<Detached, PinsError> {
    let Some(pins) = Pins::open(dir)? else { return Ok(Detached::default()) };
    let mut done = Detached::default();
    let marks = pins.marks();
    let inside = match pins.namespace().map(|known| namespace::run(known, || hooks(&pins, &marks)))
    {
        Some(Ok(Some(inside))) => inside,
        // The namespace is gone and its devices with it, or nobody wrote it down.
        Some(Ok(None)) | None => forget(&pins, &marks),
        Some(Err(error)) => {
            let way = "run as root or in that network namespace";
            done.left.push(format!("{}: {error}: {way}", dir.display()));
            return Ok(done);
        }
    };
    done.removed.extend(inside);
    done.removed.extend(sockets::detach(&pins));
    let still = pins.marks().into_iter().map(|(device, mark)| pins.path(device, mark));
    done.left.extend(still.map(|path| format!("{}: remove it by hand", path.display())));
    let names = pins.clear()?;
    done.removed.extend(names.iter().map(|path| format!("pin {}", path.display())));
    Ok(done)
}

/// Does `work` in the network namespace of the instance with this directory of pins; none if there is
/// no such instance, it is running, or its namespace is gone.
pub fn inside<T: Send>(dir: &Path, work: impl FnOnce() -> T + Send) -> Option<T> {
    let known = Pins::open(dir).ok()??.namespace()?;
    namespace::run(known, work).ok()?
}

/// Takes programs off all hooks; the calling thread is in the right network namespace.
fn hooks(pins: &Pins, marks: &[(u32, Mark)]) -> Vec<String> {
    let Ok(tc) = Tc::new(&pins.filter_name()) else { return forget(pins, marks) };
    let mut removed = Vec::new();
    for (device, mark) in marks {
        let name = crate::device::name(*device);
        let thing = remove_mark(pins, &tc, *device, *mark);
        point("detach-hook");
        removed.extend(thing.map(|thing| format!("{thing} of link {name}")));
    }
    removed
}

/// Removes the pins alone: what they held goes with them.
fn forget(pins: &Pins, marks: &[(u32, Mark)]) -> Vec<String> {
    let gone = |(device, mark): &(u32, Mark)| {
        pins.unmark(*device, *mark).ok()?;
        Some(format!("pin {}", pins.path(*device, *mark).display()))
    };
    marks.iter().filter_map(gone).collect()
}
