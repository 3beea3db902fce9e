//! The room of `unsafe` in this crate: kernel memory mapped into ours, the one `Pod`, and bpf(2).
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A table key or value in the form aya accepts. The only `Pod` impl in this workspace.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Raw<T>(pub T);

// SAFETY: `IntoBytes` proves `T` has no padding to leak; `FromBytes` proves every bit pattern the
// kernel may return is a valid `T`; `Immutable` and `Copy` rule out interior mutation and drop.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Raw<T> {}

/// The memory of a mappable array map, shared with the kernel's programs.
pub struct Mapping {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the memory is only reached through atomics and stays mapped while `Mapping` lives.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` octets (a multiple of 8) of the map behind `fd`, for reading and writing.
    ///
    /// # Errors
    ///
    /// What the kernel says, for example when the map is not `BPF_F_MMAPABLE`.
    pub fn new(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of a file the caller owns; no address is asked for.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(words) => Ok(Self { words, len: bytes / 8 }),
            None => Err(io::Error::other("the kernel mapped a table at address zero")),
        }
    }
}

impl AsRef<[AtomicU64]> for Mapping {
    fn as_ref(&self) -> &[AtomicU64] {
        // SAFETY: `new` mapped `len` words, page-aligned, and `drop` alone unmaps them; atomics allow
        // the kernel to read meanwhile.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.len * 8) };
    }
}

/// `membarrier(MEMBARRIER_CMD_GLOBAL)`, which is `synchronize_rcu` (kernel/sched/membarrier.c).
pub fn membarrier() -> io::Result<()> {
    // SAFETY: a system call without pointers.
    match unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attach type `BPF_XDP` (include/uapi/linux/bpf.h).
pub const ATTACH_XDP: u32 = 37;
/// Attach type `BPF_TCX_INGRESS`, since Linux 6.6.
pub const ATTACH_TCX: u32 = 46;

/// Attach type `BPF_TCX_EGRESS`, since Linux 6.6.
pub const ATTACH_TCX_OUT: u32 = 47;

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_CGROUP: u32 = 3;

/// Commands of bpf(2).
mod command {
    pub const OBJ_PIN: libc::c_long = 6;
    pub const OBJ_GET: libc::c_long = 7;
    pub const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    pub const PROG_QUERY: libc::c_long = 16;
    pub const LINK_CREATE: libc::c_long = 28;
    pub const LINK_UPDATE: libc::c_long = 29;
    pub const LINK_DETACH: libc::c_long = 34;
}

/// Words of a request's attributes, 8 octets each; the kernel takes any length that ends in zeros.
type Attributes = [u64; 8];

/// What the kernel says of one of its links (`struct bpf_link_info`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_XDP` is 6, `BPF_LINK_TYPE_TCX` 11.
    pub kind: u32,
    /// The program it runs.
    pub program: u32,
    /// Interface index of the device, 0 when that is gone.
    pub device: u32,
    /// Number of the cgroup, of a link that stands at one (`BPF_LINK_TYPE_CGROUP`, 3); 0 when that is gone.
    pub cgroup: u64,
}

/// # Safety
///
/// Addresses among `attributes` must be valid as the command wants them while it runs.
unsafe fn bpf(command: libc::c_long, attributes: &mut Attributes) -> io::Result<RawFd> {
    let size = size_of::<Attributes>();
    // SAFETY: the attributes live through the call; the caller vouches for what they point to.
    match unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result as RawFd),
    }
}

/// Two 32-bit fields of the attributes as one word.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Attaches `program` to a device, by its index, or to a cgroup, by a descriptor of it, by a link of the
/// kernel (`BPF_LINK_CREATE`).
pub fn link_create(
    program: BorrowedFd<'_>,
    device: u32,
    attach: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(program.as_raw_fd() as u32, device);
    attributes[1] = pair(attach, flags);
    // SAFETY: no addresses; the result is a descriptor that nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(command::LINK_CREATE, &mut attributes)?)) }
}

