//! One place that lines are written to: a bounded queue, and the work item that alone waits.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::{Level, Line, PATIENCE};
use crate::deferred::work::{Item, Kind, Queue, QueueSpec, WorkError, WorkQueues};

/// Lines of one write at most.
const BATCH: usize = 64;

/// Passes lines on to its work item.
///
/// The item belongs to an ordered queue of its own that [lasts](QueueSpec::lasting): an output that is
/// stuck costs one work thread, which nobody else has less for it.
pub(super) struct Output {
    shared: Arc<Shared>,
    item: Item,
    queue: Queue,
}

struct Shared {
    state: Mutex<State>,
    /// All is written.
    idle: Condvar,
    /// Lines that wait at most.
    waiting: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// Lines left out since the last one in the queue.
    left_out: u64,
    /// Lines that never were written.
    unwritten: u64,
    /// Whether the item is queued, or runs and has not found the queue empty yet.
    writing: bool,
}

/// A line that waits to be written.
struct Queued {
    /// How many before it were not written.
    missing: u64,
    line: Line,
}

impl Output {
    /// An output to `sink`, of which `waiting` lines wait at most. `name` is that of its queue.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(
        work: &WorkQueues,
        name: &str,
        waiting: usize,
        sink: Box<dyn Write + Send>,
        colours: bool,
    ) -> Result<Self, WorkError> {
        let shared = Arc::new(Shared { state: Mutex::default(), idle: Condvar::new(), waiting });
        let spec = QueueSpec { lasting: true, ..QueueSpec::of_host(name, Kind::Ordered) };
        let queue = work.queue(spec)?;
        let theirs = Arc::clone(&shared);
        let mut sink = Sink { to: sink, colours, is_cut: false, text: String::new() };
        let item = queue.item("write", move || theirs.run(&mut sink))?;
        item.detach();
        Ok(Self { shared, item, queue })
    }

    /// Takes a line; whether the output is to be [woken](Self::wake) for it. Cost: O(1); the lock is
    /// held by nobody who waits for anything.
    #[must_use = "somebody has to write it"]
    pub(super) fn push(&self, line: Line) -> bool {
        let mut state = self.shared.state.lock();
        if state.queue.len() >= self.shared.waiting {
            state.left_out += 1;
            state.unwritten += 1;
            return false;
        }
        let missing = std::mem::take(&mut state.left_out);
        state.queue.push_back(Queued { missing, line });
        !std::mem::replace(&mut state.writing, true)
    }

    /// Has a work thread write what waits. Cost: that of queueing an item.
    pub(super) fn wake(&self) {
        if self.item.queue().is_err() {
            self.shared.state.lock().writing = false; // The work queues have ended; it stays in line.
        }
    }

    pub(super) fn unwritten(&self) -> u64 {
        self.shared.state.lock().unwritten
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut state = self.shared.state.lock();
        let busy = |state: &mut State| state.writing || !state.queue.is_empty();
        !self.shared.idle.wait_while_for(&mut state, busy, patience).timed_out()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush(PATIENCE);
        // If it is stuck, so is its thread; it ends with the process.
        self.queue.close_unwaited();
    }
}

impl Shared {
    /// Writes what has come. Context: a work thread.
    fn run(&self, sink: &mut Sink) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(missing_after) = self.take(&mut batch) {
            let lost = sink.write(&batch, missing_after);
            let mut state = self.state.lock();
            state.unwritten += lost.lines;
            match state.queue.front_mut() {
                Some(next) => next.missing += lost.to_be_said,
                None => state.left_out += lost.to_be_said,
            }
        }
    }

    /// Moves the next lines to `batch` and tells how many are missing after them; `None` if there are
    /// none.
    fn take(&self, batch: &mut Vec<Queued>) -> Option<u64> {
        let mut state = self.state.lock();
        batch.clear();
        let count = state.queue.len().min(BATCH);
        if count == 0 {
            state.writing = false;
            self.idle.notify_all();
            return None;
        }
        batch.extend(state.queue.drain(..count));
        let is_last = state.queue.is_empty();
        Some(if is_last { std::mem::take(&mut state.left_out) } else { 0 })
    }
}

/// What a write failed to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    lines: u64,
    /// These, and those that it was to say are missing.
    to_be_said: u64,
}

/// Where the bytes go.
struct Sink {
    to: Box<dyn Write + Send>,
    colours: bool,
    /// What was written last ends within a line.
    is_cut: bool,
    text: String,
}

impl Sink {
    /// Writes lines, in one piece if the system takes it.
    fn write(&mut self, batch: &[Queued], missing_after: u64) -> Lost {
        self.text.clear();
        if self.is_cut {
            self.text.push('\n');
        }
        let mut lost = Lost::default();
        // Where each line and each word on missing ones ends, and what is lost if that is not written.
        let mut ends = Vec::with_capacity(batch.len() + 1);
        for Queued { missing, line } in batch {
            self.say_missing(*missing, line, &mut ends);
            line.print(self.colours, &mut self.text);
            ends.push((self.text.len(), Lost { lines: 1, to_be_said: 1 }));
        }
        if let Some(last) = batch.last() {
            self.say_missing(missing_after, &last.line, &mut ends);
        }
        let written = self.write_text();
        for (_, own) in ends.iter().filter(|(end, _)| *end > written) {
            lost.lines += own.lines;
            lost.to_be_said += own.to_be_said;
        }
        if written > 0 {
            self.is_cut = self.text.as_bytes().get(written - 1) != Some(&b'\n');
        }
        lost
    }

    /// Says beside `line` that `missing` lines are not there.
    fn say_missing(&mut self, missing: u64, line: &Line, ends: &mut Vec<(usize, Lost)>) {
        if missing == 0 {
            return;
        }
        let text = format!("{missing} lines are missing here: too fast, or not to be written");
        let (level, class) = (Level::Warn, "log".into());
        Line { at: line.at, level, class, text: text.into() }.print(self.colours, &mut self.text);
        ends.push((self.text.len(), Lost { lines: 0, to_be_said: missing }));
    }

    /// Writes the text; how much of it was written.
    fn write_text(&mut self) -> usize {
        let mut written = 0;
        while let Some(left) = self.text.as_bytes().get(written..).filter(|left| !left.is_empty()) {
            match self.to.write(left) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if self.to.flush().is_ok() { written } else { 0 }
    }
}
