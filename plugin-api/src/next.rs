//! Out-arcs: where a packet may go from a node.

use gristmill_abi::{
    Str,
    declaration::{NextDecl, next_kind},
};

/// The far end of an arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another node; the plugin is refused if there is none of that name.
    Node(&'static str),
    /// Another node as soon as there is one; until then the packet is dropped.
    Optional(&'static str),
    /// A drop reason, counted as an error.
    Drop(&'static str),
    /// A drop reason, counted as a warning.
    DropWarn(&'static str),
    /// A drop reason that is no fault at all.
    DropInfo(&'static str),
    /// Onward on the feature arc.
    Feature,
}

impl Target {
    #[doc(hidden)]
    pub const fn decl(self) -> NextDecl {
        let (kind, severity, name) = match self {
            Self::Node(name) => (next_kind::NODE, 0, name),
            Self::Optional(name) => (next_kind::OPTIONAL, 0, name),
            Self::Drop(name) => (next_kind::DROP, 0, name),
            Self::DropWarn(name) => (next_kind::DROP, 1, name),
            Self::DropInfo(name) => (next_kind::DROP, 2, name),
            Self::Feature => (next_kind::FEATURE, 0, ""),
        };
        NextDecl { kind, severity, name: Str::new(name) }
    }
}

/// Number of an out-arc that was added at run time, or of a declared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct NextIndex(pub u16);

/// A node's out-arcs; implemented by [`next_nodes!`](crate::next_nodes).
pub trait NextNodes: Copy {
    /// Targets, in arc order.
    const TARGETS: &'static [Target];
    #[doc(hidden)]
    const DECLS: &'static [NextDecl];

    /// Arc index, `0..TARGETS.len()`.
    fn index(self) -> u16;

    /// The same as a number, beside those of arcs that were added at run time.
    fn number(self) -> NextIndex {
        NextIndex(self.index())
    }
}

/// The out-arcs of a node that sends no packet: an input that only keeps time.
impl NextNodes for core::convert::Infallible {
    const TARGETS: &'static [Target] = &[];
    const DECLS: &'static [NextDecl] = &[];

    fn index(self) -> u16 {
        match self {}
    }
}

/// Declares a node's out-arcs: one line per arc, name and [`Target`] side by side.
#[macro_export]
macro_rules! next_nodes {
    ($(#[$meta:meta])* $vis:vis enum $next:ident {
        $($(#[$arc_meta:meta])* $arc:ident => $kind:ident $(($name:literal))?),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        $vis enum $next {
            $($(#[$arc_meta])* #[doc = concat!("To ", stringify!($kind $(($name))?), ".")] $arc),+
        }

        impl $crate::NextNodes for $next {
            const TARGETS: &'static [$crate::Target] = &[$($crate::Target::$kind $(($name))?),+];
            const DECLS: &'static [$crate::abi::declaration::NextDecl] =
                &[$($crate::Target::$kind $(($name))?.decl()),+];

            #[inline(always)]
            fn index(self) -> u16 {
                self as u16
            }
        }
    };
}
