//! `man`: the manual page to stdout, or all pages to a directory.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap_mangen::Man;

use crate::exit::Exit;
use crate::{args, output};

pub(super) fn run(dir: Option<&Path>) -> anyhow::Result<Exit> {
    match dir {
        None => {
            let mut out = output::stdout();
            out.write_all(&main_page()?)?;
            out.flush()?;
        }
        Some(dir) => write_pages(dir)?,
    }
    Ok(Exit::Done)
}

fn write_pages(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(args::command(), dir)
        .with_context(|| format!("cannot write manual pages to {}", dir.display()))
}

fn main_page() -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(args::command()).render(&mut page)?;
    Ok(page)
}
