//! The room of `unsafe` in this crate: kernel memory mapped into ours, and the one `Pod`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
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
