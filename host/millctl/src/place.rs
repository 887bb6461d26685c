//! Where the control socket is.

use std::path::{Path, PathBuf};

/// The socket's name in its directory.
pub const SOCKET_NAME: &str = "cli.sock";
/// The host's directory in a runtime directory.
pub const DIRECTORY_NAME: &str = "gristmill";

/// The places of the control socket, the first that serves is used: `/run/gristmill/cli.sock`,
/// then the same under `$XDG_RUNTIME_DIR`. Never in a shared temporary folder.
pub fn default_places() -> Vec<PathBuf> {
    places(Path::new("/run"), std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).as_deref())
}

/// [`default_places`] for the given runtime directories; a relative `user` directory is ignored.
pub fn places(system: &Path, user: Option<&Path>) -> Vec<PathBuf> {
    let user = user.filter(|directory| directory.is_absolute());
    [Some(system), user]
        .into_iter()
        .flatten()
        .map(|directory| directory.join(DIRECTORY_NAME).join(SOCKET_NAME))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_place_comes_first_and_a_relative_user_directory_is_ignored() {
        let both = places(Path::new("/run"), Some(Path::new("/run/user/7")));
        assert_eq!(
            both,
            [Path::new("/run/gristmill/cli.sock"), Path::new("/run/user/7/gristmill/cli.sock")]
        );
        assert_eq!(places(Path::new("/run"), Some(Path::new("x"))).len(), 1);
        assert_eq!(places(Path::new("/run"), None).len(), 1);
    }
}
