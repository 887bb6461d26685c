use std::{fs, path::Path};

use gristmill_abi::{ABI_MINOR, descriptor::MAGIC};
use object::elf::{DT_NULL, PT_GNU_STACK, PT_LOAD};
use rustix::fs::{CWD, mknodat};
use tempfile::{TempDir, tempdir};

use super::super::testing::{self, ANYONES, Random, SHARED, bare, null};
use super::*;

fn error(bytes: Vec<u8>) -> String {
    let error = inspect_bytes(Path::new("p.so"), bytes, &ANYONES).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error:?}");
    error.strip_prefix("p.so: ").expect("begins with the path").to_owned()
}

fn in_c(arguments: &[&str]) -> Option<(TempDir, Vec<u8>)> {
    let directory = tempdir().unwrap();
    let path = testing::in_c(&directory, &[SHARED, arguments].concat())?;
    let bytes = fs::read(path).unwrap();
    Some((directory, bytes))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())).unwrap()
}

/// Offsets of the program headers of one type.
fn segments(bytes: &[u8], kind: u32) -> Vec<usize> {
    let table = word(bytes, 32);
    let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    (0..count)
        .map(|index| table + index * 56)
        .filter(|&at| bytes[at..at + 4] == kind.to_le_bytes())
        .collect()
}

#[test]
fn a_plugin_in_c_describes_itself() {
    let Some((_directory, bytes)) = in_c(&[]) else { return };
    let plugin = inspect_bytes(Path::new("p.so"), bytes, &ANYONES).unwrap();
    let description = plugin.description();
    assert_eq!(description.name, "in-c");
    assert_eq!(description.version.to_string(), "1.2.3-rc.1");
    assert_eq!(description.summary, "A plugin in C");
    assert_eq!(description.nodes, ["in-c-node"]);
    assert_eq!(description.abi, (1, ABI_MINOR));
    assert!(description.panics_unwind);
}

#[test]
fn a_plugin_on_the_abi_alone_describes_itself() {
    let plugin = inspect(bare(), None, &ANYONES).unwrap();
    let description = plugin.description();
    assert_eq!(description.name, "bare");
    assert_eq!(description.nodes, ["bare-node"]);
    assert_eq!(description.arcs[0].end, "bare-node");
    assert_eq!(description.commands[0].path, "show bare");
    assert_eq!(description.commands[0].grammar, "show bare [<name:text>]");
    assert!(description.requirements[0].range.matches(&semver::Version::new(1, 4, 0)));
    assert_eq!(plugin.bytes(), fs::read(bare()).unwrap());
}

#[test]
fn a_plugin_of_the_sdk_describes_itself() {
    let plugin = inspect(null(), None, &ANYONES).unwrap();
    let description = plugin.description();
    assert_eq!(description.name, "null");
    assert_eq!(description.device_classes, ["null"]);
    assert_eq!(description.commands[0].path, "create null");
}

#[test]
fn a_descriptor_that_was_opened_elsewhere_is_read_from_its_start() {
    use std::io::Read;
    let mut file = File::open(bare()).unwrap();
    file.read_exact(&mut [0; 100]).unwrap();
    let plugin = inspect(Path::new("named.so"), Some(file.into()), &ANYONES).unwrap();
    assert_eq!(plugin.description().name, "bare");
    assert_eq!(plugin.path(), Path::new("named.so"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for (arguments, what) in [(&["-g"][..], "with debug information"), (&["-s"], "stripped")] {
        let Some((_directory, bytes)) = in_c(arguments) else { return };
        for percent in 1..100 {
            let mut cut = bytes.clone();
            cut.truncate(bytes.len() * percent / 100);
            let error = error(cut);
            assert!(error.contains("is cut off"), "{what}, {percent} %: {error}");
        }
        for length in 1..4 {
            assert_eq!(error(bytes[..length].to_vec()), "is not an ELF file");
        }
        for length in (4..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
            let error = error(bytes[..length].to_vec());
            assert!(error.contains("is cut off"), "{what}, {length} bytes: {error}");
        }
    }
}

#[test]
fn a_rust_plugin_cut_off_anywhere_is_refused() {
    let bytes = fs::read(bare()).unwrap();
    for percent in 1..100 {
        let error = error(bytes[..bytes.len() * percent / 100].to_vec());
        assert!(error.contains("is cut off"), "{percent} %: {error}");
    }
}

#[test]
fn no_flipped_byte_of_a_small_plugin_panics_the_inspector() {
    let Some((_directory, bytes)) = in_c(&["-s"]) else { return };
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            refused += usize::from(inspect_bytes(Path::new("p.so"), damaged, &ANYONES).is_err());
        }
    }
    assert!(refused > 1000, "headers, dynamic section and records are checked: {refused}");
}

