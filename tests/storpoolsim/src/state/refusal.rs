//! Why the cluster does not do what it is asked.

/// A refusal, as callers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error's name.
    pub name: String,
    /// For people.
    pub text: String,
    /// Whether the same call may do later.
    pub transient: bool,
}

/// What becomes of a call.
pub type Result<T> = std::result::Result<T, Refusal>;

macro_rules! names {
    ($($function:ident: $name:literal,)*) => {
        impl Refusal {
            $(#[doc = concat!("A refusal of the name `", $name, "`.")]
            pub fn $function(text: impl Into<String>) -> Self {
                Self::new($name, text)
            })*
        }
    };
}

names! {
    missing: "objectDoesNotExist",
    exists: "objectExists",
    busy: "busy",
    invalid: "invalidParam",
    full: "insufficientResources",
    precondition: "preconditionViolation",
    multi_cluster: "multiCluster",
    version: "runIfVersionIsMismatch",
    json: "jsonError",
}

impl Refusal {
    /// A refusal of any name.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into(), transient: false }
    }
}
