//! A slice of what `cargo xtask mutate` does for hours: guests damaged where commands
//! look, and a server with clients that are no debuggers.

#[macro_use]
mod common;

use std::path::Path;

use anyhow::{Result, ensure};
use vmss2core_lab::mutate::{Attack, Limits, Target, packets, recorded};

use common::cores::PROGRAM;
use common::guests;
use common::server::Server;

/// A build for tests is many times slower than the one that users have.
const LIMITS: Limits =
    Limits { address_space_kib: 4 << 20, rss_kib: 1 << 20, cpu_seconds: 300, wall_seconds: 3000 };

fn survives(name: &str, seeds: std::ops::Range<u64>) -> Result<()> {
    let target = Target::of(name)?;
    let mut attack = Attack::new(&target, Path::new(PROGRAM), LIMITS)?;
    for seed in seeds {
        if let Some(finding) = attack.run(seed)?.finding {
            anyhow::bail!("{finding}");
        }
    }
    Ok(())
}

#[test]
fn a_damaged_linux() -> Result<()> {
    survives("linux-6.1", 1..13)
}

#[test]
fn a_damaged_windows() -> Result<()> {
    survives("win7-pae", 1..25)
}

fn answers(server: &Server) -> Result<Vec<u8>> {
    packets::answers(&server.socket())
}

#[test]
fn clients_that_are_no_debuggers() -> Result<()> {
    let server = Server::of(&guests::guest("linux-6.1")?)?;
    let (sessions, before) = (recorded::sessions(&server.socket())?, answers(&server)?);
    let mut crowd = packets::Crowd::default();
    for seed in 1..25 {
        crowd.grow(&server.socket(), seed)?;
        packets::attack(&server.socket(), &sessions, seed)?;
    }
    drop(crowd);
    ensure!(answers(&server)? == before, "it answers something else");
    packets::fill(&server.socket())?;
    ensure!(server.interrupt()? == Some(0), "Ctrl-C does not end it well");
    Ok(())
}