#[test]
fn random_damage_never_panics_the_inspector() {
    let Some((_directory, bytes)) = in_c(&[]) else { return };
    let table = word(&bytes, 40);
    for seed in 1..=4000 {
        let mut random = Random(seed);
        let mut damaged = bytes.clone();
        for _ in 0..3 {
            // Half of them where the headers are.
            let at = match random.below(4) {
                0 => random.below(1024),
                1 => table + random.below(bytes.len() - table),
                _ => random.below(bytes.len()),
            };
            damaged[at] = u8::try_from(random.below(256)).unwrap();
        }
        if let Err(fault) = inspect_bytes(Path::new("p.so"), damaged, &ANYONES) {
            assert!(!fault.to_string().contains('\n'), "seed {seed}: {fault}");
        }
    }
}

#[test]
fn what_is_no_shared_object_is_refused_by_what_it_is() {
    assert_eq!(error(Vec::new()), "is empty: copy it again");
    assert_eq!(error(b"just some text\n".to_vec()), "is not an ELF file");
    let this_test = fs::read("/proc/self/exe").unwrap();
    assert_eq!(error(this_test), "is an executable, not a plugin: build it as a cdylib");

    let directory = tempdir().unwrap();
    for (arguments, expected) in [
        (&["-no-pie"][..], "is an executable, not a plugin: build it as a cdylib"),
        (&["-pie"], "is an executable, not a plugin: build it as a cdylib"),
        (&["-c"], "is an ELF file of type 1, not a shared object: build it as a cdylib"),
    ] {
        let Some(path) = testing::in_c(&directory, arguments) else { return };
        assert_eq!(error(fs::read(path).unwrap()), expected, "{arguments:?}");
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let directory = tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    for (path, what) in [
        (directory.path(), "is a directory, not a file"),
        (&pipe, "is a pipe, not a file"),
        (Path::new("/dev/zero"), "is a device, not a file"),
    ] {
        let error = inspect(path, None, &ANYONES).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {what}", path.display()));
    }
    let missing = directory.path().join("missing.so");
    let error = inspect(&missing, None, &ANYONES).unwrap_err().to_string();
    assert!(error.ends_with("missing.so: cannot be read: No such file or directory (os error 2)"));
}

#[test]
fn a_file_larger_than_allowed_is_not_read_to_its_end() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("large.so");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let small = Trust { bytes_max: 1 << 16, ..ANYONES };
    let error = inspect(&path, None, &small).unwrap_err().to_string();
    assert!(error.ends_with("has more than 65536 bytes: strip its debug information"), "{error}");
}

#[test]
fn another_machine_class_or_byte_order_is_refused() {
    let Some((_directory, bytes)) = in_c(&[]) else { return };
    let changed = |at, value: &[u8]| {
        let mut changed = bytes.clone();
        put(&mut changed, at, value);
        error(changed)
    };
    let other = if cfg!(target_arch = "aarch64") { 62_u16 } else { 183 };
    assert!(changed(18, &other.to_le_bytes()).starts_with("is built for "));
    assert!(changed(18, &243_u16.to_le_bytes()).starts_with("is built for ELF machine 243, this"));
    assert!(changed(4, &[1]).starts_with("is built for another kind of machine"));
    assert!(changed(5, &[2]).starts_with("is built for another byte order"));
}

