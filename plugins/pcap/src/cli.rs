//! The commands.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use plugin_api::{Answer, Args, Cell, Command, Error, Interface, Role};

use crate::{
    Pcap,
    capture::{Buffer, Capture, CaptureError, Fault},
    device::{LinkKind, Parts, PcapDevice},
    file::{self, FileError, FileId, FromStart},
    report::{InputReport, OutputReport, Report},
};

const MTU: u32 = 9000;
/// Bytes of a file that are looked at to know its link type.
const PROBE: u64 = 1024 * 1024;

/// `create pcap`
#[derive(Debug)]
pub(crate) struct CreatePcap;

impl Command for CreatePcap {
    const GRAMMAR: &'static str = "create pcap [id <id:u32>] [name <name:word>] \
        [hw-addr <hw-addr:mac>] [input <input:path>] [output <output:path>] [speed <speed:f64>] [loop]";
    const HELP: &'static str =
        "Creates an interface that replays a capture, or writes one, or both";
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let speed = speed(args)?;
        if args.mac("hw-addr").is_some_and(|[first, ..]| first & 1 != 0) {
            return Err("hw-addr: this is a group's address".into());
        }
        let (id, name) = free_name(plugin, args)?;
        let input = input(args)?;
        let link = input.as_ref().map_or(LinkKind::Ethernet, |input| input.link);
        if link == LinkKind::Ip && args.has("hw-addr") {
            return Err("the capture is of bare IP packets, which have no MAC address".into());
        }
        // Last, because it changes something: the file is made, or emptied.
        let input_id = input.as_ref().map(|input| input.id);
        let output = output(plugin, args, &name, input_id)?;
        let interface = Interface {
            name: &name,
            mac: match link {
                LinkKind::Ethernet => args.mac("hw-addr").unwrap_or_else(|| mac(id)),
                LinkKind::Ip => [0; 6],
            },
            mtu: MTU,
            is_l3: link == LinkKind::Ip,
            kernel_index: 0,
        };
        let (input_file, input) = input
            .map(|Input { file, path, id, .. }| {
                (file, InputReport::new(path, id, speed, args.has("loop")))
            })
            .unzip();
        let (output_file, output) = output.unzip();
        let report = Arc::new(Report::new(plugin.host, id, name.clone(), input, output));
        let epoch_ns = epoch_ns(plugin.host.now_ns());
        let Parts { device, rx, tx, writing } =
            PcapDevice::open(&report, link, input_file, output_file, epoch_ns)?;
        let index = plugin.host.create_interface(&interface, Arc::new(device), rx, tx)?;
        plugin.reports.lock().insert(index, report);
        if let Some(writing) = writing {
            plugin.writings.lock().insert(index, writing);
        }
        answer.line(&name);
        Ok(())
    }
}

/// `delete pcap`
#[derive(Debug)]
pub(crate) struct DeletePcap;

impl Command for DeletePcap {
    const GRAMMAR: &'static str = "delete pcap <interface:interface>";
    const HELP: &'static str = "Deletes an interface that replays or writes a capture";
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let index = args.interface("interface").ok_or("which interface?")?;
        if !plugin.reports.lock().contains_key(&index) {
            let name = args.text("interface").unwrap_or_default();
            return Err(Error::new(format!("{name} is no pcap interface")));
        }
        // Most of what waits is written while the interface is there and main goes on.
        let writing = plugin.writings.lock().get(&index).cloned();
        if let Some(writing) = writing {
            let _ = writing.flush(); // The rest is, or is told, when the queue goes.
        }
        plugin.host.delete_interface(index)?;
        plugin.forget(index);
        Ok(())
    }
}

/// `show pcap`
#[derive(Debug)]
pub(crate) struct ShowPcap;

impl Command for ShowPcap {
    const GRAMMAR: &'static str = "show pcap";
    const HELP: &'static str = "Shows the interfaces that replay or write captures, how far they \
        are, and what went wrong";
    const ROLE: Role = Role::Read;
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let reports: Vec<_> = plugin.reports.lock().values().map(Arc::clone).collect();
        let inputs = ["Interface", "Input", "Speed", "Loop", "State", "Packets", "Rounds"];
        let wrong = ["Too long", "Other link type", "Error"];
        answer.table("Replayed", &[&inputs[..], &wrong].concat());
        for report in &reports {
            let Some(input) = &report.input else { continue };
            let cells: [Cell<'_>; 10] = [
                (&report.name).into(),
                input.path.display().to_string().into(),
                input.speed.into(),
                input.is_looped.into(),
                state(input).into(),
                input.packets.load().into(),
                input.rounds.load().into(),
                input.too_long.load().into(),
                input.other_link.load().into(),
                input.error.get().into(),
            ];
            answer.row(cells);
        }
        answer.table(
            "Written",
            &["Interface", "Output", "Packets", "Queue full", "Failed", "No output", "Error"],
        );
        for report in &reports {
            let output = report.output.as_ref();
            let cells: [Cell<'_>; 7] = [
                (&report.name).into(),
                output.map(|output| output.path.display().to_string()).into(),
                output.map(|output| output.packets.load()).into(),
                output.map(|output| output.queue_full.load()).into(),
                output.map(|output| output.failed.load()).into(),
                report.unwritten.load().into(),
                output.and_then(|output| output.error.get()).into(),
            ];
            answer.row(cells);
        }
        Ok(())
    }
}

