//! The demonstration: packets cross a graph of plugins, one of which is loaded while they flow.
//!
//! ```text
//! generator0 → ethernet-input → ip4-input ─┬──────────────→ ip4-lookup → ip4-rewrite → generator1
//!                                          └→ mirror-count ↗  (from a third of the time on)
//! ```

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use crate::{
    args::{self, Args},
    boot::{BootError, boot},
    cli::{Answer, Caller, Cell, CommandError, execute},
    config::{Config, PluginChoice},
    control::Control,
    plugin::{LoadError, load::LoadReport},
    stats::NodeReport,
    time::Nanos,
};

/// Plugins of the demonstration from its beginning on.
const PLUGINS: [&str; 3] = ["ethernet", "ip4", "generator"];
/// The plugin that is loaded into the running graph.
const HOT: &str = "mirror-count";
/// How often the table is shown on a terminal.
const REFRESH: Nanos = Nanos(500_000_000);
/// How long packets that are under way get to arrive after the last was sent.
const DRAIN: Nanos = Nanos(50_000_000);

/// What sets the demonstration up.
const SET_UP: &[&str] = &[
    "create generator id 0",
    "create generator id 1",
    "set interface state generator0 up",
    "set interface state generator1 up",
    "set interface ip address generator0 10.0.0.1/24",
    "set interface ip address generator1 10.1.0.1/24",
    "set ip neighbor generator1 10.1.0.2 02:67:65:6e:ff:02",
    "set ip neighbor generator1 10.1.0.3 02:67:65:6e:ff:03",
    "ip route add 20.0.0.0/8 via 10.1.0.2 generator1",
    "ip route add 20.0.128.0/17 via 10.1.0.3 generator1",
    "ip route add 20.0.0.64/26 via 10.1.0.3 generator1",
    "generator stream generator0 name demo source 10.0.0.2 destination 20.0.0.1 destinations 65536 size 64",
];

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The host did not start.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A plugin did not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A command did not work.
    #[error("{}", .0.report())]
    Command(CommandError),
    /// Packets are missing or came twice.
    #[error("{lost} packets lost, {duplicated} duplicated, of {sent}")]
    NotWhole {
        /// Packets sent.
        sent: u64,
        /// Packets that did not arrive.
        lost: u64,
        /// Packets that arrived twice.
        duplicated: u64,
    },
    /// A command's answer has no such column.
    #[error("`show generator' has no column {0:?}")]
    Column(&'static str),
    /// It was stopped before its time.
    #[error("interrupted")]
    Interrupted,
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets lost.
    pub lost: u64,
    /// Packets received twice.
    pub duplicated: u64,
    /// Millions of packets a second.
    pub mpps: f64,
    /// What each node did.
    pub nodes: Vec<NodeSummary>,
    /// What loading a plugin into the running graph cost.
    pub plugin_load: LoadSummary,
    /// Threads, main among them.
    pub threads: usize,
}

/// What one node did.
#[derive(Clone, Debug, Serialize)]
pub struct NodeSummary {
    /// Name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// Dispatches.
    pub calls: u64,
    /// Packets.
    pub vectors: u64,
    /// Cycles of the time-stamp counter for each packet.
    pub clocks_per_packet: f64,
}

/// What loading a plugin into the running graph cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LoadSummary {
    /// From the file to running.
    pub total_us: f64,
    /// From the last worker parked to the release.
    pub workers_held_us: f64,
    /// The longest a worker stood, by its own clock.
    pub stall_us: f64,
}