#[test]
fn an_executable_stack_is_refused_asked_for_or_not_denied() {
    let expected = "asks for an executable stack: link it with -z noexecstack";
    let Some((_directory, bytes)) = in_c(&["-z", "execstack"]) else { return };
    assert_eq!(error(bytes), expected);
    let Some((_directory, mut bytes)) = in_c(&[]) else { return };
    let stack = segments(&bytes, PT_GNU_STACK.0)[0];
    put(&mut bytes, stack, &[0; 4]);
    assert_eq!(error(bytes), expected, "a missing header means an executable stack");
}

#[test]
fn relocations_in_code_and_writable_code_are_refused() {
    let text = &["-DTEXT_RELOCATION", "-Wl,-z,notext"];
    let Some((_directory, bytes)) = in_c(text) else { return };
    assert_eq!(error(bytes), "has relocations in its code (TEXTREL): compile it with -fPIC");
    let Some((_directory, bytes)) = in_c(&["-DRWX"]) else { return };
    let expected = "has a segment that is writable and executable: link it with -z separate-code";
    assert_eq!(error(bytes), expected);
}

#[test]
fn search_paths_and_other_libraries_are_refused_by_name() {
    let directory = tempdir().unwrap();
    let Some(library) = testing::in_c(&directory, &[SHARED, &["-DNO_ROOT"]].concat()) else {
        return;
    };
    fs::rename(library, directory.path().join("libextra.so")).unwrap();
    for (arguments, expected) in [
        (&["-Wl,-rpath,/opt/x"][..], "has RUNPATH \"/opt/x\": link it without -rpath"),
        (
            &["-Wl,-rpath,$ORIGIN", "-Wl,--disable-new-dtags"],
            "has RPATH \"$ORIGIN\": link it without -rpath",
        ),
        (
            &["-L.", "-Wl,--no-as-needed", "-lextra"],
            "needs \"libextra.so\": only the C library's own and libgcc_s are allowed, \
             link it statically",
        ),
        (&["-Wl,-f,libextra.so"], "has the dynamic tag DT_AUXILIARY, which plugins may not have"),
        (
            &["-Wl,-soname,librt.so.1"],
            "calls itself \"librt.so.1\", a name other libraries are found by: change its -soname",
        ),
    ] {
        let path = testing::in_c(&directory, &[SHARED, arguments].concat()).unwrap();
        assert_eq!(error(fs::read(path).unwrap()), expected, "{arguments:?}");
    }
}

#[test]
fn the_c_librarys_own_libraries_are_allowed() {
    let all = &["-Wl,--no-as-needed", "-lm", "-lgcc_s", "-ldl", "-lpthread", "-lrt"];
    let Some((_directory, bytes)) = in_c(all) else { return };
    inspect_bytes(Path::new("p.so"), bytes, &ANYONES).unwrap();
}

#[test]
fn a_file_without_descriptor_or_root_is_refused() {
    let Some((_directory, bytes)) = in_c(&["-DNO_RECORDS"]) else { return };
    assert!(error(bytes).starts_with("has no section .gristmill"));
    let Some((_directory, bytes)) = in_c(&["-DTWO_PLUGINS"]) else { return };
    let expected = "has 2 plugin records: use `export_plugin!` once in a shared object";
    assert_eq!(error(bytes), expected);
    let Some((_directory, bytes)) = in_c(&["-DNO_ROOT"]) else { return };
    assert!(error(bytes).starts_with("exports no root module: it needs `export_plugin!`"));
    let Some((_directory, mut bytes)) = in_c(&[]) else { return };
    put(&mut bytes, 40, &[0; 8]);
    assert!(error(bytes).starts_with("has no section headers"));
}

