//! Single values: how each is written, and what is wrong where it is not.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::registrar;
use crate::volume::Bytes;

/// The longest socket path: `sun_path` has 108 bytes, the last of which is zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What is odd.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Off, "off"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];
}

/// What is logged: a level for Fairlead, and levels for single modules, Fairlead's or a library's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Fairlead's own level. Libraries log at `warn` at most unless they are named.
    pub level: Level,
    /// Levels by module path, such as `fairlead::node` or `h2`.
    pub targets: BTreeMap<String, Level>,
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |word: &str| {
            Level::ALL.iter().find(|(_, name)| *name == word).map(|(level, _)| *level).ok_or_else(|| {
                let names: Vec<_> = Level::ALL.iter().map(|(_, name)| *name).collect();
                format!(
                    "{word:?} is no log level: use one of {}, or <module>=<level>, joined by commas",
                    names.join(", ")
                )
            })
        };
        let mut filter = Self::default();
        let mut bare = false;
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None if bare => return Err(format!("{text:?} has two levels without a module")),
                None => {
                    filter.level = level(part)?;
                    bare = true;
                }
                Some((target, word)) => {
                    let shape = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                    if target.is_empty() || !target.chars().all(shape) {
                        return Err(format!("{target:?} is no module path such as fairlead::node"));
                    }
                    if filter.targets.insert(target.to_owned(), level(word)?).is_some() {
                        return Err(format!("the module {target:?} is here twice"));
                    }
                }
            }
        }
        Ok(filter)
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |level: Level| {
            Level::ALL.iter().find(|(known, _)| *known == level).map_or("off", |(_, name)| name)
        };
        f.write_str(name(self.level))?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={}", name(*level)))
    }
}

/// `true` or `false`.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A driver's name: at most 63 bytes of letters, digits, `-`, `_` and `.`, with a letter at both ends. (The CSI spec
/// asks for alphanumeric ends; the conformance suite asks for letters.)
pub fn driver_name(text: &str) -> Result<String, String> {
    let letter = |end: Option<char>| end.is_some_and(|c| c.is_ascii_alphabetic());
    let inner = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if text.len() > 63 || !inner || !letter(text.chars().next()) || !letter(text.chars().next_back()) {
        return Err(format!(
            "{text:?} is no driver name: use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter"
        ));
    }
    Ok(text.to_owned())
}

/// `unix:///absolute/path`, also in the form `unix:/absolute/path` that gRPC knows.
pub fn endpoint(text: &str) -> Result<PathBuf, String> {
    let path = text
        .strip_prefix("unix://")
        .or_else(|| text.strip_prefix("unix:"))
        .filter(|path| path.starts_with('/') && !path.ends_with('/'))
        .ok_or_else(|| {
            format!("{text:?} is no endpoint: use unix:///<absolute path>, such as unix:///run/csi/csi.sock")
        })?;
    if path.len() > MAX_SOCKET_PATH {
        return Err(format!("the socket path has {} bytes: Linux allows {MAX_SOCKET_PATH}", path.len()));
    }
    absolute(path)
}

/// An absolute path without `..`.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let sound = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !sound || text.contains('\0') {
        return Err(format!("{text:?} is no absolute path without \"..\""));
    }
    Ok(path.components().collect())
}

/// The kubelet's directory: an absolute path that leaves room for the registration socket of this driver.
pub fn kubelet_directory(text: &str, driver: &str) -> Result<PathBuf, String> {
    let directory = absolute(text)?;
    let socket = registrar::socket_path(&directory, driver);
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(format!(
            "the registration socket {} has {length} bytes: Linux allows {MAX_SOCKET_PATH}, so choose a shorter \"driverName\" or directory",
            socket.display()
        ));
    }
    Ok(directory)
}

/// `address:port`, or `off`.
pub fn http(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!(
            "{text:?} is no address: use <IP address>:<port>, such as 127.0.0.1:9810 or [::]:9810, or off"
        )
    })
}

/// `https://host:port` or `http://host:port`, the port being optional.
pub fn api_server(text: &str) -> Result<String, String> {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match authority.filter(|rest| !rest.is_empty() && !rest.starts_with(':') && rest.chars().all(host)) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "{text:?} is no API server: use https://<host>:<port>, such as https://10.0.0.1:6443"
        )),
    }
}

/// Seconds as a bare number, or a number with `s`, `m` or `h`; at most a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time of at most 24h: use seconds, or a number with s, m or h");
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.get(digits.len()..).unwrap_or_default()),
        None => (text, "s"),
    };
    let factor = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(factor).filter(|seconds| *seconds <= 86_400).map(Duration::from_secs).ok_or_else(bad)
}

/// A whole number from 1 to `max`.
pub fn count(text: &str, max: u64) -> Result<u64, String> {
    let number: Option<u64> = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("{text:?} is no whole number from 1 to {max}"))
}

/// A limit of bytes.
pub fn room(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(Bytes::ZERO) => Err("0 leaves no room: leave the key out for no limit".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

/// A number from 1 to 1000, with or without a fraction.
pub fn factor(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (1.0..=1000.0).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from 1.0 to 1000"))
}

/// A topology key: `[<DNS prefix>/]<name>`, as Kubernetes' labels have it.
pub fn topology_key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let dns = |prefix: &str| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|part| label_text(part, false) && !part.contains(char::is_uppercase))
    };
    if prefix.is_none_or(dns) && label_text(name, true) {
        return Ok(());
    }
    Err(format!("{text:?} is no topology key: use [<DNS name>/]<name> as for a Kubernetes label"))
}

/// A topology value, as Kubernetes' labels have it.
pub fn topology_value(text: &str) -> Result<(), String> {
    if label_text(text, true) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no topology value: use 1 to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
    ))
}

fn label_text(text: &str, marks: bool) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| end(c) || c == '-' || (marks && matches!(c, '_' | '.')))
        && text.starts_with(end)
        && text.ends_with(end)
}
