use std::{
    ffi::c_void,
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU32, Ordering},
};

use abi_stable::{
    StableAbi, library::RootModule, prefix_type::PrefixTypeTrait, sabi_types::VersionStrings,
};
use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::{PluginHandle, ServiceRef},
    frame::{NodeRuntime, ThreadCtx},
    root::V1Ref,
};
use tempfile::{TempDir, tempdir};

use super::super::{
    kind::Kind,
    testing::{self, ANYONES, SHARED, bare, bare_with, null},
};
use super::*;
use crate::plugin::{Inspected, inspect, inspect_bytes};

extern "C" fn log(_: *const HostTable, _: PluginHandle, _: u32, _: Str<'_>) {}
extern "C" fn service(
    _: *const HostTable,
    _: PluginHandle,
    _: Str<'_>,
    _: Str<'_>,
    _: *mut ServiceRef,
    _: *mut ErrorText,
) -> Status {
    Status::MISSING
}
extern "C" fn buffer_alloc(_: *mut ThreadCtx, _: *mut u32, _: u32) -> u32 {
    0
}
extern "C" fn buffer_free(_: *mut ThreadCtx, _: *const u32, _: u32) {}
extern "C" fn buffer_release(_: *const HostTable, _: u32) {}
extern "C" fn enqueue(_: *mut ThreadCtx, _: *mut NodeRuntime, _: u32, _: *const u32, _: u32) {}
extern "C" fn now(_: *const HostTable) -> u64 {
    0
}

/// A table, and the counter in it of images that were initialised.
fn host_table() -> (&'static HostTable, &'static AtomicU32) {
    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let table = Box::leak(Box::new(HostTable {
        head: Head::of::<HostTable>(),
        shared: std::ptr::from_ref(calls).cast::<c_void>(),
        log,
        service,
        buffer_alloc,
        buffer_free,
        buffer_release,
        enqueue,
        now,
        reserved: [std::ptr::null(); 2],
    }));
    (table, calls)
}

fn images() -> (TempDir, Images) {
    let base = tempdir().unwrap();
    let images = Images::new(&[base.path().to_path_buf()]);
    assert_ne!(images.place(), "memory", "{:?}", images.passed_over());
    (base, images)
}

fn map(
    images: &Images,
    plugin: &Inspected,
    table: &'static HostTable,
) -> Result<Arc<Image>, LoadError> {
    images.map(&mut images.copies().copy(plugin)?, table)
}

fn faulty(fault: u8) -> Inspected {
    inspect_bytes(Path::new("bare.so"), bare_with(fault), &ANYONES).unwrap()
}

fn error(images: &Images, plugin: &Inspected) -> String {
    let error = map(images, plugin, host_table().0).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error:?}");
    error
}

/// Names of this process's mappings below a directory.
fn mappings(directory: &str) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(directory)).count()
}

#[test]
fn a_plugin_on_the_abi_alone_declares_its_things_in_order() {
    let (_base, images) = images();
    let image = map(&images, &inspect(bare(), None, &ANYONES).unwrap(), host_table().0).unwrap();
    let all: Vec<_> = image
        .declarations()
        .iter()
        .map(|declared| (declared.body.kind(), declared.name.as_str()))
        .collect();
    assert_eq!(
        all,
        [
            (Kind::Plugin, "bare"),
            (Kind::Node, "bare-node"),
            (Kind::Arc, "bare-arc"),
            (Kind::Command, "show bare"),
            (Kind::Require, "interface"),
        ]
    );
    let (name, node) = image.declarations().nodes().next().unwrap();
    assert_eq!((name, node.variants.as_slice().len()), ("bare-node", 1));
    assert_eq!(image.declarations().plugin().version.as_str(), "1.2.3");
    assert_eq!(image.sdk_version(), "1.0.0");
}

#[test]
fn a_plugin_of_the_sdk_is_mapped() {
    let (_base, images) = images();
    let plugin = inspect(null(), None, &ANYONES).unwrap();
    let image = map(&images, &plugin, host_table().0).unwrap();
    assert_eq!(image.declarations().device_classes().next().unwrap().0, "null");
    let (path, command) = image.declarations().commands().next().unwrap();
    assert_eq!(path, "create null");
    assert_eq!(command.grammar.as_str(), plugin.description().commands[0].grammar);
}