/// Runs the demonstration.
///
/// # Errors
/// [`DemoError`] if it cannot be set up, or a packet was lost or doubled.
pub fn run(demo: &args::Demo, args: &Args, config: Config) -> Result<(), DemoError> {
    let more: Vec<PluginChoice> = args.plugins.clone();
    // Where nobody asked for one it does without a socket, and so without a place for it.
    let listens = config.cli.socket.is_some();
    let mut host = boot(config)?;
    let shown = host
        .catch_signals()
        .map_err(DemoError::from)
        .and_then(|()| set_up(&mut host.main.control))
        .and_then(|()| more.iter().try_for_each(|plugin| Ok(host.load(plugin)?)))
        .and_then(|()| if listens { Ok(host.listen()?) } else { Ok(()) })
        .and_then(|()| {
            let mut show = Show::new(demo);
            host.run(&mut |control, now| show.tick(control, now));
            show.finish(&mut host.main.control)
        });
    host.end();
    let summary = shown?;
    if demo.json {
        let line = serde_json::to_string(&summary).expect("numbers and names are JSON");
        say(&format!("{line}\n"));
    }
    let Summary { sent, lost, duplicated, .. } = summary;
    if lost + duplicated > 0 {
        return Err(DemoError::NotWhole { sent, lost, duplicated });
    }
    Ok(())
}

fn set_up(control: &mut Control) -> Result<(), DemoError> {
    for plugin in PLUGINS {
        control.load_plugin(plugin, None)?;
    }
    SET_UP.iter().try_for_each(|line| command(control, line).map(|_| ()))
}

fn command(control: &mut Control, line: &str) -> Result<Answer, DemoError> {
    let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
    let mut answer = Answer::default();
    execute(control, &words, &Caller::default(), Vec::new(), &mut answer)
        .map_err(DemoError::Command)?;
    Ok(answer)
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The stream is started.
    Start,
    /// The plugin is loaded.
    HotLoad,
    /// The stream is stopped.
    Stop,
    /// Packets under way have arrived.
    Drained,
}

/// The course of the demonstration.
struct Show {
    length: Nanos,
    quiet: bool,
    stage: Stage,
    stage_at: Nanos,
    began: Nanos,
    stopped: Nanos,
    refresh_at: Nanos,
    last: BTreeMap<String, u64>,
    lines: usize,
    load: Option<LoadReport>,
    failed: Option<DemoError>,
}

impl Show {
    fn new(demo: &args::Demo) -> Self {
        let length = Nanos(u64::from(demo.seconds) * 1_000_000_000);
        let start = Nanos(0);
        Self {
            length,
            quiet: demo.json || !io::stdout().is_terminal(),
            stage: Stage::Start,
            stage_at: start,
            began: start,
            stopped: start,
            refresh_at: start,
            last: BTreeMap::new(),
            lines: 0,
            load: None,
            failed: None,
        }
    }

    /// Does what is due; gives the time of what is due next.
    fn tick(&mut self, control: &mut Control, now: Nanos) -> Option<Nanos> {
        if now >= self.stage_at {
            if let Err(error) = self.advance(control, now) {
                self.failed = Some(error);
                return None;
            }
            if self.stage == Stage::Drained && self.stage_at == Nanos(u64::MAX) {
                return None;
            }
        }
        if !self.quiet && now >= self.refresh_at {
            self.refresh(control);
            self.refresh_at = Nanos(now.0 + REFRESH.0);
        }
        let next = if self.quiet { self.stage_at } else { self.stage_at.min(self.refresh_at) };
        Some(next)
    }

    fn advance(&mut self, control: &mut Control, now: Nanos) -> Result<(), DemoError> {
        let third = self.length.0 / 3;
        (self.stage, self.stage_at) = match self.stage {
            Stage::Start => {
                command(control, "generator start")?;
                self.began = now;
                (Stage::HotLoad, Nanos(now.0 + third))
            }
            Stage::HotLoad => {
                self.load = Some(control.load_plugin(HOT, None)?);
                (Stage::Stop, Nanos(self.began.0 + self.length.0))
            }
            Stage::Stop => {
                command(control, "generator stop")?;
                self.stopped = now;
                (Stage::Drained, Nanos(now.0 + DRAIN.0))
            }
            Stage::Drained => (Stage::Drained, Nanos(u64::MAX)),
        };
        Ok(())
    }

