//! From TOML to the types: every value with its place, so that every complaint has one.

mod barrier;
mod handoff;
mod host;
mod rx;
mod scheduling;
mod watchdog;
mod work;

use std::path::{Path, PathBuf};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    Config, ConfigError, Exec, MAX_WORKERS, PluginChoice, PluginEntry, PluginSection,
    is_plugin_name,
};

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Highest number of a core that is believed.
const MAX_CORE: u32 = 4_095;
/// Longest path a unix socket can have, in bytes.
const MAX_SOCKET: usize = 107;

/// Reads a whole configuration.
pub(super) fn config(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let reader = Reader { file, text };
    let root = DeTable::parse(text).map_err(|error| {
        let what = error.message().trim().replace('\n', ", ");
        reader.error(error.span().map_or(0, |span| span.start), what)
    })?;
    let mut config = Config::default();
    for (key, value) in in_order(root.get_ref()) {
        match &**key.get_ref() {
            "host" => reader.host(reader.table(key, value)?, &mut config)?,
            "cli" => reader.cli(reader.table(key, value)?, &mut config)?,
            "log" => reader.log(reader.table(key, value)?, &mut config)?,
            "plugin" => reader.plugins(reader.table(key, value)?, &mut config)?,
            "barrier" => reader.barrier(reader.table(key, value)?, &mut config)?,
            "handoff" => reader.handoff(reader.table(key, value)?, &mut config)?,
            "rx" => reader.rx(reader.table(key, value)?, &mut config)?,
            "watchdog" => reader.watchdog(reader.table(key, value)?, &mut config)?,
            "work" => reader.work(reader.table(key, value)?, &mut config)?,
            _ => {
                let known = "[host], [barrier], [cli], [handoff], [log], [rx], [watchdog], [work], \
                             [plugin.NAME]";
                return Err(reader.unknown(key, "section", known));
            }
        }
    }
    Ok(config)
}

/// An error at byte `at` of `text`.
pub(super) fn error_at(file: &Path, text: &str, at: usize, what: String) -> ConfigError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
    ConfigError::Content { file: file.to_path_buf(), line: line_of(text, at), column, what }
}

