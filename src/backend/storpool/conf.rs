//! `storpool.conf`: the configuration that every host of a cluster has. Keys before any section are for all hosts; those of
//! a section with a host's name win on that host. Files in the directory of the same name with `.d` come after it, and what
//! comes later wins, as in the vendor's own reader (`spconfig`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

use crate::error::{Error, Result};

const HOST: &str = "SP_API_HTTP_HOST";
const PORT: &str = "SP_API_HTTP_PORT";
const TOKEN: &str = "SP_AUTH_TOKEN";
const CLIENT: &str = "SP_OURID";
const CLUSTER: &str = "SP_CLUSTER_ID";
/// The port where none is set.
const USUAL_PORT: u16 = 81;

/// What is set for one host. The values may be secrets.
#[derive(Clone, Default)]
pub(super) struct Conf {
    values: BTreeMap<String, String>,
    /// The hosts that have sections of their own.
    hosts: BTreeSet<String>,
    file: PathBuf,
}

impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conf").field("keys", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Conf {
    /// Reads the file and its directory, for the host of this name. A file that is not there sets nothing.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the file that cannot be read, and the line.
    pub(super) fn read(file: &Path, host: Option<&str>) -> Result<Self> {
        let mut files = vec![file.to_owned()];
        files.extend(directory(file)?);
        let mut conf = Self { file: file.to_owned(), ..Self::default() };
        for file in files {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&file, error)),
            };
            let mut own = BTreeMap::new();
            parse(&text, |section, key, value| {
                let values = match section {
                    None => &mut conf.values,
                    Some(name) => {
                        conf.hosts.insert(name.to_owned());
                        if Some(name) != host {
                            return;
                        }
                        &mut own
                    }
                };
                values.insert(key.to_owned(), value);
            })
            // The line may hold the token.
            .map_err(|line| {
                Error::precondition(format!("{} line {line} is neither key=value nor [host]", file.display()))
            })?;
            conf.values.extend(own);
        }
        Ok(conf)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that must have some form.
    fn parsed<T>(&self, key: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let bad = || {
            Error::precondition(format!("{key} is {text:?} in {}: it must be {form}", self.file.display()))
        };
        parse(text).map(Some).ok_or_else(bad)
    }

    fn number<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }

    /// The URL of the management API.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is no port.
    pub(super) fn endpoint(&self) -> Result<Option<String>> {
        let port = self.parsed(PORT, "1 to 65535", |text| Self::number(text).filter(|port| *port > 0))?;
        let port: u16 = port.unwrap_or(USUAL_PORT);
        Ok(self.get(HOST).map(|host| match host.contains(':') && !host.starts_with('[') {
            // An IPv6 address.
            true => format!("http://[{host}]:{port}"),
            false => format!("http://{host}:{port}"),
        }))
    }

    /// The token of the management API.
    pub(super) fn token(&self) -> Option<SecretString> {
        self.get(TOKEN).map(|token| token.to_owned().into())
    }

    /// The host's number.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is none.
    pub(super) fn client(&self) -> Result<Option<u16>> {
        self.parsed(CLIENT, "1 to 4095", |text| {
            Self::number(text).filter(|number| (1..=0xfff).contains(number))
        })
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is none.
    pub(super) fn cluster(&self) -> Result<Option<String>> {
        let sound = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.parsed(CLUSTER, "location and cluster, like d.n", |text| {
            let (location, cluster) = text.split_once('.')?;
            (sound(location) && sound(cluster)).then(|| text.to_ascii_lowercase())
        })
    }

    /// The hosts that have sections, for people.
    pub(super) fn hosts(&self) -> String {
        match self.hosts.is_empty() {
            true => "it has no section of a host".to_owned(),
            false => {
                let hosts: Vec<_> = self.hosts.iter().map(String::as_str).collect();
                format!("its sections are {}", hosts.join(", "))
            }
        }
    }
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    Error::precondition(format!("{} cannot be read", file.display())).caused_by(error)
}

