use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use tempfile::TempDir;

use super::super::testing::{self, bare};
use crate::plugin::{Inspected, LoadError, Ownership, Trust, inspect};

fn load(path: &Path) -> Result<Inspected, LoadError> {
    inspect(path, None, &Trust { ownership: Ownership::Checked, ..Trust::default() })
}

/// A copy of a plugin where nobody else may write; not below a shared temporary directory.
fn private_plugin() -> Option<(TempDir, std::path::PathBuf)> {
    let home = env::var_os("HOME")?;
    let directory = tempfile::tempdir_in(home).ok()?;
    let inner = directory.path().join("plugins");
    fs::create_dir(&inner).unwrap();
    set_mode(&inner, 0o755);
    let path = inner.join("libbare_plugin.so");
    fs::copy(bare(), &path).unwrap();
    set_mode(&path, 0o644);
    if let Err(error) = load(&path) {
        testing::skip(&format!("the home directory is open to others: {error}"));
        return None;
    }
    Some((directory, path))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_only_we_and_root_may_write_is_loaded_and_through_a_link_too() {
    let Some((directory, path)) = private_plugin() else { return };
    let link = directory.path().join("link.so");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(load(&link).unwrap().description().name, "bare");
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let Some((_directory, path)) = private_plugin() else { return };
    for mode in [0o666, 0o646, 0o664] {
        set_mode(&path, mode);
        let error = load(&path).unwrap_err().to_string();
        let path = path.display();
        assert_eq!(error, format!("{path}: {path} is writable by others: chmod go-w {path}"));
    }
}

#[test]
fn a_parent_that_others_may_write_is_refused_at_any_depth() {
    let Some((directory, path)) = private_plugin() else { return };
    for parent in [path.parent().unwrap(), directory.path()] {
        for mode in [0o777, 0o1777, 0o775] {
            set_mode(parent, mode);
            let error = load(&path).unwrap_err().to_string();
            let expected = format!("{} is writable by others", parent.display());
            assert!(error.contains(&expected), "{mode:o}: {error}");
        }
        set_mode(parent, 0o755);
    }
    load(&path).unwrap();
}

#[test]
fn a_file_or_parent_of_another_user_is_refused() {
    let Some((_directory, path)) = private_plugin() else { return };
    if !rustix::process::geteuid().is_root() {
        return testing::skip("only root can give files away");
    }
    chown(&path, Some(1234), None).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("belongs to uid 1234, neither root nor the host's own"), "{error}");
    chown(&path, Some(0), None).unwrap();
    chown(path.parent().unwrap(), Some(1234), None).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("plugins belongs to uid 1234"), "{error}");
}

#[test]
fn the_opened_file_is_checked_and_not_what_has_its_name_now() {
    let Some((_directory, path)) = private_plugin() else { return };
    let options = Trust::default();
    let opened = || Some(fs::File::open(&path).unwrap().into());
    // The path is only a name for messages.
    inspect(Path::new("/nowhere/x.so"), opened(), &options).unwrap();

    let file = opened();
    fs::remove_file(&path).unwrap();
    let error = inspect(&path, file, &options).unwrap_err().to_string();
    assert!(error.contains("its directory entry is gone or leads elsewhere"), "{error}");

    let memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let error = inspect(&path, Some(memory), &options).unwrap_err().to_string();
    assert!(error.contains("writable by others") || error.contains("is gone"), "{error}");
}
