//! Where plugins are looked for by name.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use rustix::fs::getxattr;

use super::{error::LoadError, name::is_kebab};

/// Prefixes of installations that an executable outside any is part of.
const USUAL_PREFIXES: [&str; 2] = ["/usr/local", "/usr"];
const MULTIARCH: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };
/// `AT_SECURE` of the auxiliary vector: the process has rights its caller does not.
const AT_SECURE: usize = 23;

/// Directories in which plugins are looked for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    places: Vec<PathBuf>,
    /// The executable's own directory, unless the process is privileged.
    beside: Option<PathBuf>,
}

impl SearchPath {
    /// The directories given, then those beside the executable, then the installed ones.
    ///
    /// A privileged process does not look beside its executable: whoever started it may have
    /// linked that to a directory of his own.
    pub fn of_host(given: &[PathBuf]) -> Self {
        let executable = if privileged() { None } else { env::current_exe().ok() };
        Self::new(given, executable.as_deref())
    }

    fn new(given: &[PathBuf], executable: Option<&Path>) -> Self {
        let mut places = given.to_vec();
        let beside = executable.and_then(Path::parent);
        let mut prefixes = Vec::new();
        if let Some(beside) = beside {
            places.push(beside.to_path_buf());
            places.push(beside.join("deps"));
            if beside.ends_with("bin") || beside.ends_with("sbin") {
                prefixes.extend(beside.parent().map(Path::to_path_buf));
            }
        }
        if prefixes.is_empty() {
            prefixes.extend(USUAL_PREFIXES.map(PathBuf::from));
        }
        for prefix in prefixes {
            places.push(prefix.join("lib/gristmill/plugins"));
            places.push(prefix.join("lib").join(MULTIARCH).join("gristmill/plugins"));
        }
        Self { places, beside: beside.map(Path::to_path_buf) }
    }

    /// The directories, in order.
    pub fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Whether a file lies beside the executable: whoever can replace it can replace the host.
    pub fn is_beside_executable(&self, file: &Path) -> bool {
        let of = |beside: &PathBuf| {
            file.parent().is_some_and(|place| place == beside || place == beside.join("deps"))
        };
        self.beside.as_ref().is_some_and(of)
    }

    /// The file of the plugin `name`.
    ///
    /// # Errors
    /// [`LoadError::Name`] and [`LoadError::NotFound`], which says where it looked.
    pub fn find(&self, name: &str) -> Result<PathBuf, LoadError> {
        if !is_kebab(name) {
            return Err(LoadError::Name { name: name.to_owned() });
        }
        let file = format!("lib{}_plugin.so", name.replace('-', "_"));
        self.places.iter().map(|place| place.join(&file)).find(|path| path.is_file()).ok_or_else(
            || LoadError::NotFound { name: name.to_owned(), file, places: self.places.clone() },
        )
    }
}

/// Whether the process has rights that whoever started it may not have: set-user-id or file
/// capabilities. If that cannot be found out, it is taken to be so.
pub fn privileged() -> bool {
    static PRIVILEGED: LazyLock<bool> = LazyLock::new(|| {
        let secure = fs::read("/proc/self/auxv").map_or(true, |vector| is_secure(&vector));
        let mut capabilities = [0_u8; 64];
        secure
            || getxattr("/proc/self/exe", "security.capability", &mut capabilities)
                .is_ok_and(|length| length > 0)
    });
    *PRIVILEGED
}

/// The auxiliary vector's `AT_SECURE`; true if it is not there.
fn is_secure(vector: &[u8]) -> bool {
    let (words, _) = vector.as_chunks::<{ size_of::<usize>() }>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| pair.map(usize::from_ne_bytes))
        .find(|[tag, _]| *tag == AT_SECURE)
        .is_none_or(|[_, value]| value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(given: &[&str], executable: &str) -> Vec<String> {
        let given: Vec<_> = given.iter().map(PathBuf::from).collect();
        let path = SearchPath::new(&given, Some(Path::new(executable)));
        path.places().iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn given_directories_come_first_then_the_executables_then_the_installed_ones() {
        let multiarch = format!("/opt/g/lib/{MULTIARCH}/gristmill/plugins");
        assert_eq!(
            places(&["/a", "b"], "/opt/g/bin/gristmill"),
            [
                "/a",
                "b",
                "/opt/g/bin",
                "/opt/g/bin/deps",
                "/opt/g/lib/gristmill/plugins",
                &multiarch
            ]
        );
    }

    #[test]
    fn an_executable_in_a_build_directory_looks_at_the_usual_prefixes() {
        let places = places(&[], "/src/target/debug/gristmill");
        assert_eq!(&places[..2], ["/src/target/debug", "/src/target/debug/deps"]);
        assert_eq!(places[2], "/usr/local/lib/gristmill/plugins");
        assert_eq!(places[4], "/usr/lib/gristmill/plugins");
        assert_eq!(places.len(), 6);
    }

    #[test]
    fn a_privileged_process_looks_only_where_it_was_told_and_in_the_installation() {
        let path = SearchPath::new(&[], None);
        assert!(path.places().iter().all(|place| place.starts_with("/usr")), "{path:?}");
    }

    #[test]
    fn a_plugin_is_found_by_its_name_in_the_first_directory_that_has_it() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = SearchPath {
            places: vec![first.path().to_path_buf(), second.path().to_path_buf()],
            beside: None,
        };
        let file = second.path().join("libacme_dpi_plugin.so");
        fs::write(&file, "").unwrap();
        assert_eq!(path.find("acme-dpi").unwrap(), file);
        fs::create_dir(first.path().join("libacme_dpi_plugin.so")).unwrap();
        assert_eq!(path.find("acme-dpi").unwrap(), file, "a directory is not a plugin");
    }

    #[test]
    fn the_error_says_where_it_looked() {
        let path = SearchPath::new(&[PathBuf::from("/a")], None);
        let error = path.find("acme-dpi").unwrap_err().to_string();
        assert!(
            error.starts_with("no plugin acme-dpi: looked for libacme_dpi_plugin.so in /a, /usr"),
            "{error}"
        );
        let error = path.find("../../etc").unwrap_err().to_string();
        assert!(error.starts_with("\"../../etc\" is not a plugin's name"), "{error}");
    }

    #[test]
    fn the_auxiliary_vector_says_whether_the_process_is_privileged() {
        let vector = |pairs: &[[usize; 2]]| -> Vec<u8> {
            pairs.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect()
        };
        assert!(!is_secure(&vector(&[[6, 4096], [23, 0], [0, 0]])));
        assert!(is_secure(&vector(&[[6, 4096], [23, 1], [0, 0]])));
        assert!(is_secure(&vector(&[[6, 23], [0, 0]])), "not said is not trusted");
        assert!(is_secure(&[]));
    }
}
