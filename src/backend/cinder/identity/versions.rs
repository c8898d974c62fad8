//! What a service can do: the version of its API, and the microversions within it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::backend::cinder::dialect::Dialect;
use crate::error::{Error, Kind, Result};
use crate::http::{Answer, Http, Method, Request, Url};

use super::{Service, Token};

/// A microversion, such as 3.48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion(pub u32, pub u32);

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Microversion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self(major.parse().map_err(drop)?, minor.parse().map_err(drop)?))
    }
}

/// A service as it can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Below this all its paths are. Ends without a slash.
    pub base: Url,
    /// The API's version, 3 in `/v3/`.
    pub major: u32,
    /// The highest microversion; `None` where it knows none.
    pub max: Option<Microversion>,
}

impl Endpoint {
    /// Whether calls of this microversion are understood.
    #[must_use]
    pub fn has(&self, version: Microversion) -> bool {
        self.max.is_some_and(|max| version <= max && version.0 == max.0)
    }
}

/// What a service tells of its versions: a list at its root, one below a version's own URL (in a list or alone).
#[derive(Deserialize)]
struct Versions {
    #[serde(default)]
    versions: Vec<Version>,
    version: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    id: String,
    #[serde(default)]
    version: String,
}

impl Version {
    fn number(&self) -> Option<Microversion> {
        self.id.strip_prefix('v')?.parse().ok()
    }
}

/// Finds out how the service at the catalog's URL is to be called. A kind of cloud that has no microversions is not asked
/// where the URL names the version: what is there need not be a document about versions.
///
/// # Errors
/// Where it cannot be asked now, or answers with nothing that can be used.
pub(super) async fn find_out(
    http: &Http,
    dialect: &Dialect,
    service: Service,
    url: &Url,
    token: &Token,
) -> Result<Endpoint> {
    let path = url.path().trim_end_matches('/');
    match path.split('/').rev().find_map(version_of) {
        Some(named) if !dialect.microversions => {
            Ok(Endpoint { base: with_path(url, path), major: named.0, max: None })
        }
        _ => negotiate(http, service, url, token).await,
    }
}

async fn negotiate(http: &Http, service: Service, url: &Url, token: &Token) -> Result<Endpoint> {
    let path = url.path().trim_end_matches('/').to_owned();
    let segments: Vec<_> = path.split('/').collect();
    let known = segments.iter().rposition(|segment| version_of(segment).is_some());
    let root = segments.get(..=known.unwrap_or(segments.len() - 1)).unwrap_or_default().join("/");
    let answer = ask(http, service, with_path(url, &format!("{root}/")), token).await?;
    let named = known.and_then(|at| version_of(segments.get(at)?));
    let listed = listed(&answer, service, named)?;
    if let Some(named) = named {
        // An API without microversions may also be one without this document.
        let own = listed.iter().find(|version| version.number() == Some(named));
        let own =
            own.or_else(|| listed.iter().find(|version| version.number().is_some_and(|n| n.0 == named.0)));
        let max = own.and_then(|version| version.version.parse().ok());
        return Ok(Endpoint { base: with_path(url, &path), major: named.0, max });
    }
    let best = listed
        .iter()
        .filter_map(|version| Some((version.number()?, version)))
        .max_by_key(|(number, _)| *number);
    let Some((number, version)) = best else {
        return Err(answer.fault(format!(
            "the {} service tells no version at {}",
            service.as_str(),
            with_path(url, &path)
        )));
    };
    let suffix = if number.1 == 0 { format!("v{}", number.0) } else { format!("v{number}") };
    // The links in the document name hosts that are often not reachable from here. The project is in the path because
    // it may be left out only since 3.67.
    let project = token.project.as_deref().filter(|_| service == Service::Volume);
    let project = project.map(|project| format!("/{project}")).unwrap_or_default();
    let base = with_path(url, &format!("{path}/{suffix}{project}"));
    Ok(Endpoint { base, major: number.0, max: version.version.parse().ok() })
}

async fn ask(http: &Http, service: Service, url: Url, token: &Token) -> Result<Answer> {
    let request = Request::new(Method::GET, url, service.as_str(), "list versions");
    http.send(&request.secret_header("x-auth-token", &token.secret)?).await
}

/// The versions of an answer; none where the service says that it knows no such document. What stands before a service may
/// answer for it, and an answer is kept for good: of a version that may have microversions, only the service's own word counts.
fn listed(answer: &Answer, service: Service, named: Option<Microversion>) -> Result<Vec<Version>> {
    if !answer.is_success() && answer.status() != 300 {
        let first = if service == Service::Volume { Microversion(3, 0) } else { Microversion(2, 1) };
        let old = named.is_some_and(|named| named < first);
        let own = match answer.status() {
            429 | 500.. => false,
            404 => old || answer.json::<serde_json::Map<_, _>>().is_ok(),
            _ => old,
        };
        if own {
            return Ok(Vec::new());
        }
        let text =
            format!("the {} service does not tell its versions now{}", service.as_str(), answer.excerpt());
        return Err(answer.fault(text).with_kind(Kind::Unavailable));
    }
    let found: Versions = answer.json().map_err(|error: Error| error.with_kind(Kind::Unavailable))?;
    Ok(found.versions.into_iter().chain(found.version).collect())
}

/// The version that a segment of a path names.
fn version_of(segment: &str) -> Option<Microversion> {
    segment.strip_prefix('v')?.parse().ok()
}

fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url
}
