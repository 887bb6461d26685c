//! Lines of the log under classes.

use core::{ffi::c_void, fmt::Display};

use gristmill_abi::{declaration::PluginHandle, log::LogService};

use crate::{Error, Host, LogLevel};

/// A class of a plugin's lines, `PLUGIN/CLASS`: an operator can say what is logged of it, and how much,
/// without touching the rest (`set logging class acme-dpi/flows level debug rate 10`).
///
/// What is over the rate is not logged, and said to be missing. A line that is not logged is not
/// formatted.
///
/// Context: any thread; to be had on main, of [`Host::log_class`].
#[derive(Clone, Debug)]
pub struct LogClass {
    service: &'static LogService,
    /// The host's, as a word that threads share by contract.
    context: usize,
    plugin: PluginHandle,
    name: Box<str>,
}

impl LogClass {
    /// Whether lines of `level` are logged. A call into the host.
    pub fn is_enabled(&self, level: LogLevel) -> bool {
        let (context, name) = (self.context(), (&*self.name).into());
        // SAFETY: any thread may call it; the name is good for the call.
        unsafe { (self.service.enabled)(context, self.plugin, name, level as u32) == 1 }
    }

    /// Writes a line, if those of `level` are logged.
    pub fn log(&self, level: LogLevel, text: impl Display) {
        if self.is_enabled(level) {
            let (text, name) = (text.to_string(), (&*self.name).into());
            let (context, text) = (self.context(), text.as_str().into());
            // SAFETY: any thread may call it; name and text are good for the call.
            unsafe { (self.service.write)(context, self.plugin, name, level as u32, text) };
        }
    }

    /// Logs that something failed.
    pub fn error(&self, text: impl Display) {
        self.log(LogLevel::Error, text);
    }

    /// Logs that something is odd.
    pub fn warn(&self, text: impl Display) {
        self.log(LogLevel::Warn, text);
    }

    /// Logs something worth knowing.
    pub fn notice(&self, text: impl Display) {
        self.log(LogLevel::Notice, text);
    }

    /// Logs something for the curious.
    pub fn debug(&self, text: impl Display) {
        self.log(LogLevel::Debug, text);
    }

    fn context(&self) -> *mut c_void {
        core::ptr::with_exposed_provenance_mut(self.context)
    }
}

impl Host {
    /// A class of this plugin's lines; its name is kebab-case, and may have classes below it:
    /// `flows/new` is below `flows`.
    ///
    /// # Errors
    /// If the name will not do, or the host is too old.
    pub fn log_class(&self, name: &str) -> Result<LogClass, Error> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.split('/').all(|part| !part.is_empty() && part.chars().all(fits)) {
            return Err(Error::new(format!(
                "log class {name:?}: take lower-case words joined by hyphens"
            )));
        }
        let (service, context) = self.builtin::<LogService>("log", "^1")?;
        let context = context.expose_provenance();
        Ok(LogClass { service, context, plugin: self.plugin, name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host;

    #[test]
    fn a_class_has_a_name_of_words_and_logs_what_is_enabled() {
        for name in ["", "Flows", "a b", "a/", "/a", "a//b"] {
            assert!(host().log_class(name).is_err(), "{name:?}");
        }
        let class = host().log_class("flows/new").unwrap();
        assert!(class.is_enabled(LogLevel::Notice) && !class.is_enabled(LogLevel::Debug));
        struct NotAsked;
        impl Display for NotAsked {
            fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                panic!("a line that is not logged is formatted")
            }
        }
        class.debug(NotAsked);
        class.notice("3 flows");
    }
}