#[test]
fn the_same_bytes_are_mapped_and_initialised_once() {
    let (_base, images) = images();
    let (table, calls) = host_table();
    let plugin = faulty(b'-');
    let first = map(&images, &plugin, table).unwrap();
    let entry = |image: &Image| {
        image.declarations().nodes().next().unwrap().1.variants.as_slice()[0].entry as usize
    };
    let (first_entry, mapped) = (entry(&first), mappings(&images.place()));
    assert!((1..=plugin.mappings()).contains(&mapped), "{mapped}");
    let again = map(&images, &faulty(b'-'), table).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "in use: one image");
    drop((first, again));
    let later = map(&images, &plugin, table).unwrap();
    assert_eq!(entry(&later), first_entry, "the same code");
    assert_eq!(later.copy(), None, "and no new copy");
    assert_eq!(later.number(), 1);
    assert_eq!(mappings(&images.place()), mapped);
    assert_eq!((images.count(), calls.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn two_contents_of_one_plugin_live_side_by_side() {
    let (_base, images) = images();
    let (table, calls) = host_table();
    let one = map(&images, &faulty(b'1'), table).unwrap();
    let other = map(&images, &faulty(b'2'), table).unwrap();
    let entry = |image: &Image| {
        image.declarations().nodes().next().unwrap().1.variants.as_slice()[0].entry as usize
    };
    assert_ne!(entry(&one), entry(&other));
    assert_eq!((one.number(), other.number()), (1, 2));
    assert_eq!((images.count(), calls.load(Ordering::Relaxed)), (2, 2));
}

#[test]
fn the_private_copy_is_what_was_checked_and_goes_with_its_image() {
    let (base, images) = images();
    let path = base.path().join("plugin.so");
    fs::write(&path, bare_with(b'3')).unwrap();
    let plugin = inspect(&path, None, &ANYONES).unwrap();
    fs::write(&path, "overwritten after the check").unwrap();
    let image = map(&images, &plugin, host_table().0).unwrap();
    let copy = image.copy().unwrap().to_path_buf();
    assert_eq!(copy.parent().unwrap(), Path::new(&images.place()));
    assert_eq!(fs::read(&copy).unwrap(), plugin.bytes());
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o400);
    drop(image);
    assert!(!copy.exists());
    let place = images.place();
    drop(images);
    assert!(!Path::new(&place).exists());
}

#[test]
fn a_copy_that_cannot_be_written_refuses_the_load_and_leaves_nothing() {
    let (_base, images) = images();
    fs::remove_dir_all(images.place()).unwrap();
    let expected = format!("bare.so: cannot be copied to {}: No such file", images.place());
    let error = error(&images, &faulty(b'6'));
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(images.count(), 0);
}

#[test]
fn a_plugin_is_mapped_from_sealed_memory_where_no_directory_will_do() {
    let images = Images::new(&[]);
    assert_eq!(images.place(), "memory");
    let image = map(&images, &faulty(b'4'), host_table().0).unwrap();
    let copy = image.copy().unwrap();
    assert!(copy.starts_with(format!("/proc/{}/fd", std::process::id())), "{}", copy.display());
    let memory = fs::OpenOptions::new().write(true).open(copy).unwrap();
    assert!((&memory).write_all(b"x").is_err(), "sealed");
    let first = copy.to_path_buf();
    drop(image);
    let other = map(&images, &faulty(b'5'), host_table().0).unwrap();
    assert_ne!(other.copy().unwrap(), first, "the name of an image is never used again");
}

#[test]
fn what_is_wrong_with_a_declaration_is_said_by_name() {
    let (_base, images) = images();
    let needed = <gristmill_abi::declaration::NodeDecl as gristmill_abi::grow::Grows>::FIRST_SIZE;
    for (fault, expected) in [
        (b'I', "its image refused the host's table (status 7)".to_owned()),
        (b'P', "its root module does not fit: it panicked".to_owned()),
        (
            b'K',
            "declares \"bare-gizmo\" of kind \"gizmo\", which this host does not know: \
             update the host"
                .to_owned(),
        ),
        (
            b'S',
            format!(
                "its declaration \"bare-node\" has 24 bytes of NodeDecl, this host needs {needed}: \
                 rebuild it"
            ),
        ),
        (
            b'M',
            "its declaration \"bare-node\" has a NodeDecl of ABI 2, this host speaks 1: rebuild it"
                .to_owned(),
        ),
        (b'V', "declares node \"bare-node\" with no entry that runs on every CPU".to_owned()),
        (b'F', "its declaration \"bare-node\" has no function: rebuild it".to_owned()),
        (
            b'O',
            "declares node \"bare-node\" for plugin \"other\", its descriptor says \"bare\""
                .to_owned(),
        ),
        (
            b'Q',
            "declares plugin \"other\" for plugin \"other\", its descriptor says \"bare\""
                .to_owned(),
        ),
        (
            b'R',
            "declares node \"bare-other\", which its descriptor does not have: rebuild it"
                .to_owned(),
        ),
        (b'E', "its declaration \"#2\" has no name: rebuild it".to_owned()),
        (b'B', "its declaration \"bare-node\" has no NodeDecl: rebuild it".to_owned()),
        (
            b'D',
            "its declaration \"#2\" has 16 bytes of declaration, this host needs 64: rebuild it"
                .to_owned(),
        ),
        (
            b'N',
            "does not declare arc \"bare-arc\", which its descriptor has: rebuild it".to_owned(),
        ),
        (b'W', "declares more than 4096 things".to_owned()),
    ] {
        let plugin = faulty(fault);
        assert_eq!(error(&images, &plugin), format!("bare.so: {expected}"));
        let before = images.count();
        assert_eq!(error(&images, &plugin), format!("bare.so: {expected}"), "the second time");
        assert_eq!(images.count(), before, "tried again on the mapping there is");
    }
    let left = fs::read_dir(images.place()).unwrap().count();
    assert_eq!(left, 0, "no copy of a refused plugin stays");
}

#[test]
fn a_plugin_that_lacks_a_symbol_is_refused_by_the_linker_in_one_line() {
    let (base, images) = images();
    let Some(path) = testing::in_c(&base, &[SHARED, &["-DUNDEFINED"]].concat()) else { return };
    let plugin = inspect(&path, None, &ANYONES).unwrap();
    let expected = format!("{}: cannot be linked: undefined symbol: nowhere", path.display());
    assert_eq!(error(&images, &plugin), expected);
    assert_eq!(images.count(), 0);
    assert_eq!(fs::read_dir(images.place()).unwrap().count(), 0);
}

#[test]
fn a_root_that_is_no_abi_stable_header_is_refused() {
    let (base, images) = images();
    let Some(path) = testing::in_c(&base, SHARED) else { return };
    let error = error(&images, &inspect(&path, None, &ANYONES).unwrap());
    assert!(
        error.contains("its root module does not fit: it was built with abi_stable's ABI 0.0, the"),
        "{error}"
    );
}

#[test]
fn hundreds_of_lines_about_layouts_become_one_and_the_rest_is_kept() {
    let other = other::V1 { sdk_version: other::sdk_version, declaration: other::declaration };
    let header = LibHeader::from_module(other.leak_into_prefix());
    let error = header.init_root_module::<V1Ref>().err().unwrap();
    let line = summary(&error);
    assert_eq!(line, "mismatched package: gristmill-abi expected, gristmill found");
    assert!(error.to_string().lines().count() > 50);
}

#[test]
fn the_first_of_many_differences_is_shown_and_the_others_counted() {
    let text = "Compared <this>:\n...\nError:\n  too many fields\nExpected:\n    3\nFound:\n    2\n\
                \nError:unexpected field\nExpected:\n  a\n  b\n";
    let line = "too many fields: 3 expected, 2 found (and 1 more, in the log)";
    assert_eq!(first_difference(text), line);
    assert_eq!(first_difference("\n"), "no reason given");
}

/// The root module as someone else would have it.
mod other {
    #![expect(dead_code, reason = "only its layout is asked for")]
    use super::*;

    #[repr(C)]
    #[derive(StableAbi)]
    #[sabi(kind(Prefix(prefix_ref = V1Ref, prefix_fields = V1Prefix)))]
    #[sabi(missing_field(panic))]
    pub(super) struct V1 {
        pub(super) sdk_version: extern "C" fn() -> u64,
        #[sabi(last_prefix_field)]
        pub(super) declaration: extern "C" fn(index: u64) -> *const (),
    }

    impl RootModule for V1Ref {
        abi_stable::declare_root_module_statics! {V1Ref}
        const BASE_NAME: &'static str = "other";
        const NAME: &'static str = "other";
        const VERSION_STRINGS: VersionStrings = <super::V1Ref as RootModule>::VERSION_STRINGS;
    }

    pub(super) extern "C" fn sdk_version() -> u64 {
        0
    }

    pub(super) extern "C" fn declaration(_: u64) -> *const () {
        std::ptr::null()
    }
}
