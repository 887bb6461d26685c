//! The ring, the queue, and the thread that alone waits for standard error.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::{Level, Line, Settings};

/// Lines of one write at most.
const BATCH: usize = 64;
/// How long a log that goes away waits for its last lines to be written.
const PATIENCE: Duration = Duration::from_millis(250);

/// Keeps the last lines, and passes lines on to its thread.
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it is over.
    work: Condvar,
    /// All is written.
    idle: Condvar,
    /// Lines that the ring keeps.
    lines: usize,
    /// Lines that wait at most.
    waiting: usize,
}

#[derive(Default)]
struct State {
    ring: VecDeque<Line>,
    queue: VecDeque<Queued>,
    /// Lines left out since the last one in the queue.
    left_out: u64,
    /// Lines that never were written.
    unwritten: u64,
    /// Whether the thread has taken lines that it has not written yet.
    writing: bool,
    closed: bool,
}

/// A line that waits to be written.
struct Queued {
    /// How many before it could not wait.
    missing: u64,
    line: Line,
}

impl Writer {
    pub(super) fn start(
        settings: &Settings,
        sink: Box<dyn Write + Send>,
        colours: bool,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            lines: settings.lines.max(1),
            waiting: settings.waiting.max(1),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || theirs.run(sink, colours))?;
        Ok(Self(shared))
    }

    /// Takes a line. Cost: O(1); the lock is held by nobody who waits for anything.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.0.state.lock();
        if state.ring.len() >= self.0.lines {
            state.ring.pop_front();
        }
        state.ring.push_back(line.clone());
        if state.queue.len() >= self.0.waiting {
            state.left_out += 1;
            state.unwritten += 1;
            return;
        }
        let missing = std::mem::take(&mut state.left_out);
        state.queue.push_back(Queued { missing, line });
        drop(state);
        self.0.work.notify_one();
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.0.state.lock().ring.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.0.state.lock().ring.clear();
    }

    pub(super) fn unwritten(&self) -> u64 {
        self.0.state.lock().unwritten
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut state = self.0.state.lock();
        let busy = |state: &mut State| state.writing || !state.queue.is_empty();
        !self.0.idle.wait_while_for(&mut state, busy, patience).timed_out()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_one();
        // If standard error is stuck, so is the thread; it ends with the process.
        self.flush(PATIENCE);
    }
}

impl Shared {
    /// Writes what comes until it is over.
    fn run(&self, mut sink: Box<dyn Write + Send>, colours: bool) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut text = String::new();
        while let Some(missing_after) = self.take(&mut batch) {
            text.clear();
            for Queued { missing, line } in &batch {
                print_missing(*missing, line, colours, &mut text);
                line.print(colours, &mut text);
            }
            if let Some(last) = batch.last() {
                print_missing(missing_after, &last.line, colours, &mut text);
            }
            let failed = sink.write_all(text.as_bytes()).and_then(|()| sink.flush()).is_err();
            let lost = if failed { batch.len() as u64 } else { 0 };
            let mut state = self.state.lock();
            state.unwritten += lost;
            state.writing = false;
            if state.queue.is_empty() {
                self.idle.notify_all();
            }
        }
    }

    /// Moves the next lines to `batch` and tells how many are missing after them; `None` if it is
    /// over.
    fn take(&self, batch: &mut Vec<Queued>) -> Option<u64> {
        let mut state = self.state.lock();
        self.work.wait_while(&mut state, |state| state.queue.is_empty() && !state.closed);
        let count = state.queue.len().min(BATCH);
        batch.clear();
        batch.extend(state.queue.drain(..count));
        state.writing = count > 0;
        let is_last = state.queue.is_empty();
        let missing = if is_last { std::mem::take(&mut state.left_out) } else { 0 };
        (count > 0).then_some(missing)
    }
}

/// Says beside `line` that `missing` lines are not there.
fn print_missing(missing: u64, line: &Line, colours: bool, out: &mut String) {
    if missing > 0 {
        let text = format!("{missing} lines are missing here, they came too fast").into();
        Line { at: line.at, level: Level::Warn, class: "log".into(), text }.print(colours, out);
    }
}
