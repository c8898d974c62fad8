//! Which server of Cyclades this node is: nobody in the guest can be asked, so its name must tell.
//!
//! A server is called `snf-<id>` and has the name `snf-<id>.<domain>`, unless its owner gave it another one.

use crate::error::{Error, Result};

/// The id in a name of that form.
fn parse(name: &str) -> Option<&str> {
    let first = name.split('.').next()?;
    let id = first.strip_prefix("snf-")?;
    let number = !id.is_empty() && id.len() <= 19 && id.bytes().all(|byte| byte.is_ascii_digit());
    (number && !id.starts_with('0')).then_some(id)
}

/// The server's id, by the names of the node and of the machine.
///
/// # Errors
/// Where none of them tells, or both tell different ones.
pub(super) fn server(node: &str, machine: &str) -> Result<String> {
    let say = |why: &str| {
        Err(Error::precondition(format!(
            "{why}: the node is named {node:?}, the machine {machine:?}. Set which server it is: \"node.server\" of the \
             back end"
        )))
    };
    match (parse(node), parse(machine)) {
        (Some(one), Some(other)) if one != other => say("two names tell two servers"),
        (Some(id), _) | (None, Some(id)) => Ok(id.to_owned()),
        (None, None) => {
            say("which server of Cyclades this node is cannot be told, because no name is snf-<id>")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_server() {
        for (node, machine) in [
            ("snf-42", "snf-42"),
            ("snf-42.vm.example.org", "worker"),
            ("worker-1", "snf-42.ok-kno.example.org"),
            ("snf-42.vm.example.org", "snf-42"),
        ] {
            assert_eq!(server(node, machine).unwrap(), "42", "{node} {machine}");
        }
        let two = server("snf-42", "snf-43").unwrap_err().to_string();
        for part in ["two servers", "snf-42", "snf-43", "node.server"] {
            assert!(two.contains(part), "{part}: {two}");
        }
        for name in ["", "snf-", "snf-x", "snf--1", "snf-042", "snf", "my-snf-42", "snf-99999999999999999999"]
        {
            assert!(server(name, "worker").is_err(), "{name}");
        }
    }
}
