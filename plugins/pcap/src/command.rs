//! `create pcap`, `delete pcap`, `show pcap`.

use std::{
    error,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use plugin_api::{Answer, Args, Cell, Command, Error, Host, Interface, Role};

use crate::{
    Pcap,
    capture::Layer,
    device::{Info, Parts, PcapDevice, Spec, State},
    reader::Replay,
};

/// Bytes of the largest layer-3 packet that is sent into a capture.
const MTU: u32 = 9_000;

/// `create pcap`
pub(crate) struct CreatePcap;

impl Command for CreatePcap {
    const GRAMMAR: &'static str = "create pcap [name <name:word>] [hw-addr <hw-addr:mac>] \
        [input <file:path>] [output <output:path>] [speed <speed:f64>] [loop]";
    const HELP: &'static str = "Creates an interface that receives from a capture file, at speed \
        times the pace it was captured at (else flat out), and sends into one";
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let output = args.path("output");
        let input = args.path("file").map(|path| open_input(path, args)).transpose()?;
        if input.is_none() && output.is_none() {
            return Err("an input, an output, or both".into());
        }
        if output.is_some() && !args.may_open("output") {
            return Err("output: only who has the host's rights may have it write files".into());
        }
        let mac = args.mac("hw-addr");
        if let Some([first, ..]) = mac
            && first & 1 != 0
        {
            return Err("hw-addr: this is a group's address".into());
        }
        let replay = Replay { speed: speed(args.f64("speed"))?, endless: args.has("loop") };
        let name = match args.text("name") {
            Some(name) => name.to_owned(),
            None => free_name(&plugin.host)?,
        };
        if plugin.host.find_interface(&name).is_some() {
            return Err(Error::new(format!("{name} exists already")));
        }
        let spec = Spec {
            name: &name,
            input,
            replay,
            output,
            directory: plugin.output_directory.as_deref(),
            epoch_ns: epoch_ns(&plugin.host),
        };
        let Parts { device, rx, tx } =
            PcapDevice::open(plugin.host, spec).map_err(|error| chain(&error))?;
        let info = Arc::clone(device.info());
        let is_l3 = info.layer == Layer::Ip;
        let mac = if is_l3 { [0; 6] } else { mac.unwrap_or_else(random_mac) };
        let interface = Interface { name: &name, mac, mtu: MTU, is_l3, kernel_index: 0 };
        let index = plugin.host.create_interface(&interface, Arc::new(device), rx, tx)?;
        plugin.interfaces.lock().insert(index, info);
        answer.line(&name);
        Ok(())
    }
}

/// `delete pcap`
pub(crate) struct DeletePcap;

impl Command for DeletePcap {
    const GRAMMAR: &'static str = "delete pcap <interface:interface>";
    const HELP: &'static str = "Deletes a capture interface; what was sent is in its file then";
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let index = args.interface("interface").ok_or("which interface?")?;
        if !plugin.interfaces.lock().contains_key(&index) {
            let name = args.text("interface").unwrap_or_default();
            return Err(Error::new(format!("{name} is no capture interface")));
        }
        plugin.host.delete_interface(index)?;
        plugin.interfaces.lock().remove(&index);
        Ok(())
    }
}

/// `show pcap`
pub(crate) struct ShowPcap;

impl Command for ShowPcap {
    const GRAMMAR: &'static str = "show pcap";
    const HELP: &'static str = "Shows the capture interfaces, their files, and what was counted";
    const ROLE: Role = Role::Read;
    type Plugin = Pcap;

    fn run(plugin: &Arc<Pcap>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let infos: Vec<Arc<Info>> = plugin.interfaces.lock().values().map(Arc::clone).collect();
        answer.table(
            "",
            &[
                "Interface",
                "Input",
                "State",
                "Output",
                "Received",
                "Too long",
                "Left out",
                "Written",
                "No room",
                "Write errors",
                "Lost",
                "Discarded",
            ],
        );
        for info in &infos {
            let state = info.input.as_ref().map(|_| match info.state() {
                State::Reading => "reading",
                State::Ended => "ended",
                State::Failed => "failed",
            });
            let cells: [Cell<'_>; 4] = [
                (&info.name).into(),
                info.input.as_ref().into(),
                state.into(),
                info.output.as_ref().into(),
            ];
            let counters = &info.counters;
            let counted = [
                &counters.received,
                &counters.too_long,
                &counters.left_out,
                &counters.written,
                &counters.no_room,
                &counters.write_errors,
                &counters.lost,
                &counters.discarded,
            ];
            let counted = counted.map(|counter| Cell::from(counter.load(Ordering::Relaxed)));
            answer.row(cells.into_iter().chain(counted));
        }
        Ok(())
    }
}

/// Opens the input; a pipe is refused before it can make us wait for somebody to write.
fn open_input<'a>(path: &'a Path, args: &Args<'_>) -> Result<(&'a Path, std::fs::File), Error> {
    let failed = |text: &dyn std::fmt::Display| Error::new(format!("{}: {text}", path.display()));
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(failed(&"not a regular file"));
    }
    let file = args.file("file").ok_or("which file?")?.map_err(|error| failed(&error))?;
    if !file.metadata()?.is_file() {
        return Err(failed(&"not a regular file"));
    }
    Ok((path, file))
}

fn speed(wanted: Option<f64>) -> Result<Option<f64>, Error> {
    match wanted {
        None => Ok(None),
        Some(speed) if !speed.is_finite() || speed < 0.0 => {
            Err(Error::new(format!("speed {speed}: 0, or how many times as fast")))
        }
        Some(speed) => Ok((speed > 0.0).then_some(speed)),
    }
}

fn free_name(host: &Host) -> Result<String, Error> {
    (0..u32::MAX)
        .map(|number| format!("pcap{number}"))
        .find(|name| host.find_interface(name).is_none())
        .ok_or_else(|| "no name is free".into())
}

/// Nanoseconds from 1970 to the start of the host.
fn epoch_ns(host: &Host) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default().saturating_sub(host.now_ns())
}

/// A locally administered address that nobody else is likely to have.
fn random_mac() -> [u8; 6] {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_ne_bytes();
    [0x02, 0xfe, a, b, c, d]
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Error::new(text)
}
