//! One program for all targets: `FUZZ_TARGET` names the one that eats. See `ops/fuzz.sh`.

#![no_main]

#[path = "../../tests/spec/disk.rs"]
mod disk;
#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// The one that was asked for. Without a name nothing is eaten, but said.
fn target() -> &'static targets::Target {
    static TARGET: OnceLock<&targets::Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
        let found = targets::ALL.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("FUZZ_TARGET must be one of {}", names.join(", ")))
    })
}

/// Well-formed inputs to begin from, as files.
fn write_samples(directory: &str) {
    for (number, sample) in (target().samples)().iter().enumerate() {
        let file = std::path::Path::new(directory).join(format!("sample-{number}"));
        std::fs::write(file, sample).unwrap_or_else(|error| panic!("{directory}: {error}"));
    }
}

fuzz_target!(
    init: {
        if let Ok(directory) = std::env::var("FUZZ_SAMPLES") {
            write_samples(&directory);
            std::process::exit(0);
        }
    },
    |data: &[u8]| (target().run)(data)
);
