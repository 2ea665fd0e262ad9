//! `schema`: the JSON Schema of what a command prints.

use std::io::Write;

use clap::Args;

use super::{Arguments, Plan};
use crate::args::Global;
use crate::exit::Exit;
use crate::output;

/// Names and texts of the files in `docs/schema`.
macro_rules! schemas {
    ($($name:literal,)*) => {
        const SCHEMAS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../docs/schema/", $name, ".json"))),)*];
    };
}

schemas! {
    "bt-2",
    "btf-1",
    "convert-1",
    "core-1",
    "crash-args-2",
    "dmesg-1",
    "error-1",
    "extract-1",
    "info-1",
    "linuxoffsets-1",
    "maps-1",
    "modules-2",
    "ps-2",
    "symbols-1",
    "tags-1",
    "vmcoreinfo-1",
}

/// Print the JSON Schema of what a command prints with --json
///
/// New members may come under the same version, so a schema allows for more than it
/// describes; a change that breaks readers raises the version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core schema                  which there are
  vmss2core schema ps > ps.schema.json
  vmss2core schema error            what --json prints of a command that failed")]
pub(crate) struct SchemaArgs {
    /// The command, or the name of a schema; without one, all names are listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Arguments for SchemaArgs {
    fn plan(self, _global: &Global) -> Result<Box<dyn Plan>, String> {
        let text = match &self.name {
            None => names().join("\n") + "\n",
            Some(name) => find(name).map(str::to_owned).ok_or_else(|| unknown(name))?,
        };
        Ok(Box::new(SchemaPlan { text }))
    }
}

/// By its whole name, or without its version.
fn find(wanted: &str) -> Option<&'static str> {
    let is_meant = |name: &str| {
        name == wanted || name.rsplit_once('-').is_some_and(|(name, _)| name == wanted)
    };
    SCHEMAS.iter().find(|(name, _)| is_meant(name)).map(|(_, text)| *text)
}

fn names() -> Vec<&'static str> {
    SCHEMAS.iter().map(|(name, _)| *name).collect()
}

fn unknown(name: &str) -> String {
    format!("no schema is called {name}; there are {}", names().join(", "))
}

/// Print text.
#[derive(Debug)]
struct SchemaPlan {
    text: String,
}

impl Plan for SchemaPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let mut out = output::stdout();
        out.write_all(self.text.as_bytes())?;
        out.flush()?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_shipped_is_here() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema");
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> =
            files.map(|name| name.to_string_lossy().trim_end_matches(".json").to_owned()).collect();
        names.sort();
        let ours: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
        assert_eq!(ours, names);
    }

    #[test]
    fn a_schema_is_found_by_its_command() {
        assert!(find("ps").unwrap().contains("vmss2core/ps/2"));
        assert_eq!(find("ps"), find("ps-2"));
        assert_eq!(find("nothing"), None);
    }
}