/// Puts `program` in the place of the one that `link` runs, at once (`BPF_LINK_UPDATE`).
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(link.as_raw_fd() as u32, program.as_raw_fd() as u32);
    // SAFETY: no addresses.
    unsafe { bpf(command::LINK_UPDATE, &mut attributes).map(drop) }
}

/// Takes a link's program off its device before this returns, whoever else holds the link
/// (`BPF_LINK_DETACH`); letting go of the last reference does it some time later.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(link.as_raw_fd() as u32, 0);
    // SAFETY: no addresses.
    unsafe { bpf(command::LINK_DETACH, &mut attributes).map(drop) }
}

/// What the kernel says of a link (`BPF_OBJ_GET_INFO_BY_FD`).
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = [0u32; 64];
    let mut attributes = Attributes::default();
    attributes[0] = pair(link.as_raw_fd() as u32, size_of_val(&info) as u32);
    attributes[1] = info.as_mut_ptr() as u64;
    // SAFETY: `info` is as long as said and lives through the call.
    unsafe { bpf(command::OBJ_GET_INFO_BY_FD, &mut attributes)? };
    // type, id, prog_id, padding, then the union: XDP and tcx both begin with the index, cgroups with
    // their number.
    let cgroup = if info[0] == LINK_CGROUP { pair(info[4], info[5]) } else { 0 };
    Ok(LinkInfo { kind: info[0], program: info[2], device: info[4], cgroup })
}

/// Gives an object of the kernel a name in a BPF file system (`BPF_OBJ_PIN`).
pub fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = path.as_ptr() as u64;
    attributes[1] = pair(object.as_raw_fd() as u32, 0);
    // SAFETY: the path is a string that lives through the call.
    unsafe { bpf(command::OBJ_PIN, &mut attributes).map(drop) }
}

/// The object behind a pinned name (`BPF_OBJ_GET`).
pub fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::default();
    attributes[0] = path.as_ptr() as u64;
    // SAFETY: as above; the result is a descriptor that nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(command::OBJ_GET, &mut attributes)?)) }
}

/// Ids of the programs at a hook of a device, at most 64 (`BPF_PROG_QUERY`).
pub fn query_ids(device: u32, attach: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; 64];
    let mut attributes = Attributes::default();
    attributes[0] = pair(device, attach);
    attributes[2] = ids.as_mut_ptr() as u64;
    attributes[3] = pair(ids.len() as u32, 0);
    // SAFETY: `ids` has as much room as said and lives through the call.
    unsafe { bpf(command::PROG_QUERY, &mut attributes)? };
    let [a, b, c, d, ..] = attributes[3].to_ne_bytes();
    let count = u32::from_ne_bytes([a, b, c, d]) as usize;
    Ok(ids.into_iter().take(count).collect())
}

/// Asks how many programs stand at a hook of a device (`BPF_PROG_QUERY`): an error where the kernel
/// has no such hook.
pub fn query(device: u32, attach: u32) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(device, attach);
    // SAFETY: no addresses: with room for none, the kernel writes no ids.
    unsafe { bpf(command::PROG_QUERY, &mut attributes).map(drop) }
}

/// The kernel's number of the network namespace of the calling thread (`SO_NETNS_COOKIE`, since Linux 5.14);
/// never 0.
pub fn namespace_number() -> io::Result<u64> {
    /// include/uapi/asm-generic/socket.h; where it has another number, the kernel knows no such option.
    const NETNS_COOKIE: libc::c_int = 71;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let mut number = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to variables of the size said, which live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            NETNS_COOKIE,
            (&raw mut number).cast(),
            &raw mut len,
        )
    };
    match (result, len) {
        (0, 8) => Ok(number),
        (0, _) => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives memory that was freed back to the kernel, of all of the allocator's arenas: what a large plan was
/// made with lies in pieces between what stays, and glibc gives back by itself only what lies at the end.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a function without pointers that may be called at any time (malloc_trim(3), MT-safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
