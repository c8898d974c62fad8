//! What was asked of a cluster, for those who want to know.

use cloudsim::Request;

use crate::state::Refusal;

/// A request that got as far as the cluster, with a good token, in the order of the answers.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its method.
    pub method: String,
    /// The call and what it is about, without what comes before.
    pub call: Vec<String>,
    /// Its body.
    pub body: String,
    /// The name of the error that it was answered with.
    pub refused: Option<String>,
}

impl Told {
    /// A request that is not answered yet.
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            method: request.method.to_string(),
            call: request.path.iter().skip(2).cloned().collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            refused: None,
        }
    }

    /// The same, answered.
    pub(crate) fn answered(self, refusal: Option<&Refusal>) -> Self {
        Self { refused: refusal.map(|refusal| refusal.name.clone()), ..self }
    }
}
