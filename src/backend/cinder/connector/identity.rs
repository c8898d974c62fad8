//! Which server of Nova this node is, and in which zone: told by sources of which none needs credentials.
//!
//! A wrong answer would send this node's volumes to another server. So each answer is checked, every source that costs
//! nothing is asked, and where two contradict each other nothing is believed.

use std::time::Duration;

use serde::Deserialize;

use super::settings::{NodeSettings, Source};
use super::uuid::ServerId;
use crate::error::{Error, Kind, Result};
use crate::host::disks::Disks;
use crate::host::firmware::{self, Firmware};
use crate::http::{Http, Method, Request, Throttle, Trust, Url};
use crate::metrics::Metrics;

/// How long the metadata service may take. Where there is none, often nothing answers at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// The config drive's label, and the document on it (Nova, user/metadata).
const LABEL: &str = "config-2";
const DOCUMENT: &str = "openstack/latest/meta_data.json";
/// No config drive is as large: Nova makes 64 MiB at most.
const LARGEST: u64 = 512 << 20;

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The server's id at Nova.
    pub(super) server: String,
    /// Its availability zone, where one is needed.
    pub(super) zone: Option<String>,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    source: Source,
    server: ServerId,
    /// Other readings of the same bytes.
    or: Option<ServerId>,
    /// Whether it speaks of a server of Nova by itself.
    certain: bool,
    zone: Option<String>,
}

/// The part of Nova's document that matters here.
#[derive(Deserialize)]
struct Document {
    uuid: Option<String>,
    availability_zone: Option<String>,
}

/// Asks the sources until what is needed is known.
pub(super) async fn learn(
    settings: &NodeSettings,
    disks: &Disks,
    metrics: &std::sync::Arc<Metrics>,
    zone_needed: bool,
) -> Result<Identity> {
    let mut told = Told::default();
    for source in &settings.sources {
        let known = told.conclude(settings, zone_needed);
        let answer = match source {
            Source::Dmi => dmi(disks).await,
            Source::ConfigDrive => config_drive(disks).await,
            // It may be far, or not there, so it is asked only for what is still not known.
            Source::Metadata if known.is_ok() => continue,
            Source::Metadata => metadata(settings, metrics).await,
        };
        match answer {
            Ok(answers) => told.answers.extend(answers),
            Err(error) => told.silent.push(format!("{}: {}", source.name(), error.chain())),
        }
    }
    if let Some(server) = &settings.server
        && told.denies(server)
    {
        // Not refused: who sets it may have to because a source is wrong.
        tracing::warn!(
            server,
            told = told.words(),
            "this node is set to be a server that it is not, as it seems"
        );
    }
    told.conclude(settings, zone_needed)
}

/// What all sources have said.
#[derive(Debug, Default)]
struct Told {
    answers: Vec<Answer>,
    silent: Vec<String>,
}

impl Told {
    fn conclude(&self, settings: &NodeSettings, zone_needed: bool) -> Result<Identity> {
        let server = match &settings.server {
            Some(server) => server.clone(),
            None => self.server(settings)?.as_str().to_owned(),
        };
        let zone = match &settings.zone {
            _ if !zone_needed => None,
            Some(zone) => Some(zone.clone()),
            None => Some(self.zone()?),
        };
        Ok(Identity { server, zone })
    }

    fn server(&self, settings: &NodeSettings) -> Result<&ServerId> {
        let mut found: Option<&Answer> = None;
        for answer in self.answers.iter().filter(|answer| answer.certain) {
            match found {
                None => found = Some(answer),
                Some(other) => found = Some(agree(other, answer).ok_or_else(|| self.contradiction())?),
            }
        }
        if let Some(answer) = found {
            return Ok(&answer.server);
        }
        // Firmware that does not name OpenStack is believed only where the operator names it alone.
        let named = settings.sources == [Source::Dmi];
        self.answers.first().filter(|_| named).map(|answer| &answer.server).ok_or_else(|| {
            Error::precondition(format!(
                "which server of Nova this node is cannot be told{}: set \"node.server\" of the back end",
                self.words()
            ))
        })
    }

    /// Whether a source that is to be believed names another server.
    fn denies(&self, server: &str) -> bool {
        let is = |id: &ServerId| id.as_str() == server;
        let same = |answer: &Answer| is(&answer.server) || answer.or.as_ref().is_some_and(is);
        self.answers.iter().any(|answer| answer.certain && !same(answer))
    }

    fn zone(&self) -> Result<String> {
        let mut zones: Vec<&String> = self.answers.iter().filter_map(|answer| answer.zone.as_ref()).collect();
        zones.sort();
        zones.dedup();
        match zones.as_slice() {
            [zone] => Ok((*zone).clone()),
            [] => Err(Error::precondition(format!(
                "in which availability zone this node is cannot be told{}: set \"node.zone\" of the back end, or \
                 \"ignoreVolumeAZ\" where zones do not matter",
                self.words()
            ))),
            _ => Err(self.contradiction()),
        }
    }

