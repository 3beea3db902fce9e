//! Programs at a cgroup's socket hooks: the address that a process names is exchanged for a backend's, and
//! what the kernel tells it later for the service's.
//!
//! Linux calls each with the address in its hands: `connect` and `sendmsg` may also refuse it; `recvmsg`
//! and `getpeername` only exchange what the process will see.

use crate::cells::MapCells;
use crate::maps;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use thalweg_abi::socket::{PeerKey, PeerRow, port_of};
use thalweg_core::flow::socket::{Asked, address_of, fate, serve, words_of};

/// Number of the network namespace whose processes are served: that of the agent, which the loader puts
/// here. None has the number 0.
#[unsafe(no_mangle)]
static HOST_NAMESPACE: u64 = 0;

/// What a hook returns to go on.
const GO_ON: i32 = 1;
/// What it returns to have the call fail: with `EPERM` unless another error was set.
const FAIL: i32 = 0;
/// `ECONNREFUSED` (include/uapi/asm-generic/errno.h).
const REFUSED: i32 = 111;

/// A process connects an IPv4 socket.
#[cgroup_sock_addr(connect4)]
#[inline(always)]
pub fn thalweg_connect4(context: SockAddrContext) -> i32 {
    reach(context.sock_addr, Name4)
}

/// A process connects an IPv6 socket, perhaps to an IPv4 address.
#[cgroup_sock_addr(connect6)]
#[inline(always)]
pub fn thalweg_connect6(context: SockAddrContext) -> i32 {
    reach(context.sock_addr, Name6)
}

/// A process names the destination of a datagram, at an IPv4 socket.
#[cgroup_sock_addr(sendmsg4)]
#[inline(always)]
pub fn thalweg_sendmsg4(context: SockAddrContext) -> i32 {
    reach(context.sock_addr, Name4)
}

/// The same at an IPv6 socket.
#[cgroup_sock_addr(sendmsg6)]
#[inline(always)]
pub fn thalweg_sendmsg6(context: SockAddrContext) -> i32 {
    reach(context.sock_addr, Name6)
}

/// A process asks whom a datagram came from, at an IPv4 socket.
#[cgroup_sock_addr(recvmsg4)]
#[inline(always)]
pub fn thalweg_recvmsg4(context: SockAddrContext) -> i32 {
    disguise(context.sock_addr, Name4)
}

/// The same at an IPv6 socket.
#[cgroup_sock_addr(recvmsg6)]
#[inline(always)]
pub fn thalweg_recvmsg6(context: SockAddrContext) -> i32 {
    disguise(context.sock_addr, Name6)
}

/// A process asks whom an IPv4 socket is connected to.
#[cgroup_sock_addr(getpeername4)]
#[inline(always)]
pub fn thalweg_getpeername4(context: SockAddrContext) -> i32 {
    disguise(context.sock_addr, Name4)
}

/// The same for an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
#[inline(always)]
pub fn thalweg_getpeername6(context: SockAddrContext) -> i32 {
    disguise(context.sock_addr, Name6)
}

/// How an address stands in a context: words in network order, each read and written as a whole, as the
/// verifier asks for.
trait Name: Copy {
    /// The address, halves as in a packet, and its family; 0 if it is none that services have.
    fn read(self, sock: *mut bpf_sock_addr) -> ([u64; 2], u8);
    /// Puts an address of that family there.
    fn write(self, sock: *mut bpf_sock_addr, address: [u64; 2], family: u8);
}

#[derive(Clone, Copy)]
struct Name4;

impl Name for Name4 {
    #[inline(always)]
    fn read(self, sock: *mut bpf_sock_addr) -> ([u64; 2], u8) {
        // SAFETY: the context is valid while the program runs.
        let word = unsafe { core::ptr::read_volatile(&raw const (*sock).user_ip4) };
        ([0, u32::from_be(word).into()], 4)
    }

    #[inline(always)]
    fn write(self, sock: *mut bpf_sock_addr, [_, low]: [u64; 2], _: u8) {
        // SAFETY: as above; a field that programs may write.
        unsafe { core::ptr::write_volatile(&raw mut (*sock).user_ip4, (low as u32).to_be()) };
    }
}

#[derive(Clone, Copy)]
struct Name6;