/// A table's entries as they stand in the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Key<'i>, &'t Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn cli(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            match &**key.get_ref() {
                "socket" => {
                    let socket = self.path(key, value)?;
                    let length = socket.as_os_str().len();
                    if length > MAX_SOCKET {
                        let what = format!(
                            "socket has a path of {length} bytes: the system takes {MAX_SOCKET}"
                        );
                        return Err(self.error(value.span().start, what));
                    }
                    config.cli.socket = Some(socket);
                }
                "group" => config.cli.group = Some(self.string(key, value)?.to_owned()),
                _ => return Err(self.unknown(key, "setting", "socket, group")),
            }
        }
        Ok(())
    }

    fn log(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            match &**key.get_ref() {
                "level" => {
                    let level = self.string(key, value)?.parse();
                    config.log.level = level.map_err(|error| self.refused(key, value, &error))?;
                }
                "lines" => {
                    let lines = self.number(key, value, 1, 1 << 16)?;
                    config.log.lines = usize::try_from(lines).unwrap_or(usize::MAX);
                }
                "file" => config.log.file = Some(self.path(key, value)?),
                _ => return Err(self.unknown(key, "setting", "level, lines, file")),
            }
        }
        Ok(())
    }

    fn plugins(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            let name: &str = key.get_ref();
            if !is_plugin_name(name) {
                let what =
                    format!("{name:?} cannot be a plugin: {}", super::PluginChoiceError::Name);
                return Err(self.error(key.span().start, what));
            }
            self.table(key, value)?;
            let mut entries = Vec::new();
            self.flatten("", key, value, &mut entries)?;
            entries.sort_by_key(|(at, _)| *at);
            let entries = entries.into_iter().map(|(_, entry)| entry).collect();
            let line = line_of(self.text, key.span().start);
            config.sections.push(PluginSection { plugin: name.to_owned(), line, entries });
        }
        Ok(())
    }

    /// Appends what is at and below `value`, each with the byte it stands at.
    fn flatten(
        &self,
        path: &str,
        key: &Key<'_>,
        value: &Value<'_>,
        entries: &mut Vec<(usize, PluginEntry)>,
    ) -> Result<(), ConfigError> {
        let text = match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in in_order(table) {
                    let path = join(path, &quoted(key.get_ref()));
                    self.flatten(&path, key, value, entries)?;
                }
                return Ok(());
            }
            DeValue::Array(array) => {
                for (number, value) in array.iter().enumerate() {
                    self.flatten(&join(path, &number.to_string()), key, value, entries)?;
                }
                return Ok(());
            }
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(_) => self.integer(key, value)?.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(switch) => switch.to_string(),
            DeValue::Datetime(time) => time.to_string(),
        };
        let at = value.span().start;
        let line = line_of(self.text, at);
        entries.push((at, PluginEntry { key: path.to_owned(), value: text, line }));
        Ok(())
    }

    fn plugin_list(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<Vec<PluginChoice>, ConfigError> {
        let mut plugins = Vec::new();
        for value in self.list(key, value)? {
            let text = self.string(key, value)?;
            let plugin = match PluginChoice::parse(text) {
                Ok(PluginChoice::Path(path)) => PluginChoice::Path(self.base().join(path)),
                Ok(name) => name,
                Err(error) => return Err(self.refused(key, value, &error)),
            };
            if plugins.contains(&plugin) {
                return Err(self.refused(key, value, &"it is listed twice"));
            }
            plugins.push(plugin);
        }
        Ok(plugins)
    }

    fn exec(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Vec<Exec>, ConfigError> {
        if !matches!(value.get_ref(), DeValue::String(_) | DeValue::Array(_)) {
            return Err(self.wrong_type(key, value, "a list of commands or the path of a script"));
        }
        if value.get_ref().is_str() {
            return Ok(vec![Exec::Script(self.path(key, value)?)]);
        }
        let mut commands = Vec::new();
        for value in self.list(key, value)? {
            let text = self.string(key, value)?.trim();
            if text.contains(['\n', '\r', '\0']) {
                return Err(self.error(value.span().start, "write one command a string".to_owned()));
            }
            let line = line_of(self.text, value.span().start);
            commands.push(Exec::Command { text: text.to_owned(), line });
        }
        Ok(commands)
    }

    /// Cores in the form `2-5,8`, at most [`MAX_WORKERS`] of them.
    fn cores(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Vec<u32>, ConfigError> {
        let mut cores = Vec::new();
        for part in self.string(key, value)?.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let core = |text: &str| text.trim().parse().ok().filter(|core| *core <= MAX_CORE);
            let (Some(first), Some(last)) = (core(first), core(last)) else {
                let problem = format!("write cores from 0 to {MAX_CORE} like \"1-3,5\"");
                return Err(self.refused(key, value, &problem));
            };
            if first > last {
                return Err(self.refused(key, value, &format!("{first}-{last} runs backwards")));
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(self.refused(key, value, &format!("core {core} is named twice")));
                }
                if cores.len() >= usize::try_from(MAX_WORKERS).unwrap_or(usize::MAX) {
                    let problem = format!("there can be {MAX_WORKERS} workers at most");
                    return Err(self.refused(key, value, &problem));
                }
                cores.push(core);
            }
        }
        Ok(cores)
    }

    fn table<'t, 'i>(
        &self,
        key: &Key<'_>,
        value: &'t Value<'i>,
    ) -> Result<&'t DeTable<'i>, ConfigError> {
        value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, value, "a section"))
    }

    fn list<'t, 'i>(
        &self,
        key: &Key<'_>,
        value: &'t Value<'i>,
    ) -> Result<&'t toml::de::DeArray<'i>, ConfigError> {
        value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, value, "a list"))
    }

    fn string<'t>(&self, key: &Key<'_>, value: &'t Value<'_>) -> Result<&'t str, ConfigError> {
        let text =
            value.get_ref().as_str().ok_or_else(|| self.wrong_type(key, value, "a string"))?;
        if text.trim().is_empty() {
            return Err(self.error(value.span().start, format!("{} is empty", key.get_ref())));
        }
        Ok(text)
    }

    fn path(&self, key: &Key<'_>, value: &Value<'_>) -> Result<PathBuf, ConfigError> {
        Ok(self.base().join(self.string(key, value)?))
    }

    fn switch(&self, key: &Key<'_>, value: &Value<'_>) -> Result<bool, ConfigError> {
        value.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, value, "true or false"))
    }

    fn number(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
        min: u32,
        max: u32,
    ) -> Result<u32, ConfigError> {
        let number = self.integer(key, value)?;
        u32::try_from(number).ok().filter(|number| (min..=max).contains(number)).ok_or_else(|| {
            let what = format!("{} = {number}: must be {min} to {max}", key.get_ref());
            self.error(value.span().start, what)
        })
    }

    fn integer(&self, key: &Key<'_>, value: &Value<'_>) -> Result<i64, ConfigError> {
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong_type(key, value, "a whole number"));
        };
        i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
            self.error(value.span().start, format!("{} does not fit 64 bits", key.get_ref()))
        })
    }

    fn base(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    fn unknown(&self, key: &Key<'_>, kind: &str, known: &str) -> ConfigError {
        let what = format!("unknown {kind} {:?}: known are {known}", key.get_ref());
        self.error(key.span().start, what)
    }

    fn refused(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
        why: &dyn std::fmt::Display,
    ) -> ConfigError {
        let text = value.get_ref().as_str().unwrap_or_default();
        self.error(value.span().start, format!("{} {text:?}: {why}", key.get_ref()))
    }

    fn wrong_type(&self, key: &Key<'_>, value: &Value<'_>, right: &str) -> ConfigError {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        let what = format!("{} must be {right}, not {found}", key.get_ref());
        self.error(value.span().start, what)
    }

    fn error(&self, at: usize, what: String) -> ConfigError {
        error_at(self.file, self.text, at, what)
    }
}

fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

/// A part of a key as TOML writes it: bare if it can be.
fn quoted(part: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !part.is_empty() && part.chars().all(bare) { part.to_owned() } else { format!("{part:?}") }
}
