//! The wire interfaces: messages, clients and servers made from `proto/csi.proto` and `proto/pluginregistration.proto`.
//!
//! This is the only file that includes generated code. `Debug` of a message that carries secrets or
//! mount flags is written by hand and hides them, so a request can be logged with `{:?}`. What it
//! hides is the content: do not format the `secrets` map itself.

mod redacted;

/// The package `csi.v1`.
pub mod csi {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        rust_2018_idioms,
        unused_qualifications,
        clippy::all,
        clippy::use_self,
        reason = "generated: what the code looks like is not up to this project"
    )]

    tonic::include_proto!("csi.v1");
}

/// The package `pluginregistration`: how the kubelet learns of a driver.
pub mod pluginregistration {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        rust_2018_idioms,
        unused_qualifications,
        clippy::all,
        clippy::use_self,
        reason = "generated: what the code looks like is not up to this project"
    )]

    tonic::include_proto!("pluginregistration");
}

/// The interfaces in their own terms, with the files it imports: an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/interfaces.descriptor"));
