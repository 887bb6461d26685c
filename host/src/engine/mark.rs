//! Names what is to be dispatched on a thread although nothing was enqueued to it.

use super::poller::Token;
use crate::graph::NodeIndex;

/// A node, or one receive queue of an interface's input node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The node.
    pub node: NodeIndex,
    /// The queue; `None` for all that the node has on the thread.
    pub queue: Option<u32>,
}

/// Upper bits of the tokens that are ours; a watched descriptor's function has others.
const OURS: u64 = 1 << 63;
/// Bits of a token that name the queue.
const QUEUE_BITS: u32 = 24;
/// In those bits: all queues.
const ALL: u64 = (1 << QUEUE_BITS) - 1;

impl Mark {
    /// What a descriptor is watched under whose readiness means this mark. A queue whose number has
    /// more than 24 bits is all queues.
    pub fn token(self) -> Token {
        let queue = self.queue.map_or(ALL, |queue| u64::from(queue).min(ALL));
        Token(OURS | u64::from(self.node.0) << QUEUE_BITS | queue)
    }

    /// The mark that a token means.
    pub fn of(Token(token): Token) -> Option<Self> {
        let body = (token ^ OURS) >> QUEUE_BITS;
        let node = u32::try_from(body).ok()?; // The other large tokens have more bits than that.
        let queue = token & ALL;
        let queue = (queue != ALL).then(|| u32::try_from(queue)).transpose().ok()?;
        Some(Self { node: NodeIndex(node), queue })
    }
}

/// Why a thread dispatches an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does so every turn.
    Turn,
    /// It was marked: this queue, or all.
    Marked(Option<u32>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::files::FileId;

    #[test]
    fn a_mark_comes_back_from_its_token_and_no_other_token_is_one() {
        for (node, queue) in [(0, None), (0, Some(0)), (7, Some(3)), (u32::MAX, Some(0xff_fffe))] {
            let mark = Mark { node: NodeIndex(node), queue };
            assert_eq!(Mark::of(mark.token()), Some(mark));
            assert!(FileId::of(mark.token().0).is_none());
        }
        for other in [0, 2, 1000, 1 << 62, (1 << 63) - 1, u64::MAX, u64::MAX - 2] {
            assert_eq!(Mark::of(Token(other)), None, "{other:x}");
        }
    }
}
