use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    process,
};

use tempfile::tempdir;

use super::super::testing;
use super::*;

const BASE: &str = "GRISTMILL_TEST_BASE";
const NAME: &str = "plugin::place::tests";

fn path_of(place: &Place) -> &Path {
    match place {
        Place::Directory { path, .. } => path,
        Place::Memory => panic!("not in a directory"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_directory_that_will_do_is_taken_and_made_if_need_be() {
    let base = tempdir().unwrap();
    let missing = base.path().join("a/b");
    let (place, passed_over) = Place::choose(&[missing.clone(), base.path().to_path_buf()]);
    assert!(passed_over.is_empty(), "{passed_over:?}");
    let path = path_of(&place).to_path_buf();
    assert!(path.starts_with(fs::canonicalize(&missing).unwrap()));
    assert!(is_run_name(path.file_name().unwrap()), "{}", path.display());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    drop(place);
    assert!(!path.exists(), "it goes when the host does");
}

#[test]
fn directories_that_will_not_do_are_passed_over_with_the_reason() {
    let base = tempdir().unwrap();
    let (file, open) = (base.path().join("file"), base.path().join("open"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o777);
    let (place, passed_over) = Place::choose(&[file, open, base.path().join("good")]);
    assert!(path_of(&place).starts_with(fs::canonicalize(base.path().join("good")).unwrap()));
    assert!(passed_over[0].contains("file: File exists"), "{passed_over:?}");
    assert!(passed_over[1].contains("is writable by others"), "{passed_over:?}");
    let (place, passed_over) = Place::choose(&[base.path().join("file")]);
    assert_eq!(place.to_string(), "memory");
    assert_eq!(passed_over.len(), 1);
}

#[test]
fn leftovers_are_removed_but_not_what_a_host_holds_or_others_made() {
    let base = tempdir().unwrap();
    let make = |name: &str| {
        let path = base.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("1-null.so"), "").unwrap();
        path
    };
    let dead = make("run-0123456789abcdef");
    let foreign = [make("run-x"), make("other"), make("run-0123456789abcdeg")];
    let outside = tempdir().unwrap();
    let link = base.path().join("run-00000000000000aa");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let (first, _) = Place::choose(&[base.path().to_path_buf()]);
    let (second, _) = Place::choose(&[base.path().to_path_buf()]);
    assert!(!dead.exists());
    assert!(path_of(&first).exists(), "the first host lives");
    assert_ne!(path_of(&first), path_of(&second));
    assert!(foreign.iter().all(|path| path.exists()), "not ours to remove");
    assert!(outside.path().exists() && link.exists(), "links are not followed");
}

#[test]
fn a_host_that_died_leaves_a_directory_that_the_next_one_removes() {
    if let Some(base) = env::var_os(BASE) {
        let (place, _) = Place::choose(&[PathBuf::from(base)]);
        fs::write(path_of(&place).join("1-null.so"), "left").unwrap();
        process::abort();
    }
    let base = tempdir().unwrap();
    let test = format!("{NAME}::a_host_that_died_leaves_a_directory_that_the_next_one_removes");
    let output = testing::alone(&[], &test, BASE, base.path());
    assert!(!output.status.success(), "it aborted");
    let left: Vec<_> =
        fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].join("1-null.so").exists());
    let (place, _) = Place::choose(&[base.path().to_path_buf()]);
    assert!(!left[0].exists());
    assert!(path_of(&place).exists());
}

#[test]
fn a_directory_mounted_noexec_is_passed_over() {
    if let Some(base) = env::var_os(BASE) {
        let base = PathBuf::from(base);
        let (place, passed_over) = Place::choose(&[base.join("noexec"), base.join("good")]);
        assert!(path_of(&place).starts_with(fs::canonicalize(base.join("good")).unwrap()));
        assert!(passed_over[0].ends_with("noexec: is mounted noexec"), "{passed_over:?}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return testing::skip("only root can mount");
    }
    let base = tempdir().unwrap();
    fs::create_dir(base.path().join("noexec")).unwrap();
    let mount = format!(
        "mount -t tmpfs -o noexec,mode=700 tmpfs '{}/noexec' && exec \"$@\"",
        base.path().display()
    );
    let test = format!("{NAME}::a_directory_mounted_noexec_is_passed_over");
    let output =
        testing::alone(&["unshare", "--mount", "sh", "-c", &mount, "sh"], &test, BASE, base.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
fn root_and_users_have_directories_of_their_own() {
    let directories = image_directories();
    assert!(directories.iter().all(|path| path.is_absolute()), "{directories:?}");
    if rustix::process::geteuid().is_root() {
        assert!(directories.contains(&PathBuf::from("/var/lib/gristmill")));
    }
}
