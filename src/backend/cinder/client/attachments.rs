//! Attachments as Cinder keeps them. Nova makes them; they are looked at, and removed where one was left behind.

use crate::backend::cinder::dialect::Feature;
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::Attachment;
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Filter, Need};

/// Attachments of their own are there from 3.27 on.
const ATTACHMENTS: Need = Need::Exactly(Microversion(3, 27));

impl Client {
    /// The attachments of the project, filtered (by `volume_id`, `instance_id`) where the cloud knows how.
    ///
    /// # Errors
    /// `Unsupported` where the cloud does not show them.
    pub async fn attachments(&self, filters: &[Filter]) -> Result<Vec<Attachment>> {
        let list = call(Method::GET, "list attachments", &["attachments", "detail"]);
        self.pages(list.filters(filters)).await
    }

    /// Removes an attachment that no server uses.
    ///
    /// # Errors
    /// `NotFound`; `Busy` where Nova still uses it: detach it there.
    pub async fn delete_attachment(&self, id: &str) -> Result<()> {
        self.send(&call(Method::DELETE, "delete attachment", &["attachments", id])).await.map(drop)
    }
}

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, method, operation, path).need(ATTACHMENTS).of(Feature::Attachments)
}
