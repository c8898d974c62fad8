//! `storpool.conf`: the configuration that every host of a cluster has. Keys before any section are for all hosts; those of
//! a section with a host's name win on that host. Files in the directory of the same name with `.d` come after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
}

impl std::fmt::Debug for Conf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conf").field("keys", &self.values.keys()).finish()
    }
}

impl Conf {
    /// Reads the file and its directory, for the host of this name. A file that is not there sets nothing.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the file that cannot be read.
    pub(super) fn read(file: &Path, host: Option<&str>) -> Result<Self> {
        let mut files = vec![file.to_owned()];
        files.extend(directory(file)?);
        let mut conf = Self::default();
        let mut own = BTreeMap::new();
        for file in files {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&file, error)),
            };
            parse(&text, |section, key, value| {
                let values = match section {
                    None => &mut conf.values,
                    Some(name) if Some(name) == host => &mut own,
                    Some(_) => return,
                };
                values.insert(key.to_owned(), value.to_owned());
            });
        }
        conf.values.extend(own);
        Ok(conf)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The URL of the management API.
    pub(super) fn endpoint(&self) -> Option<String> {
        let port = self.get(PORT).and_then(|port| port.parse().ok()).unwrap_or(USUAL_PORT);
        self.get(HOST).map(|host| format!("http://{host}:{port}"))
    }

    /// The token of the management API.
    pub(super) fn token(&self) -> Option<SecretString> {
        self.get(TOKEN).map(|token| token.to_owned().into())
    }

    /// The host's number.
    pub(super) fn client(&self) -> Option<u16> {
        self.get(CLIENT)?.parse().ok()
    }

    /// The cluster's id.
    pub(super) fn cluster(&self) -> Option<String> {
        self.get(CLUSTER).map(str::to_ascii_lowercase)
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

/// Reads `key=value` and `[section]`; `#` and `;` begin a comment.
fn parse(text: &str, mut tell: impl FnMut(Option<&str>, &str, &str)) {
    let mut section = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.trim());
        } else if let Some((key, value)) = line.split_once('=') {
            tell(section, key.trim(), value.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_own_section_wins() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("storpool.conf");
        std::fs::write(
            &file,
            "# all\nSP_API_HTTP_HOST=10.1.100.251\nSP_AUTH_TOKEN = 15\nSP_CLUSTER_ID=D.n\nSP_OURID=1\n\
             [node12]\nSP_OURID=12\n[node13]\nSP_OURID=13\n",
        )
        .unwrap();
        let more = directory.path().join("storpool.conf.d");
        std::fs::create_dir(&more).unwrap();
        std::fs::write(more.join("10.conf"), "SP_API_HTTP_PORT=8081\nSP_OURID=2\n").unwrap();
        std::fs::write(more.join(".20.conf"), "SP_API_HTTP_PORT=1\n").unwrap();
        let conf = Conf::read(&file, Some("node12")).unwrap();
        assert_eq!(conf.endpoint().as_deref(), Some("http://10.1.100.251:8081"));
        assert_eq!((conf.client(), conf.cluster().as_deref()), (Some(12), Some("d.n")));
        assert_eq!(Conf::read(&file, None).unwrap().client(), Some(2));
        assert!(!format!("{conf:?}").contains("15"), "{conf:?}");
        let nowhere = Conf::read(&directory.path().join("none.conf"), None).unwrap();
        assert!(nowhere.endpoint().is_none() && nowhere.token().is_none());
    }
}