impl Name for Name6 {
    #[inline(always)]
    fn read(self, sock: *mut bpf_sock_addr) -> ([u64; 2], u8) {
        // SAFETY: the context is valid while the program runs.
        let words = unsafe {
            [
                core::ptr::read_volatile(&raw const (*sock).user_ip6[0]),
                core::ptr::read_volatile(&raw const (*sock).user_ip6[1]),
                core::ptr::read_volatile(&raw const (*sock).user_ip6[2]),
                core::ptr::read_volatile(&raw const (*sock).user_ip6[3]),
            ]
        };
        address_of(words.map(u32::from_be))
    }

    #[inline(always)]
    fn write(self, sock: *mut bpf_sock_addr, address: [u64; 2], family: u8) {
        let [a, b, c, d] = words_of(address, family).map(u32::to_be);
        // SAFETY: as above; fields that programs may write.
        unsafe {
            core::ptr::write_volatile(&raw mut (*sock).user_ip6[0], a);
            core::ptr::write_volatile(&raw mut (*sock).user_ip6[1], b);
            core::ptr::write_volatile(&raw mut (*sock).user_ip6[2], c);
            core::ptr::write_volatile(&raw mut (*sock).user_ip6[3], d);
        }
    }
}

/// Exchanges a service's address for a backend's, and remembers it.
#[inline(always)]
fn reach(sock: *mut bpf_sock_addr, name: impl Name) -> i32 {
    let (address, family) = name.read(sock);
    if family == 0 {
        return GO_ON;
    }
    // SAFETY: the context is valid while the program runs, and the helpers take it.
    let (protocol, socket, namespace) = unsafe {
        let protocol = core::ptr::read_volatile(&raw const (*sock).protocol);
        (protocol, bpf_get_socket_cookie(sock.cast()), bpf_get_netns_cookie(sock.cast()))
    };
    // SAFETY: nobody writes it once the program is loaded; volatile, because the loader does before.
    let host = unsafe { core::ptr::read_volatile(&raw const HOST_NAMESPACE) };
    let port = port(sock);
    // Protocols beyond 255 are not IP's (MPTCP asks for its TCP connections).
    let protocol = u8::try_from(protocol).unwrap_or(0);
    let asked = Asked { address, port, protocol, socket, namespace, host };
    let fate = serve(|| MapCells::at(MapCells::epoch_now()), &asked);
    match fate.kind {
        fate::SERVED => {
            let key =
                PeerKey { socket, address: fate.address, port: port_of(fate.port as u16, family) };
            remember(&key, &PeerRow { address, port: port.into() });
            name.write(sock, fate.address, family);
            set_port(sock, fate.port as u16);
            GO_ON
        }
        fate::REFUSED => {
            // SAFETY: a helper without pointers.
            unsafe { bpf_set_retval(-REFUSED) };
            FAIL
        }
        fate::DROPPED => FAIL,
        _ => GO_ON,
    }
}

/// Puts a row into table `peers`, if it does not stand there: one that is read does not age either.
#[inline(always)]
fn remember(key: &PeerKey, row: &PeerRow) {
    // SAFETY: the row is only compared; a mixture of two is unlike either and is written anew.
    let known = unsafe { maps::PEERS.get(key) }.is_some_and(|known| known == row);
    if !known {
        // Without room the process sees the backend's address, which is better than none.
        let _ = maps::PEERS.insert(key, row, 0);
    }
}

/// Exchanges a backend's address for that under which this socket reached it.
#[inline(always)]
fn disguise(sock: *mut bpf_sock_addr, name: impl Name) -> i32 {
    let (address, family) = name.read(sock);
    // SAFETY: the context is valid while the program runs, and the helper takes it.
    let socket = unsafe { bpf_get_socket_cookie(sock.cast()) };
    let key = PeerKey { socket, address, port: port_of(port(sock), family) };
    // SAFETY: the row is copied at once; were it another's by now, this socket would be long silent.
    if let Some(row) = unsafe { maps::PEERS.get(&key) } {
        let row = *row;
        name.write(sock, row.address, family);
        set_port(sock, row.port as u16);
    }
    GO_ON
}

/// The port in the context.
#[inline(always)]
fn port(sock: *mut bpf_sock_addr) -> u16 {
    // SAFETY: the context is valid while the program runs.
    let word = unsafe { core::ptr::read_volatile(&raw const (*sock).user_port) };
    u16::from_be(word as u16)
}

#[inline(always)]
fn set_port(sock: *mut bpf_sock_addr, port: u16) {
    // SAFETY: as above; a field that programs may write.
    unsafe { core::ptr::write_volatile(&raw mut (*sock).user_port, port.to_be().into()) };
}
