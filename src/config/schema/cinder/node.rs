//! The keys of a back end of kind `cinder` that its nodes read.

use super::plain;
use crate::backend::cinder::connector::settings::{NodeSettings, Source, server};
use crate::backend::cinder::dialect::Dialect;
use crate::config::values;
use crate::document::section::Section;

/// Reads them; the defaults where the section is missing.
pub(super) fn read(parent: &mut Section<'_>, dialect: &Dialect) -> NodeSettings {
    let mut settings = NodeSettings::default();
    let Some(mut section) = parent.section("node") else { return settings };
    settings.server = section.number_or_text("server", |text| server(dialect, text)).map(|found| found.value);
    settings.zone = section.parsed("zone", plain).map(|found| found.value);
    settings.by_id = section.parsed("byId", values::absolute).map(|found| found.value);
    if let Some(found) = section.parsed("metadataUrl", plain_http) {
        settings.metadata_url = found.value;
    }
    if let Some(list) = sources(&mut section) {
        settings.sources = list;
    }
    section.finish();
    settings
}

fn sources(section: &mut Section<'_>) -> Option<Vec<Source>> {
    let name = section.name("sources");
    let mut list = Vec::new();
    for found in section.texts("sources")? {
        match Source::ALL.into_iter().find(|source| source.name() == found.value) {
            Some(source) if list.contains(&source) => {
                section.fault(found.at, format!("{name:?} has {} twice", found.value));
            }
            Some(source) => list.push(source),
            None => {
                let known = Source::ALL.map(Source::name).join(", ");
                section.fault(
                    found.at,
                    format!(
                        "{name:?}: {:?} is no source of a server's identity: known are {known}",
                        found.value
                    ),
                );
            }
        }
    }
    Some(list)
}

/// The metadata service is reached over the server's own link, where nothing can vouch for a certificate.
fn plain_http(text: &str) -> Result<String, String> {
    match text
        .strip_prefix("http://")
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no URL that begins with http://")),
    }
}
