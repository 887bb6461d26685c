//! The receive queue: replays what was read, each packet when it is due.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::fd::RawFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use plugin_api::RxFrame;

use crate::{
    alarm::Alarm,
    device::{LinkKind, Next},
    pace::Pace,
    reader::{self, Chunk, Chunks, NoChunk},
    report::Report,
};

/// Waits that are too short to sleep for.
const SHORT_NS: u64 = 50_000;

/// A capture that is replayed.
#[derive(Debug)]
pub(crate) struct InputQueue {
    chunks: Chunks,
    chunk: Chunk,
    pace: Pace,
    link: LinkKind,
    alarm: Arc<Alarm>,
    /// What the alarm is set to.
    wake: Wake,
    /// How often the interface was taken up when it was last looked at.
    taken_up: u32,
    report: Arc<Report>,
}

/// When the thread that replays is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// There is more to do now.
    Now,
    /// At that time of the host.
    At(u64),
    /// When there is another chunk.
    Fed,
    /// Never: this is the end.
    Never,
}

impl InputQueue {
    pub(crate) fn open(file: Arc<File>, link: LinkKind, report: Arc<Report>) -> io::Result<Self> {
        let alarm = Arc::new(Alarm::new()?);
        alarm.ring();
        let longest = RxFrame::<Next>::CHAIN_ROOM;
        let speed = report.input.as_ref().and_then(|input| input.speed);
        let chunks = reader::spawn(file, link, longest, Arc::clone(&report), Arc::clone(&alarm))?;
        Ok(Self {
            chunks,
            chunk: Chunk::default(),
            pace: Pace::new(speed),
            link,
            alarm,
            wake: Wake::Now,
            taken_up: 0,
            report,
        })
    }

    /// Becomes readable when there is a packet to replay.
    pub(crate) fn readable(&self) -> RawFd {
        self.alarm.readable()
    }

    #[cfg(test)]
    pub(crate) fn is_readable(&self, within: Duration) -> bool {
        self.alarm.is_readable(within)
    }

    /// Receives the packets that are due; `taken_up` counts how often the interface was taken up.
    pub(crate) fn receive(&mut self, frame: &mut RxFrame<'_, Next>, taken_up: u32) {
        if self.wake == Wake::Never {
            return;
        }
        if self.taken_up != taken_up {
            self.taken_up = taken_up;
            self.pace.resume();
        }
        let wake = self.replay(frame);
        if let Some(input) = &self.report.input {
            input.packets.add(frame.len() as u64);
            if wake == Wake::Never {
                input.has_ended.store(true, Relaxed);
                if input.error.get().is_some() {
                    frame.set_link(false);
                }
            }
        }
        self.set(wake, frame.now_ns());
    }

    /// Replays what is due, and tells when to go on.
    fn replay(&mut self, frame: &mut RxFrame<'_, Next>) -> Wake {
        let now_ns = frame.now_ns();
        while !frame.is_full() {
            let Some((packet, bytes)) = self.chunk.next() else {
                match self.next_chunk() {
                    Ok(()) => continue,
                    Err(NoChunk::Yet) => return Wake::Fed,
                    Err(NoChunk::More) => return Wake::Never,
                }
            };
            if packet.begins_round {
                packet.begins_round = false;
                self.pace.splice(packet.at_ns);
            }
            let due_ns = self.pace.due_ns(packet.at_ns, now_ns);
            if due_ns > now_ns {
                return if due_ns - now_ns < SHORT_NS { Wake::Now } else { Wake::At(due_ns) };
            }
            if !fill(frame, bytes, self.link.next(bytes)) {
                return Wake::Now; // The pool has no buffer now.
            }
            self.chunk.pop();
        }
        Wake::Now
    }

    /// Takes the next chunk; if there is none yet, the alarm is rung when there is.
    fn next_chunk(&mut self) -> Result<(), NoChunk> {
        match self.chunks.next(&mut self.chunk) {
            Err(NoChunk::Yet) if self.wake != Wake::Fed => {
                self.wake = Wake::Fed;
                self.alarm.silence();
                self.alarm.starve();
                self.chunks.next(&mut self.chunk)
            }
            outcome => outcome,
        }
    }

    /// Sets the alarm, if that changes it.
    fn set(&mut self, wake: Wake, now_ns: u64) {
        if self.wake == wake {
            return;
        }
        self.wake = wake;
        match wake {
            Wake::Now => self.alarm.ring(),
            Wake::At(due_ns) => self.alarm.ring_after(Duration::from_nanos(due_ns - now_ns)),
            Wake::Never => self.alarm.silence(),
            Wake::Fed => {} // Set when the chunk was looked for.
        }
    }
}

/// Receives one packet; `false` if there is no buffer for it.
fn fill(frame: &mut RxFrame<'_, Next>, bytes: &[u8], next: Next) -> bool {
    let len = bytes.len();
    if len <= RxFrame::<Next>::ROOM {
        return frame.fill(|room| {
            room[..len].copy_from_slice(bytes);
            Some((len, next))
        });
    }
    frame.fill_chain(len, |rooms: &mut [IoSliceMut<'_>]| {
        let mut left = bytes;
        for room in rooms {
            let (part, rest) = left.split_at(left.len().min(room.len()));
            room[..part.len()].copy_from_slice(part);
            left = rest;
        }
        Some((len, next))
    })
}
