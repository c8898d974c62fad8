//! What a project may use, and why something failed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backend::cinder::dialect::{Feature, Quotas};
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{AbsoluteLimits, Message, VolumeType, Zone};
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Need};

/// Messages can be filtered by what they are about from 3.5 on.
const MESSAGES: Need = Need::Exactly(Microversion(3, 5));

#[derive(Deserialize)]
struct Limits {
    absolute: AbsoluteLimits,
}

impl Client {
    /// The types of volumes that the project may use.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn volume_types(&self) -> Result<Vec<VolumeType>> {
        self.pages(call("list volume types", &["types"])).await
    }

    /// What the project may have and has.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub async fn limits(&self) -> Result<AbsoluteLimits> {
        if self.dialect().quotas == Quotas::Astakos {
            return self.quotas().await;
        }
        let limits: Limits =
            self.read(&call("get limits", &["limits"]).of(Feature::Limits), "limits").await?;
        Ok(limits.absolute)
    }

    /// What the project may have, by Cinder's names (`volumes`, `gigabytes_SATA`, ...); -1 is no limit.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub async fn quota_set(&self) -> Result<BTreeMap<String, i64>> {
        let access = self.session.access();
        let token = access.token().await?;
        let project = token.project.as_deref().unwrap_or_default();
        let set: Map<String, Value> =
            self.read(&call("get quotas", &["os-quota-sets", project]), "quota_set").await?;
        Ok(set.into_iter().filter_map(|(name, limit)| Some((name, limit.as_i64()?))).collect())
    }

    /// The zones in which volumes can be; none where the kind of cloud has no zones.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn volume_zones(&self) -> Result<Vec<Zone>> {
        if !self.dialect().can(Feature::Zones) {
            return Ok(Vec::new());
        }
        self.read(&call("list volume zones", &["os-availability-zone"]), "availabilityZoneInfo").await
    }

    /// What the cloud tells about a volume, snapshot or backup that failed, newest first as the cloud has it.
    ///
    /// # Errors
    /// `Unsupported` where the cloud tells nothing.
    pub async fn messages(&self, about: &str) -> Result<Vec<Message>> {
        let list = call("list messages", &["messages"]).filters(&[("resource_uuid", about.to_owned())]);
        let mut messages: Vec<Message> = self.pages(list.need(MESSAGES).of(Feature::Messages)).await?;
        messages.retain(|message| message.resource_uuid.as_deref() == Some(about));
        Ok(messages)
    }
}

fn call<'a>(operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, Method::GET, operation, path)
}
