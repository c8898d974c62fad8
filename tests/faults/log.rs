//! What must not stand in all that was logged.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// How many lines there are, none of which holds any of these.
///
/// # Panics
/// Where one does.
pub fn lines_without(file: &Path, secrets: &[String]) -> usize {
    let mut count = 0;
    for line in BufReader::new(File::open(file).unwrap()).lines() {
        let line = line.unwrap();
        count += 1;
        if let Some(secret) = secrets.iter().find(|secret| line.contains(secret.as_str())) {
            panic!("the log tells a secret: {}", line.replace(secret.as_str(), "(secret)"));
        }
    }
    count
}

/// What tests/secrets.sh looks for.
///
/// # Panics
/// Where it would not find one of these.
pub fn known(secrets: &[String]) {
    let list = include_str!("../secrets.txt").lines();
    let texts: Vec<_> = list.filter_map(|line| Some(line.split_once(" # ")?.0)).collect();
    for secret in secrets {
        assert!(texts.iter().any(|text| secret.contains(text)), "tests/secrets.txt lacks one like {secret}");
    }
}
