//! Why the cloud does not do what it is asked.

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It makes no sense, or the object's state forbids it.
    Invalid,
    /// Nobody may.
    Forbidden,
    /// There is no such object.
    Missing,
    /// Something else is under way.
    Conflict,
    /// It is beyond a quota.
    OverQuota,
    /// The cloud has nothing that could do it.
    Unsupported,
    /// What would do it does not work now.
    Unavailable,
    /// The cloud broke.
    Broken,
}

/// A refusal with the text that the caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub why: Why,
    /// The text.
    pub text: String,
}

/// What becomes of a call.
pub type Result<T> = std::result::Result<T, Refusal>;

macro_rules! kinds {
    ($($name:ident: $why:ident,)*) => {
        impl Refusal {
            $(#[doc = concat!("A refusal of the kind `", stringify!($why), "`.")]
            pub fn $name(text: impl Into<String>) -> Self {
                Self { why: Why::$why, text: text.into() }
            })*
        }
    };
}

kinds! {
    invalid: Invalid,
    forbidden: Forbidden,
    missing: Missing,
    conflict: Conflict,
    over_quota: OverQuota,
    unsupported: Unsupported,
    unavailable: Unavailable,
    broken: Broken,
}