fn state(input: &InputReport) -> &'static str {
    match (input.error.get(), input.has_ended.load(Relaxed)) {
        (Some(_), true) => "failed",
        (None, true) => "ended",
        (_, false) => "replaying",
    }
}

/// The speed asked for; `None`: flat out.
fn speed(args: &Args<'_>) -> Result<Option<f64>, Error> {
    if !args.has("input") && !args.has("output") {
        return Err("give an input, an output or both".into());
    }
    if !args.has("input") && (args.has("speed") || args.has("loop")) {
        return Err("speed and loop are for an input".into());
    }
    match args.f64("speed") {
        Some(speed) if !speed.is_finite() || speed < 0.0 => {
            Err(format!("speed {speed}: 1 is as captured, 0 flat out").into())
        }
        speed => Ok(speed.filter(|&speed| speed > 0.0)),
    }
}

/// The name asked for, else that of the id, else of the first that is free; with the id.
fn free_name(plugin: &Pcap, args: &Args<'_>) -> Result<(u32, String), Error> {
    let is_free = |name: &str| plugin.host.find_interface(name).is_none();
    let named = |id: u32| format!("pcap{id}");
    let reports = plugin.reports.lock();
    let is_unused =
        |&id: &u32| is_free(&named(id)) && reports.values().all(|report| report.id != id);
    // An interface with a name of its own leaves the low numbers to the others.
    let lowest = if args.has("name") { 1 << 31 } else { 0 };
    let first = || (lowest..u32::MAX).find(is_unused);
    let id = args.u32("id").or_else(first).ok_or("no id is free")?;
    let name = args.text("name").map_or_else(|| named(id), str::to_owned);
    if is_free(&name) { Ok((id, name)) } else { Err(format!("{name} exists already").into()) }
}

/// A capture to replay.
struct Input {
    file: Arc<File>,
    path: PathBuf,
    id: FileId,
    link: LinkKind,
}

fn input(args: &Args<'_>) -> Result<Option<Input>, Error> {
    let Some((path, opened)) = args.path("input").zip(args.file("input")) else { return Ok(None) };
    let path = path.to_owned();
    let file = opened.map_err(|source| chain(&FileError::Open { path: path.clone(), source }))?;
    let file = Arc::new(file);
    let id = file::identify(&file, &path).map_err(|error| chain(&error))?;
    let link_type = probe(&file, &path).map_err(|error| chain(&error))?;
    let link = LinkKind::of(link_type).ok_or_else(|| {
        let path = path.display();
        format!("{path}: link type {link_type} is neither Ethernet (1) nor IP (101, 228, 229)")
    })?;
    Ok(Some(Input { file, path, id, link }))
}

/// The link type of the first packets of a capture; Ethernet if it has none.
fn probe(file: &Arc<File>, path: &Path) -> Result<u16, CaptureError> {
    const ETHERNET: u16 = 1;
    let mut capture = Capture::open(FromStart::new(file).take(PROBE), path, Buffer::default())?;
    match capture.next() {
        Ok(Some(record)) => Ok(record.link_type),
        Ok(None) => Ok(capture.link_type().unwrap_or(ETHERNET)),
        // It may be that it was us who cut it. If not, the replay will tell.
        Err(CaptureError { fault: Fault::Cut, .. }) => Ok(capture.link_type().unwrap_or(ETHERNET)),
        Err(error) => Err(error),
    }
}

/// A capture to write: its file, emptied.
fn output(
    plugin: &Pcap,
    args: &Args<'_>,
    name: &str,
    input: Option<FileId>,
) -> Result<Option<(File, OutputReport)>, Error> {
    let Some(path) = args.path("output") else { return Ok(None) };
    if !args.may_open("output") {
        let source = ErrorKind::PermissionDenied.into();
        let refused = FileError::Open { path: path.to_owned(), source };
        let why = "only root and the host's own user may have it write files";
        return Err(format!("{}: {why}", chain(&refused)).into());
    }
    let reports = plugin.reports.lock();
    let user = |file| {
        if input == Some(file) {
            return Some(name.to_owned());
        }
        let user = reports.values().find(|report| {
            report.input.as_ref().is_some_and(|input| input.file == file)
                || report.output.as_ref().is_some_and(|output| output.file == file)
        });
        user.map(|report| report.name.clone())
    };
    let (file, id) = file::create(path, plugin.output_directory.as_deref(), user)
        .map_err(|error| chain(&error))?;
    Ok(Some((file, OutputReport::new(path.to_owned(), id))))
}

/// The time, in nanoseconds since 1970, at which the host's clock was 0.
fn epoch_ns(now_ns: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_sub(now_ns)
}

/// A locally administered address that tells the interface.
fn mac(id: u32) -> [u8; 6] {
    let [a, b, c, d] = id.to_be_bytes();
    [0x02, 0x70, a, b, c, d]
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Error::new(text)
}
