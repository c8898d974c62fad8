//! Compiles the wire interfaces to Rust, without a protobuf compiler on the build machine.

use std::error::Error;
use std::path::PathBuf;

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Value};

const INTERFACES: [&str; 2] = ["proto/csi.proto", "proto/pluginregistration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true);
    for interface in INTERFACES {
        println!("cargo:rerun-if-changed={interface}");
        compiler.open_file(interface)?;
    }

    // The set in its encoded form: the decoded type of prost-types has no room for the csi_secret
    // and alpha options, and they are part of what the tests compare.
    let set = out_dir()?.join("interfaces.descriptor");
    std::fs::write(set, compiler.include_source_info(false).encode_file_descriptor_set())?;

    let mut config = tonic_prost_build::Config::new();
    // Lets the test of the Debug impls go from a name in the descriptor to its Rust type.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Equal requests are to look equal wherever one is written down or hashed.
        .btree_map(".")
        .skip_debug(messages_to_redact(&compiler.descriptor_pool()))
        .compile_fds_with_config(compiler.include_source_info(true).file_descriptor_set(), config)?;
    Ok(())
}

/// Messages whose derived Debug would print credentials. `src/proto/redacted.rs` gives each one by
/// hand; one that is missing there does not compile as part of another message, and fails the unit
/// test on its own.
fn messages_to_redact(pool: &DescriptorPool) -> Vec<String> {
    pool.all_messages()
        .filter(|message| message.fields().any(|field| is_secret(pool, &field)))
        .map(|message| format!(".{}", message.full_name()))
        .collect()
}

/// `mount_flags` does not carry the option, but the specification wants it treated as sensitive.
fn is_secret(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    let marked = pool
        .get_extension_by_name("csi.v1.csi_secret")
        .is_some_and(|option| field.options().get_extension(&option).as_ref() == &Value::Bool(true));
    marked || field.name() == "mount_flags"
}

#[expect(clippy::disallowed_methods, reason = "cargo names the output directory in the environment alone")]
fn out_dir() -> Result<PathBuf, Box<dyn Error>> {
    Ok(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for a build script")?.into())
}