#[test]
fn another_abi_is_refused_with_what_is_lacking() {
    let Some((_directory, bytes)) = in_c(&[]) else { return };
    let record = bytes.windows(8).position(|window| window == MAGIC).unwrap();
    let changed = |offset: usize, value: &[u8]| {
        let mut changed = bytes.clone();
        put(&mut changed, record + offset, value);
        error(changed)
    };
    assert!(changed(16, &[2, 0]).starts_with("speaks plugin ABI 2, this host 1: rebuild it"));
    let [next, last] = [1, 3].map(|more| ABI_MINOR + more);
    assert!(changed(18, &last.to_ne_bytes()).starts_with(&format!(
        "needs plugin ABI 1.{last}, this host has 1.{ABI_MINOR} and lacks 1.{next} to 1.{last}: update"
    )));
    let lacking = format!("and lacks 1.{next}: update the host");
    assert!(changed(18, &next.to_ne_bytes()).contains(&lacking));
    assert!(changed(24, &[0; 8]).starts_with("was built with ABI layouts 0x0000000000000000, "));
    assert!(changed(7, b"2").starts_with("has records of form '2', this host reads \"1\""));
    assert!(changed(0, b"X").starts_with("has no record at byte "));
    assert!(changed(20, &[0]).starts_with("was built with panic=abort"));
}

#[test]
fn a_plugin_that_aborts_is_accepted_when_that_is_allowed() {
    let Some((_directory, mut bytes)) = in_c(&[]) else { return };
    let record = bytes.windows(8).position(|window| window == MAGIC).unwrap();
    bytes[record + 20] = 0;
    let allowed = Trust { allow_panic_abort: true, ..ANYONES };
    let plugin = inspect_bytes(Path::new("p.so"), bytes, &allowed).unwrap();
    assert!(!plugin.description().panics_unwind);
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let Some((_directory, bytes)) = in_c(&[]) else { return };
    let changed = |at: usize, value: &[u8]| {
        let mut changed = bytes.clone();
        put(&mut changed, at, value);
        error(changed)
    };
    let loads = segments(&bytes, PT_LOAD.0);
    let dynamic = segments(&bytes, object::elf::PT_DYNAMIC.0)[0];
    let tls = segments(&bytes, object::elf::PT_TLS.0)[0];
    let relro = segments(&bytes, object::elf::PT_GNU_RELRO.0)[0];
    for (at, value, expected) in [
        (loads[1] + 32, u64::MAX, "an offset in it is beyond any file"),
        (loads[1] + 40, 0, "a segment is larger in the file than in memory"),
        (loads[1] + 40, u64::MAX, "a segment ends beyond all addresses"),
        (loads[1] + 48, 3, "a segment is not aligned to pages"),
        (loads[1] + 16, 0, "its segments overlap or are out of order"),
        (dynamic + 16, 0, "a segment it needs is not loaded"),
        (dynamic, 0, "it does not have exactly one dynamic segment"),
        (tls + 40, 1 << 40, "its thread-local storage is impossible"),
        (relro + 16, 1 << 30, "it protects memory it does not load"),
    ] {
        // The type is four bytes, the rest are words.
        let value = value.to_le_bytes();
        let value = if at == dynamic { &value[..4] } else { &value[..] };
        let error = changed(at, value);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let table = word(&bytes, dynamic + 8);
    let size = word(&bytes, dynamic + 32);
    let mut endless = bytes.clone();
    for entry in (table..table + size).step_by(16) {
        if word(&bytes, entry) == usize::try_from(DT_NULL.0).unwrap() {
            put(&mut endless, entry, &0x6fff_fff9_u64.to_le_bytes());
        }
    }
    assert!(error(endless).contains("its dynamic section has no end"));
}

/// Where an object's headers say that something begins or ends, and the headers' own ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let mut all = vec![4, 16, 64];
    for (table, count, size, offset, length) in
        [(word(bytes, 32), half(56), 56, 8, 32), (word(bytes, 40), half(60), 64, 24, 32)]
    {
        for header in (0..count).map(|index| table + index * size) {
            let begin = word(bytes, header + offset);
            all.extend([header, header + size, begin, begin + word(bytes, header + length)]);
        }
    }
    all.retain(|&at| at <= bytes.len());
    all.sort_unstable();
    all.dedup();
    all
}

