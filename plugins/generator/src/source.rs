//! The receive side: streams make packets.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use parking_lot::Mutex;
use plugin_api::RxFrame;

use crate::{device::Next, stream::Stream};

/// Streams there can be on one interface.
pub const STREAMS: usize = 32;
const FRAME: u64 = 256;

/// What the main thread wants of a queue.
#[derive(Debug)]
pub enum Order {
    /// Have this stream, in place of that of the same flow.
    Put(Option<Box<Stream>>),
    /// Start the stream of this flow.
    Start(u16),
    /// Stop it.
    Stop(u16),
}

/// Orders on their way to a queue's thread.
///
/// The packet path reads one flag. Only when that is up does it try the lock; if the main thread
/// has it, the next poll will do. Memory is allocated and freed on the main thread alone: a stream
/// that was replaced goes back in its order.
#[derive(Debug, Default)]
pub struct Mailbox {
    posted: AtomicBool,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    list: Vec<Order>,
    carried_out: bool,
}

impl Mailbox {
    /// Posts an order. Main thread.
    pub fn post(&self, order: Order) {
        let mut orders = self.orders.lock();
        if orders.carried_out {
            orders.carried_out = false;
            orders.list.clear();
        }
        orders.list.push(order);
        self.posted.store(true, Release);
    }
}

/// One receive queue of an interface.
#[derive(Debug)]
pub struct SourceQueue {
    mailbox: Arc<Mailbox>,
    /// Boxed, so that they change places without being copied; room for [`STREAMS`].
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    streams: Vec<Box<Stream>>,
    /// Which stream comes first; another one at each poll.
    turn: usize,
}

impl SourceQueue {
    /// A queue without streams.
    pub fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, streams: Vec::with_capacity(STREAMS), turn: 0 }
    }

    /// Fills a frame: first the streams that have a rate, as they are due; the others share the
    /// room that is left.
    pub fn receive(&mut self, frame: &mut RxFrame<'_, Next>) {
        if self.mailbox.posted.load(Acquire) {
            self.take_orders();
        }
        let n = self.streams.len();
        if n == 0 {
            return;
        }
        self.turn = if self.turn + 1 < n { self.turn + 1 } else { 0 };
        let (after, before) = self.streams.split_at_mut(self.turn);
        let mut flat_out = 0;
        for stream in before.iter_mut().chain(after.iter_mut()).filter(|s| s.is_running()) {
            if stream.is_paced() {
                stream.fill(frame, FRAME);
            } else {
                flat_out += 1;
            }
        }
        for stream in before.iter_mut().chain(after.iter_mut()) {
            if stream.is_running() && !stream.is_paced() {
                let room = FRAME.saturating_sub(frame.len() as u64);
                stream.fill(frame, room.div_ceil(flat_out));
                flat_out -= 1;
            }
        }
    }

    #[cold]
    fn take_orders(&mut self) {
        let mailbox = Arc::clone(&self.mailbox);
        let Some(mut orders) = mailbox.orders.try_lock() else { return };
        mailbox.posted.store(false, Release);
        if orders.carried_out {
            return;
        }
        orders.carried_out = true;
        for order in &mut orders.list {
            match order {
                Order::Put(stream) => self.put(stream),
                Order::Start(flow) => {
                    if let Some(at) = self.find(*flow) {
                        self.streams[at].start();
                    }
                }
                Order::Stop(flow) => {
                    if let Some(at) = self.find(*flow) {
                        self.streams[at].stop();
                    }
                }
            }
        }
    }

    /// Takes a stream over; the one it replaces is left in its stead.
    fn put(&mut self, place: &mut Option<Box<Stream>>) {
        let Some(mut stream) = place.take() else { return };
        stream.succeed();
        if let Some(at) = self.find(stream.flow()) {
            *place = Some(core::mem::replace(&mut self.streams[at], stream));
        } else if self.streams.len() < STREAMS {
            self.streams.push(stream);
        }
    }

    fn find(&self, flow: u16) -> Option<usize> {
        self.streams.iter().position(|stream| stream.flow() == flow)
    }
}
