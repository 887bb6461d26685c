//! Queues of packets' buffer indices between two threads: the host's ring, and others.
#![expect(unsafe_code, reason = "makes values in a ring")]

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use gristmill::engine::ring::{Consumer, Producer, ring};

/// Packets of a frame.
pub(crate) const FRAME: usize = 256;
/// Packets there is room for.
const CAPACITY: usize = 8_192;
/// Packets of a vector.
const VECTOR: usize = 32;

/// The end that takes packets in; gives how many went.
pub(crate) trait Sender: Send {
    fn send(&mut self, packets: &[u32]) -> usize;
}

/// The end that packets come out of; gives how many came.
pub(crate) trait Receiver: Send {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize;
}

type Ends = (Box<dyn Sender>, Box<dyn Receiver>);

/// A kind of queue.
pub(crate) struct Queue {
    pub(crate) name: &'static str,
    pub(crate) open: fn() -> Ends,
}

pub(crate) const OURS: Queue = Queue { name: "ours", open: open_ours };
pub(crate) const PEERS: [Queue; 4] = [
    Queue { name: "rtrb-chunks", open: open_chunks },
    Queue { name: "rtrb", open: open_rtrb },
    Queue { name: "crossbeam-array-queue", open: open_array_queue },
    Queue { name: "crossbeam-channel", open: open_channel },
];

/// As large as what goes through the rings of threads.
struct Vector {
    _head: [u64; 2],
    n: usize,
    indices: [u32; VECTOR],
    _nexts: [u16; VECTOR],
}

fn open_ours() -> Ends {
    let (producer, consumer) = ring::<Vector>(CAPACITY / VECTOR);
    (Box::new(producer), Box::new(consumer))
}

impl Sender for Producer<Vector> {
    fn send(&mut self, packets: &[u32]) -> usize {
        let mut sent = 0;
        for packets in packets.chunks(VECTOR) {
            // SAFETY: the room is filled; there are no more packets than it has places.
            let pushed = unsafe {
                self.push_with(|room| {
                    let (indices, nexts) = ([0; VECTOR], [0; VECTOR]);
                    let empty = Vector { _head: [1; 2], n: packets.len(), indices, _nexts: nexts };
                    room.write(empty).indices[..packets.len()].copy_from_slice(packets);
                })
            };
            if !pushed {
                break;
            }
            sent += packets.len();
        }
        sent
    }
}

impl Receiver for Consumer<Vector> {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize {
        let mut received = 0;
        while received + VECTOR <= FRAME {
            let taken = self.pop_with(|vector| {
                let n = vector.n.min(VECTOR);
                room[received..received + n].copy_from_slice(&vector.indices[..n]);
                n
            });
            let Some(n) = taken else { break };
            received += n;
        }
        received
    }
}

fn open_rtrb() -> Ends {
    let (producer, consumer) = rtrb::RingBuffer::<u32>::new(CAPACITY);
    (Box::new(producer), Box::new(consumer))
}

impl Sender for rtrb::Producer<u32> {
    fn send(&mut self, packets: &[u32]) -> usize {
        packets.iter().take_while(|&&packet| self.push(packet).is_ok()).count()
    }
}

impl Receiver for rtrb::Consumer<u32> {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize {
        fill(room, || self.pop().ok())
    }
}

/// The same, many at a time.
struct Chunks<T>(T);

fn open_chunks() -> Ends {
    let (producer, consumer) = rtrb::RingBuffer::<u32>::new(CAPACITY);
    (Box::new(Chunks(producer)), Box::new(Chunks(consumer)))
}

impl Sender for Chunks<rtrb::Producer<u32>> {
    fn send(&mut self, packets: &[u32]) -> usize {
        let n = packets.len().min(self.0.slots());
        let Ok(chunk) = self.0.write_chunk_uninit(n) else { return 0 };
        chunk.fill_from_iter(packets.iter().copied())
    }
}

impl Receiver for Chunks<rtrb::Consumer<u32>> {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize {
        let n = FRAME.min(self.0.slots());
        let Ok(chunk) = self.0.read_chunk(n) else { return 0 };
        let (first, second) = chunk.as_slices();
        room[..first.len()].copy_from_slice(first);
        room[first.len()..n].copy_from_slice(second);
        chunk.commit_all();
        n
    }
}

fn open_array_queue() -> Ends {
    let queue = Arc::new(ArrayQueue::<u32>::new(CAPACITY));
    (Box::new(Arc::clone(&queue)), Box::new(queue))
}

impl Sender for Arc<ArrayQueue<u32>> {
    fn send(&mut self, packets: &[u32]) -> usize {
        packets.iter().take_while(|&&packet| self.push(packet).is_ok()).count()
    }
}

impl Receiver for Arc<ArrayQueue<u32>> {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize {
        fill(room, || self.pop())
    }
}

fn open_channel() -> Ends {
    let (sender, receiver) = crossbeam_channel::bounded::<u32>(CAPACITY);
    (Box::new(sender), Box::new(receiver))
}

impl Sender for crossbeam_channel::Sender<u32> {
    fn send(&mut self, packets: &[u32]) -> usize {
        packets.iter().take_while(|&&packet| self.try_send(packet).is_ok()).count()
    }
}

impl Receiver for crossbeam_channel::Receiver<u32> {
    fn receive(&mut self, room: &mut [u32; FRAME]) -> usize {
        fill(room, || self.try_recv().ok())
    }
}

/// Takes one after the other until there are no more.
fn fill(room: &mut [u32; FRAME], mut take: impl FnMut() -> Option<u32>) -> usize {
    let mut filled = 0;
    while filled < FRAME
        && let Some(packet) = take()
    {
        room[filled] = packet;
        filled += 1;
    }
    filled
}
