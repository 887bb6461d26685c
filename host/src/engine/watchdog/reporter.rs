//! The watchdog's thread: names what the handlers captured, and writes it to the log.
#![expect(unsafe_code, reason = "asks the dynamic linker which file an address is of")]

use std::{
    collections::HashMap,
    ffi::{CStr, c_int},
    io, mem,
    os::fd::OwnedFd,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{
    slot::{Captured, Work},
    ticker,
};
use crate::{
    engine::ThreadShared, graph::Owner, host::Host, log::Level, process::WATCHDOG, time::Nanos,
};

/// At most one report in that time of each name, and one trace.
const PAUSE: Nanos = Nanos::from_secs(1);
/// Lines of a trace: the log throttles a class that says more at once.
const LINES: usize = 40;
/// Names that are remembered.
const NAMES: usize = 256;

/// The watchdog of a host: its thread, which sleeps until somebody is stuck.
#[derive(Debug)]
pub struct Watchdog {
    bell: Arc<OwnedFd>,
    quit: Arc<AtomicBool>,
    signal: c_int,
    threshold: Nanos,
    hang: Nanos,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts it; `threshold` is for all that has none of its own. A worker that a node holds for
    /// `hang` is given up; never if that is 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(host: &'static Host, threshold: Nanos, hang: Nanos) -> io::Result<Self> {
        let signal = ticker::install()?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let quit = Arc::new(AtomicBool::new(false));
        let (own_bell, own_quit) = (Arc::clone(&bell), Arc::clone(&quit));
        let work = move || {
            let mut reporter =
                Reporter { host, last: HashMap::new(), last_trace: None, held: Vec::new() };
            let mut rung = [0; 8];
            while !own_quit.load(Ordering::Acquire) {
                if rustix::io::read(&own_bell, &mut rung).is_ok() {
                    reporter.look();
                }
            }
        };
        let thread = std::thread::Builder::new().name("gm-watchdog".to_owned()).spawn(work)?;
        let hang = if hang == Nanos(0) { Nanos(u64::MAX) } else { hang };
        Ok(Self { bell, quit, signal, threshold, hang, thread: Some(thread) })
    }

    pub(super) fn bell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.bell)
    }

    pub(super) fn signal(&self) -> c_int {
        self.signal
    }

    pub(super) fn threshold(&self) -> Nanos {
        self.threshold
    }

    pub(super) fn hang(&self) -> Nanos {
        self.hang
    }

    /// Between two ticks: half of the smallest usual threshold.
    pub(super) fn period(&self) -> Nanos {
        Nanos(self.threshold.0.min(WATCHDOG.0) / 2)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()); // As in `Watch::ring`.
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the watchdog panicked");
        }
    }
}

struct Reporter {
    host: &'static Host,
    /// When each name was told of last, and how often it was left out since.
    last: HashMap<String, (Nanos, u64)>,
    last_trace: Option<Nanos>,
    /// The last piece told of, for each thread, with who it is.
    held: Vec<Option<(u64, String)>>,
}

impl Reporter {
    fn look(&mut self) {
        for thread in &self.host.threads() {
            let at = thread.index as usize;
            if self.held.len() <= at {
                self.held.resize(at + 1, None);
            }
            if thread.watch.hung().is_some() {
                self.host.tell_thread_news(); // Main looks itself.
            }
            self.tell_end(at, thread);
            if let Some(captured) = thread.watch.slot.captured() {
                self.tell_stuck(at, thread, captured);
                thread.watch.slot.free();
                self.tell_end(at, thread);
            }
        }
    }

    /// A piece that was told of may have ended.
    fn tell_end(&mut self, at: usize, thread: &ThreadShared) {
        if let Some((piece, who)) = &self.held[at]
            && let Some(time) = thread.watch.slot.take_ended(*piece)
        {
            let text = format!("{who} held {} for {} ms", thread_name(thread), ms(time));
            self.host.log.write(Level::Warn, "watchdog", text);
            self.held[at] = None;
        }
    }