/// The files of the directory, in their order.
fn directory(file: &Path) -> Result<Vec<PathBuf>> {
    let directory = file.with_extension("conf.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&directory, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&directory, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".conf") && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads `key=value` and `[section]`; `#` and `;` begin a comment, and a backslash at its end joins a value with the next
/// line.
///
/// # Errors
/// The number of the line that is neither.
fn parse(text: &str, mut tell: impl FnMut(Option<&str>, &str, String)) -> Result<(), usize> {
    let mut section = None;
    let mut lines = text.lines().zip(1..);
    while let Some((line, at)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.trim());
        } else if let Some((key, value)) = line.split_once('=') {
            let mut value = value.trim_start().to_owned();
            while value.ends_with('\\') {
                value.pop();
                value.push_str(lines.next().map(|(line, _)| line.trim_end()).unwrap_or_default());
            }
            tell(section, key.trim(), value);
        } else {
            return Err(at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// A host's files, by name.
    fn files(texts: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("storpool.conf.d")).unwrap();
        for (name, text) in texts {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let file = directory.path().join("storpool.conf");
        (directory, file)
    }

    const ALL: &str = "# all\nSP_API_HTTP_HOST=10.1.100.251\nSP_AUTH_TOKEN = 1556129910218014736\n\
                       SP_CLUSTER_ID=D.n\nSP_OURID=1\n\n\
                       [node12]\nSP_OURID=12\n; moved\nSP_API_HTTP_HOST=10.1.100.12\n[ node13 ]\nSP_OURID=13\n";

    #[test]
    fn a_hosts_own_section_wins() {
        let (_directory, file) = files(&[("storpool.conf", ALL)]);
        let of = |host: Option<&str>| {
            let conf = Conf::read(&file, host).unwrap();
            (conf.client().unwrap(), conf.endpoint().unwrap().unwrap())
        };
        assert_eq!(of(Some("node12")), (Some(12), "http://10.1.100.12:81".to_owned()));
        assert_eq!(of(Some("node13")), (Some(13), "http://10.1.100.251:81".to_owned()));
        assert_eq!(of(Some("node14")), (Some(1), "http://10.1.100.251:81".to_owned()));
        assert_eq!(of(None), of(Some("node14")));
        let conf = Conf::read(&file, Some("node12")).unwrap();
        assert_eq!(conf.cluster().unwrap().as_deref(), Some("d.n"));
        assert_eq!(conf.token().unwrap().expose_secret(), "1556129910218014736");
        assert_eq!(conf.hosts(), "its sections are node12, node13");
        assert!(!format!("{conf:?}").contains("1556"), "{conf:?}");
    }

    #[test]
    fn what_comes_later_wins_also_over_an_earlier_files_section() {
        let (_directory, file) = files(&[
            ("storpool.conf", ALL),
            ("storpool.conf.d/10-port.conf", "SP_API_HTTP_PORT=8081\nSP_OURID=2\n"),
            ("storpool.conf.d/20-host.conf", "[node13]\nSP_OURID=33\n"),
            ("storpool.conf.d/.30.conf", "SP_API_HTTP_PORT=1\n"),
            ("storpool.conf.d/40.conf.bak", "SP_API_HTTP_PORT=2\n"),
            ("storpool.conf.d/50.conf", "SP_AUTH_TOKEN=15561299\\\n10218014736  \nSP_CLUSTER_ID=\n"),
        ]);
        let of = |host: &str| Conf::read(&file, Some(host)).unwrap();
        assert_eq!((of("node12").client().unwrap(), of("node13").client().unwrap()), (Some(2), Some(33)));
        assert_eq!(of("node13").endpoint().unwrap().as_deref(), Some("http://10.1.100.251:8081"));
        assert_eq!(of("node13").token().unwrap().expose_secret(), "1556129910218014736");
        assert_eq!(of("node13").cluster().unwrap(), None, "what is empty is not set");
    }

    #[test]
    fn what_is_not_there_sets_nothing() {
        let (directory, file) = files(&[("storpool.conf.d/10.conf", "SP_API_HTTP_HOST=fd00::1\n")]);
        let conf = Conf::read(&file, None).unwrap();
        assert_eq!(conf.endpoint().unwrap().as_deref(), Some("http://[fd00::1]:81"));
        assert!(conf.token().is_none() && conf.client().unwrap().is_none());
        let nowhere = Conf::read(&directory.path().join("none.conf"), None).unwrap();
        assert!(nowhere.endpoint().unwrap().is_none() && nowhere.hosts().contains("no section"));
    }

    #[test]
    fn what_is_wrong_is_told_and_a_token_never() {
        let (_directory, file) = files(&[(
            "storpool.conf",
            "SP_API_HTTP_HOST=h\nSP_API_HTTP_PORT=http\nSP_OURID=4096\nSP_CLUSTER_ID=dn\n",
        )]);
        let conf = Conf::read(&file, None).unwrap();
        let texts = [
            conf.endpoint().unwrap_err().to_string(),
            conf.client().unwrap_err().to_string(),
            conf.cluster().unwrap_err().to_string(),
        ];
        for (text, key) in texts.iter().zip([PORT, CLIENT, CLUSTER]) {
            assert!(
                text.contains(key) && text.contains("storpool.conf") && text.contains("must be"),
                "{text}"
            );
        }
        let (_directory, file) = files(&[("storpool.conf", "SP_OURID=1\nSP_AUTH_TOKEN 1556\n")]);
        let text = Conf::read(&file, None).unwrap_err().to_string();
        assert!(text.contains("line 2") && !text.contains("1556"), "{text}");
    }
}
