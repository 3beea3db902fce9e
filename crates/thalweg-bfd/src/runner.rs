//! The thread that runs sessions: nothing but their packets and their clock.
//!
//! It is a thread of its own, raised in priority where the process may, so that a session of
//! 3 × 10 ms lives while others compile a large plan.

use crate::Micros;
use crate::engine::{Engine, Report, Wanted};
use crate::sockets::Sockets;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The niceness of the thread: before all ordinary ones.
const NICE: i32 = -20;

/// What hears of changes; called in the thread of the sessions, so it must not wait.
pub type Listener = Box<dyn FnMut(Report) + Send>;

/// A running thread with its sessions. Ends with it.
pub struct Runner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    engine: Mutex<Engine>,
    wake: OwnedFd,
    /// The sockets may not fit the sessions any more.
    changed: AtomicBool,
    stopped: AtomicBool,
    /// Whether the thread runs before ordinary ones.
    raised: AtomicBool,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Lets threads of this process raise themselves later, when it has no rights any more. To be
/// called while it has; without them nothing changes.
pub fn allow_priority() {
    let mut limit = getrlimit(Resource::Nice);
    // The kernel counts niceness as 20 − nice.
    let wanted = Some((20 - NICE) as u64);
    if limit.maximum.is_some_and(|most| Some(most) < wanted) {
        limit.maximum = wanted;
    }
    limit.current = limit.maximum;
    if setrlimit(Resource::Nice, limit).is_err() {
        // Those who may not have more may still have all that they were given.
        let given = getrlimit(Resource::Nice);
        let _ = setrlimit(Resource::Nice, Rlimit { current: given.maximum, ..given });
    }
}

/// Now, on the clock that sessions run by.
pub fn now() -> Micros {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as Micros * 1_000_000 + time.tv_nsec as Micros / 1_000
}

impl Runner {
    /// Starts the thread, without sessions.
    ///
    /// # Errors
    ///
    /// The kernel's, when it gives no thread or descriptor.
    pub fn start(listener: Listener) -> std::io::Result<Self> {
        let mut seed = [0; 8];
        getrandom(&mut seed, GetRandomFlags::empty())?;
        let shared = Arc::new(Shared {
            engine: Mutex::new(Engine::new(u64::from_ne_bytes(seed))),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            changed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            raised: AtomicBool::new(false),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("bfd".into()).spawn(move || {
            let raised = setpriority_process(None, NICE).is_ok();
            own.raised.store(raised, Ordering::Relaxed);
            run(&own, listener);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Makes the sessions as wanted.
    pub fn set(&self, wanted: &[Wanted]) {
        self.shared.engine().set(wanted, now());
        self.shared.changed.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Looks at the sessions. They stand still meanwhile: be brief.
    pub fn look<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.shared.engine())
    }

    /// Whether the thread runs before ordinary ones.
    pub fn is_raised(&self) -> bool {
        self.shared.raised.load(Ordering::Relaxed)
    }

    /// Asks all neighbors to wait for `absence` without a packet, and gives them `patience` to agree.
    /// Returns whether all did. To be followed by the end.
    pub fn go_away(&self, absence: Duration, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        self.shared.engine().go_away(absence.as_micros() as Micros);
        self.shared.wake();
        while !self.shared.engine().is_patient() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, mut listener: Listener) {
    let mut sockets = Sockets::default();
    while !shared.stopped.load(Ordering::Acquire) {
        let (due, reports) = step(shared, &mut sockets);
        reports.into_iter().for_each(&mut listener);
        wait(shared, &sockets, due);
    }
}

/// Takes what arrived and does what is due. Returns when there will be more, and what changed.
fn step(shared: &Shared, sockets: &mut Sockets) -> (Option<Micros>, Vec<Report>) {
    let mut engine = shared.engine();
    let time = now();
    let changed = shared.changed.swap(false, Ordering::AcqRel);
    if changed || sockets.due().is_some_and(|due| due <= time) {
        sockets.fit(&mut engine, time);
    }
    sockets.receive(&mut engine, time);
    let before = engine.entries().count();
    let packets = engine.advance(time);
    sockets.send(&packets);
    if engine.entries().count() != before {
        sockets.fit(&mut engine, time);
    }
    let due = engine.due().into_iter().chain(sockets.due()).min();
    (due, engine.reports())
}

fn wait(shared: &Shared, sockets: &Sockets, due: Option<Micros>) {
    let timeout = due.map(|due| {
        let left = due.saturating_sub(now());
        Timespec { tv_sec: (left / 1_000_000) as i64, tv_nsec: (left % 1_000_000 * 1_000) as i64 }
    });
    let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&shared.wake, PollFlags::IN)];
    fds.extend(sockets.readable().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(io::Errno::INTR) => {}
        // Nothing else is expected; a pause keeps it from becoming a storm.
        Err(_) => std::thread::sleep(Duration::from_millis(1)),
    }
    let mut count = [0; 8];
    let _ = rustix::io::read(&shared.wake, &mut count);
}