    fn tell_stuck(&mut self, at: usize, thread: &ThreadShared, captured: Captured) {
        let Captured { piece, work, time, cpu, missed } = captured;
        let is_process = matches!(work, Work::Process(_));
        let who = self.name(work);
        let now = self.host.now();
        let key = format!("{at} {who}");
        if self.last.len() >= NAMES {
            self.last.retain(|_, (then, _)| now.since(*then) < PAUSE);
        }
        let last = self.last.get_mut(&key);
        self.held[at] = None;
        if let Some((_, left_out)) = last.filter(|(then, _)| now.since(*then) < PAUSE) {
            *left_out += 1;
            return;
        }
        let left_out = self.last.insert(key, (now, 0)).map_or(0, |(_, left_out)| left_out);
        let mut text = format!(
            "{who} has held {} for {} ms ({} ms of CPU{})",
            thread_name(thread),
            ms(time),
            ms(cpu),
            if cpu.0 < time.0 / 2 { ": it waits, or was not run" } else { "" }
        );
        if left_out + missed > 0 {
            text += &format!("; {} times more since the last report", left_out + missed);
        }
        let traced = self.last_trace.is_none_or(|then| now.since(then) >= PAUSE);
        self.host.log.write(Level::Warn, "watchdog", if traced { text + ":" } else { text });
        if traced {
            self.last_trace = Some(now);
            self.tell_trace(thread);
        }
        if !is_process {
            self.held[at] = Some((piece, who));
        }
    }

    fn tell_trace(&self, thread: &ThreadShared) {
        let plugins = Plugins::now(self.host);
        let lines = thread.watch.slot.trace.lines_or(|address| plugins.place(address));
        for line in lines.iter().take(LINES) {
            self.host.log.write(Level::Warn, "trace", line);
        }
    }

    /// What is at work, with its owner.
    fn name(&self, work: Work<String>) -> String {
        match work {
            Work::Process(label) => label,
            Work::Job(what, name, owner) => format!("{what} {name} of {}", self.owner(owner)),
            Work::Node(index) => {
                let (plan, _) = self.host.running_graph();
                match plan.node(index) {
                    Some(node) => format!("node {} of {}", node.name, self.owner(node.owner)),
                    None => format!("node {}, which is gone,", index.0),
                }
            }
            Work::Loop => "the loop of the host".to_owned(),
        }
    }

    fn owner(&self, owner: Owner) -> String {
        if owner == Owner::HOST {
            return "the host".to_owned();
        }
        format!("plugin {}", self.host.owner_name(owner))
    }
}

fn thread_name(thread: &ThreadShared) -> String {
    if thread.index == 0 { "main".to_owned() } else { format!("worker {}", thread.index) }
}

fn ms(time: Nanos) -> u64 {
    time.0 / 1_000_000
}

/// Where the plugins are mapped.
struct Plugins {
    /// Where each begins, with its name.
    bases: Vec<(usize, String)>,
}

impl Plugins {
    fn now(host: &Host) -> Self {
        let all = host.listeners.lock().all();
        let base = |code| Some(mapped(code)?.0);
        let bases = all
            .iter()
            .filter_map(|generation| Some((base(generation.code())?, generation.name.clone())));
        Self { bases: bases.collect() }
    }

    /// Says where an address is that has no name: `plugin acme-dpi +0x1234`.
    fn place(&self, address: usize) -> Option<String> {
        let (base, file) = mapped(address)?;
        let offset = address - base;
        let plugin = self.bases.iter().find(|(own, _)| *own == base);
        Some(match plugin {
            Some((_, name)) => format!("plugin {name} +{offset:#x}"),
            None => format!("{file} +{offset:#x}"),
        })
    }
}

/// Where the file begins that is mapped at an address, and what it is called.
fn mapped(address: usize) -> Option<(usize, String)> {
    let mut info = mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address will do, and the answer has room.
    let found = unsafe { libc::dladdr(ptr::without_provenance(address), info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: initialised by the call, which succeeded.
    let info = unsafe { info.assume_init() };
    // SAFETY: a text that the linker keeps as long as the file is mapped, which is for ever.
    let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy();
    let name = file.rsplit('/').next().unwrap_or_default().to_owned();
    Some((info.dli_fbase.addr(), name))
}