    /// Draws the table over the one before.
    fn refresh(&mut self, control: &Control) {
        let mut text = String::new();
        if self.lines > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
        }
        let table = self.table(control, REFRESH);
        self.lines = table.lines().count();
        text.push_str(&table);
        say(&text);
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn table(&mut self, control: &Control, period: Nanos) -> String {
        let mut text = String::from(
            "Node                      Plugin             Calls       Vectors  Vec/Call  Clocks/Pkt    Mpps\n",
        );
        for sum in busy_nodes(control) {
            let before = self.last.insert(sum.name.clone(), sum.vectors).unwrap_or(0);
            let mpps = (sum.vectors - before) as f64 * 1e3 / period.0 as f64;
            let plugin = control.host.listeners.lock().name(sum.owner);
            text.push_str(&format!(
                "{:<25} {:<12} {:>11} {:>13} {:>9.1} {:>11.1} {:>7.2}\n",
                sum.name,
                plugin,
                sum.calls,
                sum.vectors,
                sum.vectors_per_call(),
                sum.clocks_per_packet(),
                mpps
            ));
        }
        text
    }

    fn finish(mut self, control: &mut Control) -> Result<Summary, DemoError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(load) = self.load.clone() else { return Err(DemoError::Interrupted) };
        if self.stopped == Nanos(0) {
            return Err(DemoError::Interrupted);
        }
        let summary = self.summary(control, &load)?;
        if !self.quiet {
            self.refresh(control);
        } else {
            let whole = Nanos(self.stopped.0 - self.began.0);
            say(&self.table(control, whole));
        }
        say(&format!(
            "\n{HOT} was loaded into the running graph in {:.0} us; the workers were held for {:.1} us\n\
             and stood for {:.1} us at most.\n\
             sent {}  received {}  lost {}  duplicated {}  {:.2} Mpps\n",
            summary.plugin_load.total_us,
            summary.plugin_load.workers_held_us,
            summary.plugin_load.stall_us,
            summary.sent,
            summary.received,
            summary.lost,
            summary.duplicated,
            summary.mpps
        ));
        Ok(summary)
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn summary(&self, control: &mut Control, load: &LoadReport) -> Result<Summary, DemoError> {
        let micros = |time: Nanos| time.0 as f64 / 1e3;
        let counts = stream_counts(control)?;
        let nodes = busy_nodes(control).into_iter().map(|sum| NodeSummary {
            plugin: control.host.listeners.lock().name(sum.owner),
            calls: sum.calls,
            vectors: sum.vectors,
            clocks_per_packet: sum.clocks_per_packet(),
            name: sum.name,
        });
        let seconds = (self.stopped.0 - self.began.0) as f64 / 1e9;
        Ok(Summary {
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost,
            duplicated: counts.duplicated,
            mpps: counts.received as f64 / 1e6 / seconds,
            nodes: nodes.collect(),
            plugin_load: LoadSummary {
                total_us: micros(load.total),
                workers_held_us: micros(load.pause.hold),
                stall_us: micros(load.pause.stall),
            },
            threads: control.host.threads().len(),
        })
    }
}

/// Nodes that moved packets.
fn busy_nodes(control: &Control) -> Vec<NodeReport> {
    let mut sums = control.node_sums();
    sums.retain(|sum| sum.vectors > 0);
    sums
}

/// The sink's account.
#[derive(Default)]
struct Counts {
    sent: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
}

fn stream_counts(control: &mut Control) -> Result<Counts, DemoError> {
    let answer = command(control, "show generator")?;
    let sum = |column| -> Result<u64, DemoError> {
        let table = answer.tables().next();
        let cells = table.and_then(|table| table.cells(column)).ok_or(DemoError::Column(column))?;
        Ok(cells.map(|cell| if let Cell::Unsigned(count) = cell { *count } else { 0 }).sum())
    };
    Ok(Counts {
        sent: sum("sent")?,
        received: sum("received")?,
        lost: sum("lost")?,
        duplicated: sum("duplicated")?,
    })
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush()); // The reader may be gone.
}