    fn contradiction(&self) -> Error {
        Error::precondition(format!(
            "the sources of this node's identity contradict each other{}: set \"node.server\" and \"node.zone\" of the back \
             end, or leave the wrong source out of \"node.sources\"",
            self.words()
        ))
    }

    /// What was said, and why nothing was.
    fn words(&self) -> String {
        let said = self.answers.iter().map(|answer| {
            let doubt = if answer.certain { "" } else { " (but the firmware does not name OpenStack)" };
            let zone = answer.zone.as_ref().map(|zone| format!(", zone {zone:?}")).unwrap_or_default();
            format!("; {}: {}{zone}{doubt}", answer.source.name(), answer.server)
        });
        said.chain(self.silent.iter().map(|why| format!("; {why}"))).collect()
    }
}

/// The better one of two answers that mean the same server.
fn agree<'a>(one: &'a Answer, other: &'a Answer) -> Option<&'a Answer> {
    if one.server == other.server {
        return Some(one);
    }
    // What Nova's own document says is not to be read in two ways.
    match (&one.or, &other.or) {
        (Some(or), None) if *or == other.server => Some(other),
        (None, Some(or)) if *or == one.server => Some(one),
        _ => None,
    }
}

async fn dmi(disks: &Disks) -> Result<Vec<Answer>> {
    let sys = disks.sys().to_owned();
    let read = tokio::task::spawn_blocking(move || firmware::read(&sys)).await;
    let firmware =
        read.map_err(|error| Error::internal("reading the firmware's tables failed").caused_by(error))??;
    judge(&firmware).map(|answer| vec![answer])
}

fn judge(firmware: &Firmware) -> Result<Answer> {
    let Some(text) = &firmware.uuid else {
        return Err(Error::not_found("the firmware tells no product UUID"));
    };
    let bad = || Error::precondition(format!("the firmware's product UUID {text:?} is none of Nova's"));
    let shown = ServerId::parse(text).ok_or_else(bad)?;
    let swapped = shown.swapped();
    let (server, or) = match (shown.random(), swapped.random()) {
        (true, true) => (shown, Some(swapped)),
        (true, false) => (shown, None),
        (false, true) => (swapped, None),
        (false, false) => return Err(bad()),
    };
    let certain = firmware.words.iter().any(|words| words.to_ascii_lowercase().contains("openstack"));
    Ok(Answer { source: Source::Dmi, server, or, certain, zone: None })
}

/// Of every disk that could be one. A volume of Cinder never is: its content is a user's.
async fn config_drive(disks: &Disks) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut failed = None;
    for disk in disks.list().await? {
        let volume = disk.identifiers.iter().any(|one| super::finder::is_volume(&one.text));
        if volume || disk.silent.is_some() || disk.size > LARGEST || disk.size == 0 {
            continue;
        }
        match disks.read_labelled(&disk, LABEL, DOCUMENT).await {
            Ok(Some(content)) => {
                let document = serde_json::from_slice(&content).map_err(|error| {
                    Error::internal(format!("{DOCUMENT} on {disk} cannot be read")).caused_by(error)
                })?;
                answers.push(said(Source::ConfigDrive, document)?);
            }
            Ok(None) => {}
            // A drive without a medium.
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if answers.is_empty() => Err(error),
        _ if answers.is_empty() => Err(Error::not_found(format!("no disk has the label {LABEL:?}"))),
        _ => Ok(answers),
    }
}

async fn metadata(settings: &NodeSettings, metrics: &std::sync::Arc<Metrics>) -> Result<Vec<Answer>> {
    let url = Url::parse(&settings.metadata_url)
        .map_err(|error| Error::internal("the metadata service's URL cannot be read").caused_by(error))?;
    // Made for this one question: a node keeps no connections.
    let http =
        Http::new("metadata", Trust::default(), std::sync::Arc::new(Throttle::default()), metrics.clone())?;
    let request = Request::new(Method::GET, url, "metadata", "identity").within(PATIENCE);
    let answer = http.send(&request).await?;
    if !answer.is_success() {
        return Err(Error::unknown(
            Kind::Unavailable,
            format!("{} answers {}", settings.metadata_url, answer.status()),
        ));
    }
    said(Source::Metadata, answer.json()?).map(|answer| vec![answer])
}

fn said(source: Source, document: Document) -> Result<Answer> {
    let text = document.uuid.ok_or_else(|| Error::not_found("its document has no \"uuid\""))?;
    let server = ServerId::parse(&text).ok_or_else(|| {
        Error::precondition(format!("its document has the \"uuid\" {text:?}, which is none"))
    })?;
    let zone = document.availability_zone.filter(|zone| !zone.is_empty());
    Ok(Answer { source, server, or: None, certain: true, zone })
}

#[cfg(test)]
mod tests;
