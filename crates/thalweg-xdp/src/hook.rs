//! Hooks: where on a link the programs stand, what was wished, what came of it.

use std::fmt;

/// What a person wishes for a link.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Wish {
    /// The fastest hook that loses no frames.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP behind the driver, on socket buffers.
    Generic,
    /// tc.
    Tc,
}

/// A link that programs are wanted on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedHook {
    /// Interface index of the device.
    pub ifindex: u32,
    /// Its name, for messages.
    pub name: String,
    /// The wish.
    pub wish: Wish,
}

/// The hook that a program stands at.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP behind the driver, on socket buffers.
    Generic,
    /// tc by a link of the kernel (Linux 6.6).
    Tcx,
    /// tc by a filter on the clsact qdisc.
    Clsact,
    /// tc for what this host sends, by a link of the kernel.
    TcxOut,
    /// tc for what this host sends, by a filter on the clsact qdisc.
    ClsactOut,
    /// None: the kernel alone forwards what arrives here.
    None,
}

impl Mode {
    /// The hooks, fastest first.
    pub const LADDER: [Self; 4] = [Self::Native, Self::Generic, Self::Tcx, Self::Clsact];

    /// All hooks, those for what leaves last.
    pub(crate) const ALL: [Self; 6] =
        [Self::Native, Self::Generic, Self::Tcx, Self::Clsact, Self::TcxOut, Self::ClsactOut];

    /// Whether it sees what leaves instead of what arrives.
    pub const fn is_leaving(self) -> bool {
        matches!(self, Self::TcxOut | Self::ClsactOut)
    }

    /// Whether it is one of the two XDP hooks, which exclude each other.
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::Native | Self::Generic)
    }

    /// As it is written in names of pins.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::TcxOut => "tcx-out",
            Self::ClsactOut => "clsact-out",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcx => "tc(tcx)",
            Self::Clsact => "tc(clsact)",
            Self::TcxOut => "tc(tcx, leaving)",
            Self::ClsactOut => "tc(clsact, leaving)",
            _ => self.tag(),
        })
    }
}

/// What came of a wish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookStatus {
    /// Interface index of the device.
    pub ifindex: u32,
    /// Its name as the kernel has it, or as wanted if there is no such device.
    pub name: String,
    /// Where the program stands.
    pub mode: Mode,
    /// The tc hook where it stands as well, behind XDP, for what needs a socket buffer.
    pub behind: Option<Mode>,
    /// The tc hook where a program sees what this host sends; only on hosts with services or workloads.
    pub leaving: Option<Mode>,
    /// Why there: each step of the ladder, with the kernel's words and the way out.
    pub reason: String,
}
