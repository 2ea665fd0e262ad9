//! Finds the mirror that the machine is set up with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
const SECURITY_SUITE: &str = "bookworm-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The lines of a `sources.list` with every release that the lab draws on.
pub(super) fn sources() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("this is not a Debian release: no VERSION_CODENAME")?;
    let configured = configured()?;
    let main = uri_of(&configured, codename).with_context(|| {
        format!("no source of {codename} in /etc/apt: add a Debian mirror and try again")
    })?;
    let mut lines: String = SUITES.iter().map(|suite| line(main, suite)).collect();
    if let Some(security) = uri_of(&configured, &format!("{codename}-security")) {
        lines += &line(security, SECURITY_SUITE);
    }
    Ok(lines)
}

fn line(uri: &str, suite: &str) -> String {
    format!("deb [arch=amd64,i386 target=Packages signed-by={KEYRING}] {uri} {suite} main\n")
}

/// A source: its address and its suites.
type Source = (String, Vec<String>);

fn uri_of<'a>(sources: &'a [Source], suite: &str) -> Option<&'a str> {
    let found = sources.iter().find(|(_, suites)| suites.iter().any(|have| have == suite));
    found.map(|(uri, _)| uri.as_str())
}

fn configured() -> Result<Vec<Source>> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(|part| Some(part.ok()?.path())));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        if file.extension().is_some_and(|extension| extension == "sources") {
            found.extend(text.split("\n\n").filter_map(paragraph));
        } else {
            found.extend(text.lines().filter_map(one_line));
        }
    }
    Ok(found)
}

/// A paragraph of a `.sources` file.
fn paragraph(text: &str) -> Option<Source> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let uri = field("URIs:")?.split_whitespace().next()?;
    let suites = field("Suites:")?.split_whitespace().map(str::to_owned).collect();
    Some((uri.to_owned(), suites))
}

/// A line of a `.list` file: `deb [options] URI suite component...`.
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    Some((words.next()?.to_owned(), vec![words.next()?.to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_understood() {
        let new = paragraph("Types: deb\nURIs: http://m/debian\nSuites: bookworm bookworm-updates");
        let (uri, suites) = new.unwrap();
        assert_eq!((uri.as_str(), suites.len()), ("http://m/debian", 2));
        let old = one_line("deb [arch=amd64 signed-by=/k] http://m/debian bookworm main").unwrap();
        assert_eq!(old, ("http://m/debian".to_owned(), vec!["bookworm".to_owned()]));
        assert_eq!(one_line("# deb http://m/debian bookworm main"), None);
    }
}
