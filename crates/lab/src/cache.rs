//! The user's cache directory: what took long to make or to fetch is kept there.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of the lab: `$VMSS2CORE_LAB_CACHE`, or `vmss2core/lab` in the
/// user's cache directory. It is made if it is not there.
pub fn dir() -> Result<PathBuf> {
    let dir = match env::var_os("VMSS2CORE_LAB_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => user_cache()?.join("vmss2core/lab"),
    };
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

fn user_cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")
}

/// The folder `name` of the cache, filled by `make` the first time.
///
/// Several processes may ask at once: one makes it, the others wait. `make` works
/// in a folder of another name, so what fails half-way never counts.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = dir()?.join(name);
    if path.exists() {
        return Ok(path);
    }
    let _lock = lock(name)?;
    if path.exists() {
        return Ok(path);
    }
    let unfinished = dir()?.join(format!("unfinished-{}", name.replace('/', "-")));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    make(&unfinished).with_context(|| format!("making {}", path.display()))?;
    fs::create_dir_all(path.parent().context("the cache has a parent")?)?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Holds the lock `name` of all processes that use this cache, until dropped.
pub fn lock(name: &str) -> Result<File> {
    let locks = dir()?.join("locks");
    fs::create_dir_all(&locks)?;
    let file = File::create(locks.join(name.replace('/', "-")))?;
    file.lock().with_context(|| format!("waiting for the lock {name}"))?;
    Ok(file)
}
