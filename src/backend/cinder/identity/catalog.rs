//! Where the services are.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::backend::cinder::credentials::Interface;
use crate::error::{Error, Kind, Result};
use crate::http::Url;

/// A service that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Cinder.
    Volume,
    /// Nova.
    Compute,
    /// What a project may have, in clouds of Synnefo.
    Account,
}

impl Service {
    /// Its name in microversion headers, metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Compute => "compute",
            Self::Account => "account",
        }
    }

    /// Its types in the catalog, best first (service-types-authority and its aliases).
    const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Volume => &["volumev3", "block-storage", "block-store", "volumev2", "volume"],
            Self::Compute => &["compute"],
            Self::Account => &["account"],
        }
    }
}

/// The services of a cloud.
#[derive(Clone, Debug, Default)]
pub struct Catalog(Vec<Place>);

/// One way to reach a service.
#[derive(Clone, Debug)]
struct Place {
    kind: String,
    interface: &'static str,
    /// Both the region's id and its name, where they differ; empty where the catalog knows no regions.
    regions: Vec<String>,
    url: String,
}

/// A service in a token of version 3.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceV3 {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<EndpointV3>,
}

#[derive(Debug, Deserialize)]
struct EndpointV3 {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: Option<String>,
}

/// A service in a token of version 2.0.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceV2 {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<EndpointV2>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointV2 {
    region: Option<String>,
    #[serde(rename = "publicURL")]
    public: Option<String>,
    #[serde(rename = "internalURL")]
    internal: Option<String>,
    #[serde(rename = "adminURL")]
    admin: Option<String>,
}

impl From<Vec<ServiceV3>> for Catalog {
    fn from(services: Vec<ServiceV3>) -> Self {
        let place = |kind: &str, endpoint: EndpointV3| {
            Some(Place {
                kind: kind.to_owned(),
                interface: Interface::parse(&endpoint.interface)?.as_str(),
                regions: endpoint.region_id.into_iter().chain(endpoint.region).collect(),
                url: endpoint.url?,
            })
        };
        let places = services.into_iter().flat_map(|service| {
            let kind = service.kind;
            service.endpoints.into_iter().filter_map(move |endpoint| place(&kind, endpoint))
        });
        Self(places.collect())
    }
}

impl From<Vec<ServiceV2>> for Catalog {
    fn from(services: Vec<ServiceV2>) -> Self {
        let mut places = Vec::new();
        for service in services {
            for endpoint in service.endpoints {
                let urls = [
                    (Interface::Public, endpoint.public),
                    (Interface::Internal, endpoint.internal),
                    (Interface::Admin, endpoint.admin),
                ];
                for (interface, url) in urls {
                    let Some(url) = url else { continue };
                    let regions = endpoint.region.iter().cloned().collect();
                    let kind = service.kind.clone();
                    places.push(Place { kind, interface: interface.as_str(), regions, url });
                }
            }
        }
        Self(places)
    }
}

impl Catalog {
    /// The URL of a service: of its best type that has an endpoint in the region, the first such endpoint. Without a
    /// region: the first of all.
    ///
    /// # Errors
    /// `FailedPrecondition` saying what the catalog has instead. The outcome is unknown: another region's volumes exist.
    pub fn find(&self, service: Service, region: Option<&str>, interface: Interface) -> Result<Url> {
        let of_type = |kind: &str| {
            let mut places =
                self.0.iter().filter(|place| place.kind == kind && place.interface == interface.as_str());
            // One without a region beside others that have one is of an older sort (Rackspace's first servers).
            let regional = places.clone().any(|place| !place.regions.is_empty());
            let here = |place: &&Place| match regional {
                false => true,
                true if place.regions.is_empty() => false,
                true => region.is_none_or(|region| place.regions.iter().any(|known| known == region)),
            };
            places.find(here)
        };
        let Some(place) = service.types().iter().find_map(|kind| of_type(kind)) else {
            return Err(self.missing(service, region, interface));
        };
        place.url.parse().map_err(|_| {
            let text =
                format!("the catalog's URL of the {} service is none: {:?}", service.as_str(), place.url);
            Error::unknown(Kind::FailedPrecondition, text)
        })
    }

    fn missing(&self, service: Service, region: Option<&str>, interface: Interface) -> Error {
        let list = |texts: BTreeSet<&str>| match texts.is_empty() {
            true => "none".to_owned(),
            false => texts.into_iter().collect::<Vec<_>>().join(", "),
        };
        let mut own = self.0.iter().filter(|place| service.types().contains(&place.kind.as_str())).peekable();
        let name = service.as_str();
        let text = if own.peek().is_none() {
            let types = list(self.0.iter().map(|place| place.kind.as_str()).collect());
            format!("the cloud's catalog has no {name} service for this project: it has {types}")
        } else {
            let own: Vec<_> = own.collect();
            let regions =
                list(own.iter().flat_map(|place| place.regions.iter().map(String::as_str)).collect());
            let interfaces = list(own.iter().map(|place| place.interface).collect());
            format!(
                "the {name} service has no {} endpoint in region {}: there are regions {regions} and interfaces {interfaces}",
                interface.as_str(),
                region.unwrap_or("(any)"),
            )
        };
        Error::unknown(Kind::FailedPrecondition, text)
    }
}