/// Damages a plugin somewhere, in a way that depends on the seed alone; where its headers are, mostly.
fn damage(plugin: &[u8], boundaries: &[usize], random: &mut Random) -> Vec<u8> {
    let mut bytes = plugin.to_vec();
    let records = plugin.windows(8).position(|window| window == MAGIC).unwrap();
    for _ in 0..=random.below(3) {
        let (segments, sections) = (word(plugin, 32), word(plugin, 40));
        let near = boundaries[random.below(boundaries.len())];
        let (at, value) = match random.below(8) {
            // A word of a header: an offset, an address, a size; 0, a place in the file, or anything.
            0 => (segments + 8 * random.below(7 * 12), near),
            1 => (sections + 8 * random.below(8 * 40), near),
            2 => (segments + 8 * random.below(7 * 12), usize::MAX - random.below(9)),
            3 => (sections + 8 * random.below(8 * 40), random.below(1 << 30) << random.below(34)),
            4 => (8 * random.below(8), near),
            // A byte of the records, of what begins somewhere, or of anything.
            5 => (records + random.below(1000), usize::MAX),
            6 => (near + random.below(32), usize::MAX),
            _ => (random.below(plugin.len()), usize::MAX),
        };
        if at + 8 > bytes.len() {
            continue;
        }
        if value == usize::MAX {
            bytes[at] ^= 1 << random.below(8);
        } else {
            put(&mut bytes, at, &value.to_le_bytes());
        }
    }
    if random.below(4) == 0 {
        bytes.truncate(
            (boundaries[random.below(boundaries.len())] + random.below(3)).saturating_sub(1),
        );
    }
    bytes
}

/// The digest that a file's own section has, by a reader of its own: the first plugin record.
fn digest_of(plugin: &Inspected) -> u64 {
    let elf = elf::check(plugin.bytes()).unwrap();
    let records = elf.records.unwrap();
    let head = [&MAGIC[..], &[1, 0]].concat();
    let at = (0..records.len()).step_by(8).find(|&at| records[at..].starts_with(&head)).unwrap();
    u64::from_le_bytes(*records[at + 24..].first_chunk().unwrap())
}

#[test]
fn twenty_thousand_damaged_plugins_are_refused_in_one_line_or_fit_this_host() {
    // Without its debug information, of which the inspector reads nothing.
    let directory = tempdir().unwrap();
    let stripped = directory.path().join("null.so");
    let done = std::process::Command::new("strip").arg("-o").arg(&stripped).arg(null()).status();
    let Ok(true) = done.map(|status| status.success()) else {
        return testing::skip("strip is not installed: apt-get install binutils");
    };
    let plugin = fs::read(stripped).unwrap();
    inspect_bytes(Path::new("p.so"), plugin.clone(), &ANYONES).unwrap();
    let boundaries = boundaries(&plugin);
    assert!(boundaries.len() > 50, "{boundaries:?}");

    let mut cases: Vec<Vec<u8>> = Vec::new();
    for &cut in &boundaries {
        cases.extend(
            [cut.saturating_sub(1), cut, cut + 1].map(|at| plugin[..at.min(plugin.len())].to_vec()),
        );
    }
    let (mut accepted, mut refused, cut) = (0_u32, 0_u32, cases.len() as u64);
    for seed in 0..20_000_u64 {
        let case = cases.pop().unwrap_or_else(|| {
            damage(&plugin, &boundaries, &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
        });
        let whole = case.len() == plugin.len();
        match inspect_bytes(Path::new("p.so"), case, &ANYONES) {
            Ok(fits) => {
                accepted += 1;
                assert!(whole, "seed {seed}: a file that was cut off");
                let host = gristmill_abi::layout::digest(fits.description().abi.1);
                assert_eq!(digest_of(&fits), host, "seed {seed}: other layouts");
            }
            Err(fault) => {
                refused += 1;
                let text = fault.to_string();
                assert!(!text.contains(char::is_control), "seed {seed}: {text:?}");
            }
        }
    }
    assert!(cut > 150 && accepted > 1000 && refused > 5000, "{cut} {accepted} {refused}");
}
